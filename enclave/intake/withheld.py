"""What a measured table no longer tells of a patient, taken out of that patient's documents and columns of text. Pure.

k is measured on the table; a text that says *67-year-old* beside an age of 60-69 would undo it. Quasi-identifiers
said in other words (*she*, for a sex that was generalised) stay: free text is not part of the measure.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from enclave.deid.table_cells import plain_text
from enclave.deid.tables import CleanTable
from enclave.risk.engine import Anonymised

MARK = "REMOVED"
_YEARS_APART = 2  # a document is of another day than the row
_APART = r"(?<!\w)(?<!\d[.,])"  # not within a word or a number
_UNIT = r"[\s-]*(?:years?|yrs?|y/?o|y|jahren?|jahre?|ans|años|anos|anni)\b"
# Ages that say that they are: 67-year-old, sixty-seven years old, 67 y/o, aged 67, age: 67, 67F, 67-jährig.
_AGE = re.compile(
    r"\b\d{1,3}[\s-]*(?:y/?o\b|y\.\s?o\.|(?:years?|yrs?|months?|weeks?|days?)[\s-]+(?:old\b|of\s+age\b)|j(?:ä|ae)hrig\w*)"
    r"|\b[^\W\d_]+(?:[\s-]+(?:one|two|three|four|five|six|seven|eight|nine))?[\s-]+years?[\s-]+old\b"
    r"|\b(?:aged?|alter|âge|edad|edade)\W{1,3}\d{1,3}y?\b"
    r"|\b\d{1,3}\s?(?-i:[MF])\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Withheld:
    """Values of one patient that the table had and no longer tells; ``aged``: an age is among them."""

    values: frozenset[str] = frozenset()
    aged: bool = False

    def without(self, text: str) -> str:
        """``text`` with a mark for each of the values, written as words of their own, and for each age."""
        if self.aged:
            text = _AGE.sub(MARK, text)
        found = [*map(_pattern, sorted(self.values, key=lambda value: (-len(value), value))), *self._near()]
        return re.sub("|".join(found), MARK, text, flags=re.IGNORECASE) if found else text

    def _near(self) -> list[str]:
        if not self.aged:
            return []
        ages = [int(value) for value in self.values if value.isdecimal() and len(value) <= 3]
        near = {age + by for age in ages for by in range(-_YEARS_APART, _YEARS_APART + 1) if age + by >= 0}
        return [f"{_APART}{age}{_UNIT}" for age in sorted(near)]


def withheld_values(clean: CleanTable, measured: Anonymised, *, link: str, ages: Iterable[str]) -> dict[str, Withheld]:
    """By pseudonym, for each patient that is left in the measured table; ``ages`` names its columns of ages."""
    before = clean.table.filter(measured.kept)
    patients = before.column(link).to_pylist()
    values: defaultdict[str, set[str]] = defaultdict(set)
    aged: set[str] = set()
    found: Mapping[str, Any] = {name: (before.column(name), measured.table.column(name)) for name in measured.node}
    for name, (old, new) in found.items():
        for patient, one, other in zip(patients, old.to_pylist(), new.to_pylist(), strict=True):
            if one is None or plain_text(one) == plain_text(other):
                continue
            if name in ages:
                aged.add(patient)
            if len(plain_text(one)) > 1:
                values[patient].add(plain_text(one))
    return {patient: Withheld(frozenset(values[patient]), patient in aged) for patient in patients}


def without_withheld(clean: CleanTable, *, withheld: Mapping[str, Withheld]) -> tuple[CleanTable, dict[str, int]]:
    """The table with columns of running text that do not tell what ``withheld`` holds, and by column how many cells
    changed.

    The text of a patient who was not measured goes, as such a patient's documents do; so does one of which nobody says
    whose it is, when anything is withheld from anybody.
    """
    unknown = any(one.values or one.aged for one in withheld.values())
    table, changed = clean.table, {}
    for name in clean.review:
        before = table.column(name).to_pylist()
        after = list(before)
        for row in sorted(range(len(before)), key=lambda row: clean.owners[row]):  # one patient's pattern after another
            after[row] = _told(before[row], clean.owners[row], withheld, unknown=unknown)
        changed[name] = sum(one != other for one, other in zip(before, after, strict=True))
        table = table.set_column(table.column_names.index(name), name, pa.array(after, pa.string()))
    return replace(clean, table=table), changed


def _told(text: str | None, owner: str, withheld: Mapping[str, Withheld], *, unknown: bool) -> str | None:
    if text is None or owner in withheld:
        return text and withheld[owner].without(text)
    return None if owner or unknown else text


def _pattern(value: str) -> str:
    zeros = "0{0,2}" if value.isdecimal() else ""
    return _APART + zeros + r"[\s-]+".join(map(re.escape, value.split())) + r"(?!\w|[.,]\d)"
