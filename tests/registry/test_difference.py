"""What the release desk says is different between two versions of a cohort."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from enclave.catalog.difference import SECTIONS, Change, difference

OLD = {
    "counts": {"rows": 40, "series": 60},
    "column_roles": {"patients": {"age": "quasi_identifier"}},
    "deidentification": {"options": ["a"], "actions": {"X": 1}, "recipe_sha256": "12"},
    "batch": "1",
}
NEW = {
    "counts": {"rows": 41, "series": 60},
    "column_roles": {"patients": {"age": "quasi_identifier", "zip": "plain"}},
    "deidentification": {"options": ["a", "b"], "actions": {"X": 2}, "recipe_sha256": "12"},
    "batch": "2",
}


def test_each_changed_statement_is_a_row_and_what_is_the_same_is_none() -> None:
    assert difference(OLD, NEW) == (
        Change("column_roles.patients.zip", "", "plain"),
        Change("counts.rows", "40", "41"),
        Change("deidentification.options", "a", "a, b"),
    )
    assert difference(NEW, NEW) == ()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(SECTIONS), VALUES), st.dictionaries(st.sampled_from(SECTIONS), VALUES))
def test_it_reads_the_same_in_both_directions(before: Any, after: Any) -> None:
    forth, back = difference(before, after), difference(after, before)
    assert [(one.name, one.after, one.before) for one in back] == [(one.name, one.before, one.after) for one in forth]
    assert difference(before, before) == ()


@given(VALUES)
def test_what_is_no_summary_is_an_empty_one(other: Any) -> None:
    if not isinstance(other, dict):
        assert difference(other, OLD) == difference({}, OLD)


def test_more_than_somebody_reads_is_counted() -> None:
    rows = difference({}, {"counts": {str(number): number for number in range(100)}})
    assert (len(rows), rows[-1]) == (61, Change("further differences", "", "40"))
