"""Cells of one patient's rows: identifiers go, running text is cleaned as that of DICOM is."""

from __future__ import annotations

import math
from collections import defaultdict
from decimal import Decimal
from typing import Any

from enclave.deid.harvest import MIN_PATIENTS
from enclave.deid.long_text import MIN_CHARS, LongText
from enclave.deid.names import fold
from enclave.deid.sweep import Subject, Sweeper
from enclave.deid.table import defined_terms
from enclave.deid.table_dates import is_written_date
from enclave.deid.tools import Tools
from enclave.deid.trace import REVIEW
from enclave.deid.words import Words
from enclave.detectors.patterns import pattern_spans

_FORMS = frozenset({"date", "old_age", "day", "room"})  # what is made of words and numbers that may stay one by one
SWEEP = "identifier_sweep"


class RowCleaner:
    """Cleans cells of the rows of one patient; each answer is the new cell and why it changed ('' if it did not).

    ``shared``: folded cells that stay although one of their words is somebody else's name (``shared_cells``).
    """

    def __init__(self, subject: Subject, *, tools: Tools, shared: frozenset[str] = frozenset()) -> None:
        self._shared = shared
        self._sweeper = Sweeper(subject, vocabulary=tools.vocabulary)
        self._denied = tools.cohort.denied
        own = frozenset(part for name in subject.names for part in fold(name).split() if len(part) > 2)
        self._words = Words(tools.vocabulary - own, denied=tools.cohort.denied)
        self._long = LongText(subject, cohort=tools.cohort, vocabulary=tools.vocabulary) if tools.detectors else None

    def value(self, cell: Any) -> tuple[Any, str]:
        """A cell that is kept as it is or not at all."""
        if isinstance(cell, bool):
            return cell, ""
        if not isinstance(cell, str):
            return (None, SWEEP) if self._is_identifier(cell) else (cell, "")
        if is_written_date(cell):
            return None, "date outside of a date column"
        return (None, SWEEP) if self._identifies(cell) else (cell, "")

    def running_text(self, cell: Any) -> tuple[str | None, str]:
        """A cell of running text: by detectors when there are some and it is long, else by the vocabulary."""
        text = plain_text(cell)
        if self._long is not None and self._long.takes(text):
            kept, reason = self._long.keep(text), REVIEW
        else:
            kept = self._words.keep(_without_forms(text))
            reason = "" if kept == text else "vocabulary"
        if kept and self._sweeper.found_in_text(kept):
            return None, SWEEP
        return kept or None, reason

    def _identifies(self, text: str) -> bool:
        folded = fold(text)
        if folded in self._denied or self._sweeper.found_in_text(text):
            return True
        return folded not in self._shared and not self._denied.isdisjoint(folded.split())

    def _is_identifier(self, cell: Any) -> bool:
        """A number is one as a whole; a date, which has no business here, in any spelling."""
        if isinstance(cell, int | float | Decimal):
            return self._sweeper.found_in_number(plain_text(cell))
        return self._sweeper.found_in_text(plain_text(cell))


def shared_cells(values: list[Any], *, patients: list[str]) -> frozenset[str]:
    """The categories of a column: cells of clinical words only that at least five patients have (white matter)."""
    seen: defaultdict[str, set[str]] = defaultdict(set)
    for patient, value in zip(patients, values, strict=True):
        if isinstance(value, str) and len(value) <= MIN_CHARS:
            seen[fold(value)].add(patient)
    return frozenset(
        cell for cell, who in seen.items() if len(who) >= MIN_PATIENTS and defined_terms().issuperset(cell.split())
    )


def plain_text(value: Any) -> str:
    """A cell as text, stripped. A whole number is written without a point: ids with gaps arrive as 1234.0."""
    if isinstance(value, float | Decimal) and math.isfinite(value) and value == int(value):
        return str(int(value))
    return str(value).strip()


def _without_forms(text: str) -> str:
    kept: list[str] = []
    at = 0
    for span in sorted((s for s in pattern_spans(text) if s.kind in _FORMS), key=lambda s: s.start):
        kept.append(text[at : max(at, span.start)])
        at = max(at, span.end)
    return " ".join([*kept, text[at:]])
