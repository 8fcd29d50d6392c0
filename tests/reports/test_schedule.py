"""The schedule: data in, entries out, nothing unknown."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave.core.errors import InvalidError, NotFoundError
from enclave.core.ids import check_name
from enclave.reports.schedule import DEFAULT_SCHEDULE, find_entry, parse_every, parse_schedule

AT = datetime(2026, 11, 22, tzinfo=UTC)
ENTRY = '[entry.nightly]\nnotebook = "a.ipynb"\nproject = "demo"\ndataset = "demo-ct"\n'


def test_the_default_schedule_validates_the_demo_dataset_once_a_day() -> None:
    entry = parse_schedule(DEFAULT_SCHEDULE)["demo-validation"]
    assert (entry.notebook, entry.project, entry.dataset) == ("dataset_validation.ipynb", "demo", "demo-ct")
    assert entry.every == timedelta(days=1)


@pytest.mark.parametrize(
    "line",
    [
        'notebok = "a.ipynb"',
        'notebook = "../keys.ipynb"',
        'notebook = "/tmp/a.ipynb"',
        'notebook = "a.py"',
        'project = "De mo"',
        'dataset = "../x"',
        'every = "0h"',
        'every = "1w"',
        "every = 24",
        'parameters = { dataset = "other" }',
        'parameters = { "a b" = "1" }',
        "parameters = { k = 11 }",
    ],
)
def test_an_entry_with_anything_else_is_refused(line: str) -> None:
    key = line.partition(" =")[0]
    kept = "".join(part + "\n" for part in ENTRY.splitlines() if not part.startswith(f"{key} ="))
    with pytest.raises(InvalidError):
        parse_schedule(kept + line)


@pytest.mark.parametrize("text", ["x = 1", "[entry]\nnightly = 3", "[entry.UPPER]\nnotebook = 'a.ipynb'", "[[["])
def test_a_document_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(InvalidError):
        parse_schedule(text)


def test_an_unknown_entry_is_not_found() -> None:
    with pytest.raises(NotFoundError):
        find_entry(parse_schedule(ENTRY), "weekly")


@given(number=st.integers(1, 9999), unit=st.sampled_from("mhd"), passed=st.integers(0, 20_000_000))
def test_an_entry_is_due_exactly_when_its_interval_has_passed(number: int, unit: str, passed: int) -> None:
    entry = parse_schedule(ENTRY + f'every = "{number}{unit}"')["nightly"]
    interval = parse_every(f"{number}{unit}")
    assert interval is not None
    assert entry.is_due(since=AT, at=AT + timedelta(seconds=passed)) == (timedelta(seconds=passed) >= interval)


def test_an_entry_that_never_runs_by_itself_is_never_due() -> None:
    entry = parse_schedule(ENTRY + 'every = "never"')["nightly"]
    assert not entry.is_due(since=AT, at=AT + timedelta(days=4000))


@given(text=st.text(max_size=200))
def test_any_text_in_the_place_of_a_value_is_that_value_or_invalid(text: str) -> None:
    name = json.dumps(text)
    try:
        entry = parse_schedule(ENTRY.replace('"demo"', name))["nightly"]
    except InvalidError:
        return
    assert entry.project == text == check_name(text, what="project")


@given(text=st.text(max_size=200))
def test_any_text_is_a_schedule_without_entries_or_invalid(text: str) -> None:
    try:
        entries = parse_schedule(text)
    except InvalidError:
        return
    assert entries == {}
