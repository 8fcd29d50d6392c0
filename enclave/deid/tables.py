"""Tables: every column has a role; the same pseudonyms and offsets as in DICOM; what has no role is refused."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as arrow_csv
from pyarrow import parquet

from enclave.core.errors import InvalidError
from enclave.deid.dates import TOP_AGE_YEARS, parse_table_date, shift_date
from enclave.deid.harvest import Cohort, Harvest
from enclave.deid.keyring import Keyring
from enclave.deid.reasons import Quarantined
from enclave.deid.recipe import TableSpec
from enclave.deid.sweep import Subject, Sweeper

SUFFIXES = (".csv", ".parquet")
_INT = re.compile(r"[+-]?\d{1,15}")
_FLOAT = re.compile(r"[+-]?(\d+\.\d*|\.\d+|\d+)([eE][+-]?\d+)?")
_KIND = re.compile(r"_?(number|no|id)$")
Column = list[Any]


@dataclass(frozen=True, slots=True)
class RawTable:
    """A table as read: columns of text, numbers or dates, None where a cell is empty."""

    name: str
    columns: dict[str, Column]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(next(iter(self.columns.values()), []))


@dataclass(frozen=True, slots=True)
class CleanTable:
    """The result: the table, and counts of what was done."""

    name: str
    table: pa.Table
    counts: Counter[str] = field(default_factory=Counter)


def read_table(path: Path) -> RawTable:
    """A CSV (UTF-8 or Latin-1; comma, semicolon or tab) or Parquet file; raises ``Quarantined``."""
    try:
        if path.suffix.lower() == ".parquet":
            found = parquet.read_table(path)
            return RawTable(path.stem, {name: found.column(name).to_pylist() for name in found.column_names})
        return RawTable(path.stem, _parse_csv(path.read_bytes()))
    except Quarantined:
        raise
    except Exception:  # noqa: BLE001 - hostile bytes raise anything; the verdict is the same
        raise Quarantined("table_unreadable") from None


def check_columns(raw: RawTable, *, spec: TableSpec) -> None:
    """Raises ``InvalidError`` when a column has no role or a role has no column; names only what the recipe names."""
    unknown = [name for name in raw.columns if name not in spec.columns]
    missing = [name for name in spec.columns if name not in raw.columns]
    if unknown or missing:
        raise InvalidError(
            f"table {raw.name}: wanted a role for each column, got {len(unknown)} without one"
            f" and {len(missing)} roles without a column ({', '.join(missing) or 'none'}); complete the recipe",
            code="table_columns",
        )


def harvest_table(raw: RawTable, *, spec: TableSpec, harvest: Harvest) -> None:
    """Adds the identities of a table to the harvest, under the patient of their row."""
    links = _patients(raw, spec=spec)
    for column in spec.of_role("direct_identifier", "pseudonym"):
        for patient, value in zip(links, raw.columns[column], strict=True):
            if value is not None and patient:
                harvest.add_identity(patient, texts=[_text(value)])
    for patient in links:
        if patient:
            harvest.subjects[patient].numbers.add(patient)


def clean_table(
    raw: RawTable, *, spec: TableSpec, keyring: Keyring, cohort: Cohort, vocabulary: frozenset[str], max_shift_days: int
) -> CleanTable:
    """The table with every column after its role; rows without a patient are left out when patients are linked."""
    counts: Counter[str] = Counter()
    patients = _patients(raw, spec=spec)
    keep = [row for row, patient in enumerate(patients) if patient or not spec.of_role("link")]
    counts["rows"] = len(keep)
    counts["rows_without_patient"] = raw.rows - len(keep)
    rows = _Rows([patients[row] for row in keep], keyring, max_shift_days)
    sweep = _RowSweep(cohort, vocabulary)
    columns: dict[str, Column] = {}
    for name, role in spec.columns.items():
        if role in ("direct_identifier", "free_text"):
            counts[f"columns_{role}"] += 1
            continue
        values = [raw.columns[name][row] for row in keep]
        columns[name] = _by_role(name, role, values, rows=rows, sweep=sweep, counts=counts)
    return CleanTable(raw.name, pa.table({name: _arrow(values) for name, values in columns.items()}), counts)


def write_clean(clean: CleanTable, *, folder: Path, suffix: str) -> Path:
    """Writes the table under its name, whole or not at all, in the format that it came in."""
    final = folder / f"{clean.name}{suffix}"
    part = folder / f".{clean.name}.part"
    if suffix == ".parquet":
        parquet.write_table(clean.table, part, compression="none", store_schema=False)
    else:
        arrow_csv.write_csv(clean.table, part)
    part.replace(final)
    return final


class _Rows:
    """The patients of the rows with their pseudonyms and offsets."""

    def __init__(self, patients: list[str], keyring: Keyring, max_shift_days: int) -> None:
        self.patients = patients
        self.keyring = keyring
        self._days = {p: keyring.offset_days(p, max_shift_days=max_shift_days) for p in set(patients)}

    def days(self, row: int) -> int:
        return self._days[self.patients[row]]


class _RowSweep:
    """Looks for the row's own patient in its cells, and for anybody's whole identifiers."""

    def __init__(self, cohort: Cohort, vocabulary: frozenset[str]) -> None:
        self._cohort = cohort
        self._vocabulary = vocabulary
        self._sweepers: dict[str, Sweeper] = {}

    def found(self, patient: str, text: str) -> bool:
        if patient not in self._sweepers:
            subject = self._cohort.subjects.get(patient, Subject())
            self._sweepers[patient] = Sweeper(subject, vocabulary=self._vocabulary)
        folded = text.casefold().strip()
        return self._sweepers[patient].found_in_text(text) or folded in self._cohort.denied


def _by_role(  # one branch per role
    name: str, role: str, values: Column, *, rows: _Rows, sweep: _RowSweep, counts: Counter[str]
) -> Column:
    if role == "link":
        return [rows.keyring.patient_id(patient) for patient in rows.patients]
    if role == "pseudonym":
        kind = _KIND.sub("", name)
        return [None if v is None else rows.keyring.number_id(_text(v), kind=kind) for v in values]
    if role == "date":
        return [_shifted(value, days=rows.days(row), counts=counts) for row, value in enumerate(values)]
    if role == "age":
        return [_top_coded(value, counts=counts) for value in values]
    return [_swept(value, rows.patients[row], sweep=sweep, counts=counts) for row, value in enumerate(values)]


def _shifted(value: Any, *, days: int, counts: Counter[str]) -> date | None:
    if value is None:
        return None
    found = value.date() if isinstance(value, datetime) else value
    found = found if isinstance(found, date) else parse_table_date(_text(value))
    moved = shift_date(found, days=days) if found else None
    counts["dates_shifted" if moved else "dates_removed"] += 1
    return moved


def _top_coded(value: Any, *, counts: Counter[str]) -> float | int | None:
    text = "" if value is None else _text(value)
    if not _FLOAT.fullmatch(text):
        counts["ages_removed"] += bool(text)
        return None
    years = float(text)
    if years >= TOP_AGE_YEARS:
        counts["ages_top_coded"] += 1
        return TOP_AGE_YEARS
    return int(years)


def _swept(value: Any, patient: str, *, sweep: _RowSweep, counts: Counter[str]) -> Any:
    if isinstance(value, str) and sweep.found(patient, value):
        counts["cells_redacted"] += 1
        return None
    return value


def _patients(raw: RawTable, *, spec: TableSpec) -> list[str]:
    links = spec.of_role("link")
    if not links:
        return [""] * raw.rows
    return ["" if value is None else _text(value) for value in raw.columns[links[0]]]


def _text(value: Any) -> str:
    return str(value).strip()


def _parse_csv(data: bytes) -> dict[str, Column]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    rows = list(csv.reader(io.StringIO(text), delimiter=delimiter, strict=True))
    if not rows or len(set(rows[0])) != len(rows[0]) or any(len(row) not in (0, len(rows[0])) for row in rows):
        raise Quarantined("table_unreadable")
    body = [row for row in rows[1:] if row]
    return {name.strip(): [row[at].strip() or None for row in body] for at, name in enumerate(rows[0])}


def _arrow(values: Column) -> pa.Array:
    """Whole numbers, decimals, dates or text: the narrowest type that holds every cell."""
    present = [value for value in values if value is not None]
    if present and all(isinstance(value, str) for value in present):
        if _all(_INT.fullmatch, present) and not any(len(v) > 1 and v[0] == "0" for v in present):
            return pa.array([None if v is None else int(v) for v in values], pa.int64())
        if _all(_FLOAT.fullmatch, present) and any("." in v for v in present):
            return pa.array([None if v is None else float(v) for v in values], pa.float64())
    return pa.array(values) if present else pa.array(values, pa.string())


def _all(test: Callable[[str], Any], values: Iterable[str]) -> bool:
    return all(test(value) for value in values)
