"""Whatever somebody calls a thing, what is kept of it is one short line that shows all it has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave.core.names import MAX_STATED, REPLACED, printable, stated_name

ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=()))  # halves of characters, too


@given(text=ANY_TEXT | ANY_TEXT.map(lambda text: text * 50))
def test_any_name_becomes_one_short_printable_line_of_utf_8(text: str) -> None:
    found = stated_name(text)
    assert len(found) <= MAX_STATED
    assert found.isprintable()
    assert found.encode("utf-8").decode("utf-8") == found
    assert len(found.splitlines()) <= 1
    assert stated_name(found) == found


@given(text=ANY_TEXT)
def test_only_what_shows_nothing_is_replaced_each_by_one(text: str) -> None:
    found = printable(text)
    assert len(found) == len(text)
    assert all(a == b or (b == REPLACED and not a.isprintable()) for a, b in zip(text, found, strict=True))


def test_a_long_path_keeps_the_name_of_its_file() -> None:
    assert stated_name("a/" * 400 + "look.ipynb").endswith("a/look.ipynb")
    assert stated_name("x" * MAX_STATED) == "x" * MAX_STATED
    assert stated_name("x" * (MAX_STATED + 1)) == "…" + "x" * (MAX_STATED - 1)


@pytest.mark.parametrize("name", ["Übung/naïve Bäume.ipynb", "检查.ipynb", "demo/look (1).ipynb"])
def test_an_ordinary_name_stays_as_it_is(name: str) -> None:
    assert stated_name(name) == name
