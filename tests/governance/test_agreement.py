"""What an agreement must say, and when a project is covered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave.core.errors import InvalidError
from enclave.governance.agreement import Span, parse_terms, span_of, standing, terms_of, to_table

pytestmark = pytest.mark.row("S12.1")

TERMS: dict[str, Any] = {
    "kind": "dua",
    "title": "Data use agreement",
    "project": "demo",
    "provider": "Example Hospital",
    "recipient": "Example University",
    "permitted_uses": ["Research on lung nodules"],
    "safeguards": ["S4.1", "S16.2"],
    "subcontractors": ["Example Computing"],
    "breach_notice_days": 10,
    "signed": "2026-11-03",
    "begins": "2026-11-15",
    "ends": "2028-11-15",
    "at_end": "destroy",
    "at_end_days": 30,
}
AT = datetime(2027, 1, 1, tzinfo=UTC)


def test_terms_are_read_from_toml_with_its_own_days_and_come_back_as_they_were() -> None:
    lines = ["[agreement]"]
    for name, value in TERMS.items():
        is_day = name in ("signed", "begins", "ends")
        lines.append(f"{name} = {value}" if is_day else f"{name} = {value!r}".replace("'", '"'))
    assert to_table(parse_terms("\n".join(lines))) == TERMS


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "nda"},
        {"title": ""},
        {"title": "x" * 501},
        {"title": "two\nlines"},
        {"project": "../demo"},
        {"permitted_uses": []},
        {"permitted_uses": [""]},
        {"permitted_uses": "research"},
        {"safeguards": []},
        {"safeguards": ["encryption"]},
        {"breach_notice_days": 0},
        {"breach_notice_days": 61},
        {"breach_notice_days": "10"},
        {"breach_notice_days": True},
        {"at_end": "keep"},
        {"at_end_days": -1},
        {"begins": "2028-11-15"},
        {"signed": "2029-01-01"},
        {"ends": "never"},
        {"ends": "2028-11-15T10:00:00Z"},
        {"ends": None},
        {"more": 1},
    ],
)
def test_terms_that_say_too_little_or_the_impossible_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidError, match="wanted"):
        terms_of({**TERMS, **change})


@pytest.mark.parametrize("name", [name for name in TERMS if name != "subcontractors"])
def test_no_provision_may_be_left_out(name: str) -> None:
    with pytest.raises(InvalidError, match=name):
        terms_of({key: value for key, value in TERMS.items() if key != name})


@pytest.mark.parametrize("text", ["", "agreement = 1", "[agreement]\n[other]\n", "[agreement", "[[agreement]]\n"])
def test_a_file_that_is_no_agreement_is_refused(text: str) -> None:
    with pytest.raises(InvalidError):
        parse_terms(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_no_value_in_any_place_breaks_the_reading(value: Any) -> None:
    for name in TERMS:
        try:
            found = terms_of({**TERMS, name: value})
        except InvalidError:
            continue
        assert to_table(found)[name] in (value, str(value))


SPANS = st.builds(
    Span,
    st.sampled_from(["recorded", "in_force", "refused", "ended"]),
    st.integers(-9, 9).map(lambda days: AT + timedelta(days=days)),
    st.integers(-9, 9).map(lambda days: AT + timedelta(days=days)),
)


@given(st.lists(SPANS, max_size=5))
def test_a_project_is_covered_exactly_while_one_agreement_in_force_has_begun_and_not_ended(spans: list[Span]) -> None:
    found = standing(spans, AT)
    if any(span.state == "in_force" and span.begins <= AT < span.ends for span in spans):
        assert found == "live"
    elif any(span.state in ("in_force", "ended") for span in spans):
        assert found == "over"
    else:
        assert found == "none"


def test_an_agreement_covers_its_first_day_and_not_the_day_of_its_end() -> None:
    span = span_of(terms_of(TERMS), "in_force")
    second = timedelta(seconds=1)
    at = [span.begins - second, span.begins, span.ends - second, span.ends]
    assert [standing([span], moment) for moment in at] == ["over", "live", "live", "over"]
