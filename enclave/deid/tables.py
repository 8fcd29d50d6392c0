"""Tables: every column has a role; the same pseudonyms and offsets as in DICOM; what has no role is refused."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from enclave.core.errors import InvalidError
from enclave.deid.dates import TOP_AGE_YEARS, top_code_as
from enclave.deid.harvest import Harvest, link_key
from enclave.deid.recipe import TableSpec
from enclave.deid.sweep import Subject
from enclave.deid.table_cells import RowCleaner, plain_text, shared_cells
from enclave.deid.table_dates import shift_column
from enclave.deid.table_files import Column, RawTable, to_array, write_table
from enclave.deid.tools import Tools

_AGE = re.compile(r"[+]?(\d{1,3}(?:\.\d*)?)\s*(?:y|yr|yrs|years?|jahre)?", re.IGNORECASE)
_KIND = re.compile(r"_?(number|no|id)$")
_DROPPED = ("direct_identifier", "not_needed")
_SWEPT = ("quasi_identifier", "sensitive", "plain")


@dataclass(frozen=True, slots=True)
class CleanTable:
    """The result: the table, counts of what was done, and each redaction as ``column[row]`` and reason.

    Rows count from 0 in the order of ``table``. ``review``: the columns of running text that a person must read.
    ``owners``: whose each row is, by pseudonym, '' where nobody says; they stand in no file.
    """

    name: str
    table: pa.Table
    counts: Counter[str] = field(default_factory=Counter)
    redactions: tuple[tuple[str, str], ...] = ()
    review: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()


def check_columns(raw: RawTable, *, spec: TableSpec) -> None:
    """Raises ``InvalidError`` when a column has no role or a role has no column, when two columns have one name, or
    when a role does not fit what is in the column; names only what the recipe names.
    """
    unknown = [name for name in raw.columns if name not in spec.columns]
    missing = [name for name in spec.columns if name not in raw.columns]
    if unknown or missing:
        raise InvalidError(
            f"table {raw.name}: wanted a role for each column, got {len(unknown)} without one"
            f" and {len(missing)} roles without a column ({', '.join(missing) or 'none'}); complete the recipe",
            code="table_columns",
        )
    if raw.repeated:
        raise InvalidError(
            f"table {raw.name}: wanted each column name once, got {raw.repeated} columns with the name of another one;"
            " rename them",
            code="table_columns",
        )
    odd = [f"{name} is {kind}" for name, kind in raw.types.items() if spec.columns[name] not in _DROPPED]
    if odd:
        raise InvalidError(
            f"table {raw.name}: wanted columns of text, numbers or dates, got others ({'; '.join(sorted(odd))});"
            " flatten them, or give them the role direct_identifier",
            code="table_types",
        )
    dated = [name for name in spec.of_role(*_SWEPT) if _holds_dates(raw.columns[name])]
    if dated:
        raise InvalidError(
            f"table {raw.name}: wanted the role date for columns of dates, got another for {', '.join(dated)};"
            " dates that are not moved tell who it is",
            code="table_dates",
        )


def harvest_table(raw: RawTable, *, spec: TableSpec, harvest: Harvest) -> None:
    """Adds the identities of a table to the harvest, under the patient of their row. The files come first."""
    patients = row_patients(raw, spec=spec, links=harvest.links())
    for column in spec.of_role("direct_identifier", "pseudonym", "accession"):
        if column in raw.types:
            continue
        for patient, value in zip(patients, raw.columns[column], strict=True):
            if value is not None and patient:
                harvest.add_identity(patient, texts=[plain_text(value)])
    if spec.of_role("link"):
        for patient in filter(None, patients):
            harvest.subjects[patient].numbers.add(patient)


def clean_table(raw: RawTable, *, spec: TableSpec, tools: Tools) -> CleanTable:
    """The table with every column after its role; rows without a patient are left out when patients are linked."""
    return _TableCleaner(raw, spec, tools).clean()


def write_clean(clean: CleanTable, *, folder: Path, suffix: str) -> Path:
    """Writes the table under its name, whole or not at all, in the format that it came in."""
    return write_table(clean.table, name=clean.name, folder=folder, suffix=suffix)


class _TableCleaner:
    """Patient by patient, so that only one patient's search is in memory at a time."""

    def __init__(self, raw: RawTable, spec: TableSpec, tools: Tools) -> None:
        patients = row_patients(raw, spec=spec, links=tools.cohort.links)
        keep = [row for row, patient in enumerate(patients) if patient or not spec.key_column]
        self._raw = raw
        self._spec = spec
        self._tools = tools
        self._patients = [patients[row] for row in keep]
        self._columns = {
            name: [raw.columns[name][row] for row in keep]
            for name, role in spec.columns.items()
            if role not in _DROPPED
        }
        self._counts: Counter[str] = Counter(rows=len(keep), rows_without_patient=raw.rows - len(keep))
        self._redactions: list[tuple[str, int, str]] = []

    def clean(self) -> CleanTable:
        """Works through all columns."""
        by_patient: defaultdict[str, list[int]] = defaultdict(list)
        for row, patient in enumerate(self._patients):
            by_patient[patient].append(row)
        shared = frozenset[str]().union(*(self._shared(name) for name in self._spec.of_role(*_SWEPT)))
        for patient, rows in by_patient.items():
            self._clean_rows(RowCleaner(self._subject(patient), tools=self._tools, shared=shared), rows)
        for name, role in self._spec.columns.items():
            if role in _DROPPED:
                self._counts[f"columns_{role}"] += 1
            elif role not in (*_SWEPT, "free_text"):
                self._columns[name] = self._by_role(name, role, self._columns[name])
        text = self._spec.of_role("free_text")
        self._counts["columns_free_text"] = len(text)
        self._counts["cells_for_review"] = sum(value is not None for name in text for value in self._columns[name])
        arrays = {
            name: pa.array(values, pa.string()) if name in text else to_array(values)
            for name, values in self._columns.items()
        }
        redactions = tuple((f"{name}[{row}]", reason) for name, row, reason in sorted(self._redactions))
        owners = tuple(patient and self._tools.keyring.patient_id(patient) for patient in self._patients)
        return CleanTable(self._raw.name, pa.table(arrays), self._counts, redactions, text, owners)

    def _shared(self, name: str) -> frozenset[str]:
        return shared_cells(self._columns[name], patients=self._patients)

    def _subject(self, patient: str) -> Subject:
        """Whose identifiers are looked for in a row: its patient's; where nobody says whose it is, everybody's."""
        subjects = self._tools.cohort.subjects
        if self._spec.key_column:
            return subjects.get(patient, Subject())
        everybody = Subject()
        for subject in subjects.values():
            everybody.merge(subject)
        everybody.staff |= everybody.names  # as for staff: a name that is a clinical word, too, stays
        everybody.names = set()
        return everybody

    def _clean_rows(self, cleaner: RowCleaner, rows: list[int]) -> None:
        for name in self._spec.of_role(*_SWEPT, "free_text"):
            clean = cleaner.running_text if self._spec.columns[name] == "free_text" else cleaner.value
            values = self._columns[name]
            for row in rows:
                if values[row] is not None:
                    values[row], reason = clean(values[row])
                    self._note(name, row, reason)

    def _by_role(self, name: str, role: str, values: Column) -> Column:
        keyring = self._tools.keyring
        if role == "link":
            return [keyring.patient_id(patient) for patient in self._patients]
        if role == "uid" and "retain_uids" in self._tools.profile.options:
            return values
        if role == "uid":
            return [None if v is None else keyring.uid_of(plain_text(v)) for v in values]
        if role in ("pseudonym", "accession"):
            kind = "accession" if role == "accession" else _KIND.sub("", name)
            return [None if v is None else keyring.number_id(plain_text(v), kind=kind) for v in values]
        if role == "date":
            return self._dates(name, values)
        return [self._age(name, row, value) for row, value in enumerate(values)]

    def _dates(self, name: str, values: Column) -> Column:
        days = [self._days(patient) for patient in self._patients]
        moved = shift_column(values, days=days, times=self._tools.times)
        for row, (before, after) in enumerate(zip(values, moved, strict=True)):
            if before is not None and after is None:
                self._note(name, row, "no date")
                self._counts["dates_removed"] += 1
            self._counts["dates_shifted"] += after is not None
        return list(moved)

    def _days(self, patient: str) -> int | None:
        """As in DICOM: moved, kept by option, or (without either option) not kept."""
        options = self._tools.profile.options
        if "retain_full_dates" in options:
            return 0
        if "retain_modified_dates" not in options:
            return None
        return self._tools.keyring.offset_days(patient, max_shift_days=self._tools.max_shift_days)

    def _age(self, name: str, row: int, value: Any) -> int | None:
        if value is None:
            return None
        years = _years(value)
        if years is None:
            self._note(name, row, "no age")
            self._counts["ages_removed"] += 1
        elif years >= TOP_AGE_YEARS:
            self._counts["ages_top_coded"] += 1
        return years if years is None else min(years, TOP_AGE_YEARS)

    def _note(self, name: str, row: int, reason: str) -> None:
        if reason:
            self._redactions.append((name, row, reason))
            self._counts["cells_redacted"] += 1


def _years(value: Any) -> int | None:
    """Whole years of a number, of ``93 y`` or of a DICOM age (``093Y``, ``006M``)."""
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return int(value) if 0 <= value < 1000 else None
    text = plain_text(value)
    dicom = top_code_as(text)
    if dicom:
        return int(int(dicom[:3]) / {"Y": 1, "M": 12, "W": 52.18, "D": 365.25}[dicom[3]])
    found = _AGE.fullmatch(text)
    return int(float(found[1])) if found else None


def row_patients(raw: RawTable, *, spec: TableSpec, links: Mapping[str, str]) -> list[str]:
    """The patient of each row of an input table; '' where nothing says whose it is."""
    column = spec.key_column
    if not column:
        return [""] * raw.rows
    values = ["" if value is None else plain_text(value) for value in raw.columns[column]]
    role = spec.columns[column]
    return values if role == "link" else [links.get(link_key(role, value), "") for value in values]


def _holds_dates(values: Column) -> bool:
    present = [value for value in values if value is not None]
    return bool(present) and all(isinstance(value, date | datetime) for value in present)
