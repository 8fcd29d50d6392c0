"""What the series of a version tell of its subjects, counted by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pyarrow as pa
import pytest

from enclave.risk.config import Model, Qi, RiskConfig
from enclave.risk.engine import series_risk

pytestmark = pytest.mark.row("S13.1")
ASKED = RiskConfig(qis=(Qi("sex"),), subject="who", model=Model(k=2))
PEOPLE = pa.table({"who": ["a", "b", "c", "d"], "sex": ["f", "f", "m", "m"]})
HEADERS: dict[str, Any] = {
    "1": {"attributes": {"Manufacturer": "North", "ManufacturerModelName": "One"}, "spacing": [1.0, 0.5, 0.5]},
    "2": {"attributes": {"Manufacturer": "North", "ManufacturerModelName": "One"}, "spacing": [1.0, 0.5, 0.5]},
    "3": {"attributes": {"Manufacturer": "South"}, "spacing": None},
    "4": {"attributes": {"Manufacturer": "South"}, "spacing": None},
    "5": {"attributes": {"Manufacturer": "South"}, "spacing": [2.0, 0.5, 0.5]},
}
ALL_ALIKE_BUT_ONE = {"classes": 3, "k": 1, "unique_subjects": 2, "share_at_risk": 0.5}


def imaging(*, dated: bool = True) -> Any:
    """a and b were scanned once; c twice, nine days apart, the second time with another spacing; d once."""
    days = [date(2026, 1, n) for n in (5, 7, 1, 10, 3)]
    return pa.table({
        "series": ["1", "2", "3", "5", "4"],
        "patient_id": ["a", "b", "c", "c", "d"],
        "study": ["s1", "s2", "s3", "s4", "s5"],
        "study_date": pa.array(days if dated else [None] * 5, pa.date32()),
    })  # fmt: skip


def test_acquisition_and_sequence_are_counted_by_subject() -> None:
    found = series_risk(PEOPLE, imaging(), HEADERS, ASKED)
    assert (found["series"], found["subjects"]) == (5, 4)
    assert found["fingerprint"] == {"classes": 3, "k": 1, "unique_subjects": 1, "share_at_risk": 0.25}
    assert found["with_table"] == found["together"] == ALL_ALIKE_BUT_ONE
    assert found["study_count"] == found["study_intervals"]
    assert found["study_count"] == {"classes": 2, "k": 1, "unique_subjects": 1, "share_at_risk": 0.25}
    assert found["holds"] == {
        "image_fingerprint": False,
        "image_study_count": False,
        "image_study_intervals": False,
        "image_together": False,
    }


def test_without_dates_the_sequence_is_not_available_and_does_not_hold_by_that() -> None:
    found = series_risk(PEOPLE, imaging(dated=False), HEADERS, ASKED)
    assert (found["study_count"], found["study_intervals"], found["together"]) == (None, None, None)
    assert found["with_table"] == ALL_ALIKE_BUT_ONE
    assert found["holds"] == {"image_fingerprint": False}


def test_only_subjects_of_the_table_count() -> None:
    found = series_risk(PEOPLE.slice(0, 2), imaging(), HEADERS, ASKED)
    assert (found["series"], found["subjects"], found["holds"]["image_together"]) == (2, 2, True)


def test_without_a_subject_or_series_there_is_nothing_to_count() -> None:
    assert series_risk(PEOPLE, None, HEADERS, ASKED) == {}
    assert series_risk(PEOPLE, imaging().slice(0, 0), HEADERS, ASKED) == {}
    assert series_risk(PEOPLE, imaging(), HEADERS, replace(ASKED, subject=None)) == {}
    assert series_risk(PEOPLE.set_column(0, "who", pa.array(list("wxyz"))), imaging(), HEADERS, ASKED) == {
        "series": 0,
        "subjects": 0,
        "fingerprint": None,
        "with_table": None,
        "study_count": None,
        "study_intervals": None,
        "together": None,
        "holds": {},
    }
