"""The gate after a job, for tables: whose row it is, what remains in its cells, and which texts a person reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from enclave.deid.harvest import Cohort
from enclave.deid.keyring import Keyring
from enclave.deid.recipe import TableSpec
from enclave.deid.sweep import Sweeper
from enclave.deid.table_cells import plain_text
from enclave.deid.table_files import RawTable, read_table

TEXTS = 20  # per column of running text
_LOOKED_AT = ("quasi_identifier", "sensitive", "plain", "free_text")


def check_table(
    path: Path, *, spec: TableSpec, sweepers: Mapping[str, Sweeper], keys: Mapping[str, str], findings: Counter[str]
) -> list[str]:
    """Counts what is wrong in one table of an output; returns its sample of texts as ``column[row]``.

    ``sweepers`` by patient pseudonym; ``keys``: the pseudonym behind each new accession number and UID. Raises
    ``Quarantined`` when the file is no table.
    """
    table = read_table(path)
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
