"""Columns of running text tell no value of their patient that the measured table no longer tells."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from enclave.deid.tables import CleanTable
from enclave.intake.pipeline import _lowered
from enclave.intake.recipe import read_intake_recipe
from enclave.intake.withheld import Withheld, without_withheld

AGED = {"anna": Withheld(frozenset({"67", "40031"}), aged=True), "otto": Withheld()}
SAID = "a 67-year-old from 40031 with cough"


def table(owners: tuple[str, ...], said: list[str | None]) -> CleanTable:
    columns = pa.table({"said": pa.array(said, pa.string()), "kept": pa.array(said, pa.string())})
    return CleanTable("visits", columns, review=("said",), owners=owners)


def told(owner: str, withheld: dict[str, Withheld]) -> tuple[str | None, int]:
    clean, changed = without_withheld(table((owner,), [SAID]), withheld=withheld)
    assert clean.table.column("kept").to_pylist() == [SAID]
    return clean.table.column("said").to_pylist()[0], changed["said"]


def test_a_text_tells_of_its_patient_what_the_table_does() -> None:
    assert told("anna", AGED) == ("a REMOVED from REMOVED with cough", 1)
    assert told("otto", AGED) == (SAID, 0)  # of whom the table tells all


def test_the_text_of_who_was_not_measured_goes_and_nobodys_when_anything_is_withheld() -> None:
    assert told("emil", AGED) == told("", AGED) == (None, 1)
    assert told("", {"otto": Withheld()}) == (SAID, 0)
    assert told("emil", {"otto": Withheld()}) == (None, 1)


@given(
    st.lists(st.tuples(st.sampled_from(["anna", "otto", "emil", ""]), st.none() | st.sampled_from([SAID, "", "cough"])))
)
def test_cells_stay_in_their_rows_and_those_that_changed_are_counted(rows: list[tuple[str, str | None]]) -> None:
    owners, said = tuple(owner for owner, _ in rows), [text for _, text in rows]
    clean, changed = without_withheld(table(owners, said), withheld=AGED)
    found = clean.table.column("said").to_pylist()
    for owner, before, after in zip(owners, said, found, strict=True):
        if owner == "anna":
            assert after == (before and AGED["anna"].without(before))
        else:
            assert after == (before if owner == "otto" else None)
    assert changed == {"said": sum(one != other for one, other in zip(said, found, strict=True))}
    assert (clean.owners, clean.table.schema) == (owners, table(owners, said).table.schema)


def test_a_table_without_running_text_is_as_it_was() -> None:
    before = CleanTable("scans", pa.table({"kept": [SAID]}), owners=("anna",))
    assert without_withheld(before, withheld=AGED) == (before, {})


def test_rows_of_who_was_suppressed_go_from_each_table_that_knows_whose_they_are() -> None:
    measured: Any = None  # only the measured table needs it
    before = table(("anna", "otto", "", "anna"), ["1", "2", "3", "4"])
    after = _lowered(before, read_intake_recipe("demo"), measured, frozenset({"anna"}))
    assert after.table.column("said").to_pylist() == ["2", "3"]
    assert after.owners == ("otto", "")
    assert _lowered(before, read_intake_recipe("demo"), measured, frozenset()).table.equals(before.table)
