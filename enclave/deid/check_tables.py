"""The gate after a job, for tables: whose row it is, what remains in its cells, and which texts a person reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import Any

from enclave.deid.dates import shift_date
from enclave.deid.harvest import Cohort
from enclave.deid.keyring import Keyring
from enclave.deid.recipe import TableSpec
from enclave.deid.sweep import Sweeper
from enclave.deid.table_cells import plain_text
from enclave.deid.table_dates import Moment, order_of, read_moment
from enclave.deid.table_files import RawTable

TEXTS = 20  # per column of running text
_LOOKED_AT = ("quasi_identifier", "sensitive", "plain", "free_text")


def check_table(
    table: RawTable,
    *,
    spec: TableSpec,
    sweepers: Mapping[str, Sweeper],
    keys: Mapping[str, str],
    findings: Counter[str],
) -> list[str]:
    """Counts what is wrong in one table of an output; returns its sample of texts as ``column[row]``.

    ``sweepers`` by patient pseudonym; ``keys``: the pseudonym behind each new accession number and UID.
    """
    findings["residual"] += len(set(table.columns) & set(spec.of_role("direct_identifier")))
    findings["origin"] += len(set(table.columns) - set(spec.columns))
    rows = _rows(table, spec=spec, keys=keys)
    for name in spec.of_role(*_LOOKED_AT):
        for pseudonym, value in zip(rows, table.columns.get(name, ()), strict=False):
            sweeper = sweepers.get(pseudonym)
            if pseudonym and sweeper is None:
                findings["origin"] += 1
            elif sweeper is not None and value is not None and _found(sweeper, value):
                findings["residual"] += 1
    return [item for name in spec.of_role("free_text") for item in _sample(name, table.columns.get(name, []))]


def moved_otherwise(
    before: RawTable,
    after: RawTable,
    *,
    spec: TableSpec,
    patients: list[str],
    days: Callable[[str], int],
    times: str = "exact",
) -> int:
    """How many cells of date columns are not ``days`` of their patient later than in the input.

    ``times``: what stays of times of day. ``patients``: of each row ``before``; rows of nobody are left out of the
    output, the others keep their order.
    """
    rows = [row for row, patient in enumerate(patients) if patient]
    wrong = 0
    for name in spec.of_role("date"):
        old, new = before.columns.get(name, []), after.columns.get(name, [])
        if len(new) != len(rows) or len(old) != before.rows:
            wrong += max(1, len(rows))
            continue
        order = order_of(value for value in old if isinstance(value, str))
        wrong += sum(
            not _is_later(
                read_moment(old[row], order=order), read_moment(value), days=days(patients[row]), exact=times == "exact"
            )
            for row, value in zip(rows, new, strict=True)
        )
    return wrong


def _is_later(old: Moment | None, new: Moment | None, *, days: int, exact: bool) -> bool:
    """A column in which not every cell has a time becomes one of dates."""
    if old is None or shift_date(old, days=days) is None:
        return new is None
    if exact and isinstance(old, datetime) and isinstance(new, datetime):
        return new - old == timedelta(days=days)
    return new is not None and (_day(new) - _day(old)).days == days


def _day(moment: Moment) -> date:
    return moment.date() if isinstance(moment, datetime) else moment


def new_keys(cohort: Cohort, *, keyring: Keyring) -> dict[str, str]:
    """The patient's pseudonym behind each new accession number and UID."""
    keys = {}
    for key, patient in cohort.links.items():
        role, _, number = key.partition("\0")
        new = keyring.uid_of(number) if role == "uid" else keyring.number_id(number, kind="accession")
        keys[new] = keys[number] = keyring.patient_id(patient)  # UIDs may stay by option
    return keys


def _rows(table: RawTable, *, spec: TableSpec, keys: Mapping[str, str]) -> list[str]:
    column = spec.key_column
    if not column:
        return [""] * table.rows
    values = ["" if value is None else plain_text(value) for value in table.columns.get(column, [])]
    return values if spec.columns[column] == "link" else [keys.get(value, "") for value in values]


def _found(sweeper: Sweeper, value: Any) -> bool:
    if isinstance(value, bool):
        return False
    text = plain_text(value)
    return sweeper.found_in_text(text) if isinstance(value, str) else sweeper.found_in_number(text)


def _sample(name: str, values: list[Any]) -> list[str]:
    filled = [row for row, value in enumerate(values) if value is not None]
    step = max(1, len(filled) // TEXTS)
    return [f"{name}[{row}]" for row in filled[::step][:TEXTS]]
