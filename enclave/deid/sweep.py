"""Looks for the identifiers of one patient in every decoded value, and in the bytes that leave."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import ahocorasick

from enclave.deid.dates import date_spellings
from enclave.deid.names import MIN_PIECE, fold, name_parts, number_forms

# Words that stand in the names of most institutions: they identify nobody by themselves.
_INSTITUTION_WORDS = (
    "hospital clinic clinics klinik klinikum center centre university universitaet department medicine medical health "
    "healthcare institute radiology radiologie diagnostic diagnostics imaging oncology cardiology neurology "
    "pulmonology orthopaedics orthopedics pediatrics paediatrics emergency surgery internal general regional national "
    "community memorial college school foundation trust practice group service services centro hopital hospitalier "
    "street avenue drive place square"
)
_INSTITUTION = frozenset(_INSTITUTION_WORDS.split())


@dataclass(slots=True)
class Subject:
    """All that identifies one patient, as read from all of that patient's files and table rows.

    ``names`` are the patient's own and relatives', ``staff`` those of others in the same files.
    """

    names: set[str] = field(default_factory=set)
    staff: set[str] = field(default_factory=set)
    numbers: set[str] = field(default_factory=set)
    places: set[str] = field(default_factory=set)
    births: set[date] = field(default_factory=set)

    def merge(self, other: Subject) -> None:
        """Takes over what ``other`` knows."""
        self.names |= other.names
        self.staff |= other.staff
        self.numbers |= other.numbers
        self.places |= other.places
        self.births |= other.births


class Sweeper:
    """A search for one subject. Words match whole words; numbers match inside of anything, however hyphenated."""

    def __init__(self, subject: Subject, *, vocabulary: Iterable[str]) -> None:
        harmless = frozenset(vocabulary)
        words = _words(subject, harmless)
        forms = {form for number in subject.numbers for form in number_forms(number)}
        self._pieces = frozenset(form for form in forms if form.isdigit())
        self._words = _automaton(f" {word} " for word in words)
        self._forms = _automaton(form for form in forms if not form.isdigit() or len(form) > MIN_PIECE + 1)
        self._short = frozenset(form for form in forms if form.isdigit() and len(form) <= MIN_PIECE + 1)
        self._raw = _automaton(_raw_forms(words, forms))

    def found_in_text(self, text: str) -> bool:
        """Whether ``text`` holds an identifier in any spelling."""
        folded = fold(text)
        if not folded:
            return False
        if _hit(self._words, f" {folded} ") or _hit(self._forms, folded.replace(" ", "")):
            return True
        return bool(self._short) and not self._short.isdisjoint(folded.split())

    def found_in_number(self, text: str) -> bool:
        """Whether a number of a numeric attribute is an identifier: the whole number, not a part of it."""
        digits = text.strip().partition(".")[0].lstrip("+-0")
        return len(digits) >= 6 and digits in self._pieces

    def is_number(self, number: float) -> bool:
        """Whether a binary number is an identifier, as ``found_in_number``."""
        return abs(number) >= 100_000 and self.found_in_number(f"{number:.0f}")

    def found_in_bytes(self, data: bytes) -> bool:
        """Whether raw bytes hold an identifier as ASCII, UTF-8 or Latin-1 text, in any case."""
        return _hit(self._raw, data.decode("latin-1").lower())


def _words(subject: Subject, harmless: frozenset[str]) -> set[str]:
    words = {part for name in subject.names for part in name_parts(name)}
    words |= {part for name in subject.staff for part in name_parts(name) - harmless}
    words |= {whole for name in (*subject.names, *subject.staff) if " " in (whole := fold(name))}
    for place in subject.places:
        folded = fold(place)
        if len(folded) >= MIN_PIECE and folded not in harmless and folded not in _INSTITUTION:
            words.add(folded)
        words |= {word for word in folded.split() if len(word) >= MIN_PIECE} - harmless - _INSTITUTION
    for birth in subject.births:
        words |= set(date_spellings(birth))
    return words


def _raw_forms(words: set[str], forms: set[str]) -> Iterable[str]:
    """What to look for in bytes: only what is long enough not to occur by chance, and no digits alone (dates)."""
    for word in words:
        if len(word) >= MIN_PIECE + 1 and not word.replace(" ", "").isdigit():
            yield from _byte_spellings(word)
    for form in forms:
        if len(form) >= 2 * MIN_PIECE or (not form.isdigit() and len(form) > MIN_PIECE):
            yield from _byte_spellings(form)


def _byte_spellings(word: str) -> Iterable[str]:
    composed = unicodedata.normalize("NFC", word)
    for encoding in ("utf-8", "latin-1"):
        try:
            yield composed.encode(encoding).decode("latin-1").lower()
        except UnicodeEncodeError:
            continue


def _automaton(patterns: Iterable[str]) -> Any:
    automaton = ahocorasick.Automaton(ahocorasick.STORE_LENGTH)
    for pattern in patterns:
        if pattern.strip():
            automaton.add_word(pattern)
    if len(automaton):
        automaton.make_automaton()
        return automaton
    return None


def _hit(automaton: Any, text: str) -> bool:
    return automaton is not None and next(automaton.iter(text), None) is not None
