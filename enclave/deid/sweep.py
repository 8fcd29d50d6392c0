"""Looks for the identifiers of one patient in every decoded value, and in the bytes that leave."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import ahocorasick

from enclave.deid.dates import date_digits, date_spellings
from enclave.deid.names import MIN_PIECE, fold, name_parts, number_forms
from enclave.deid.table import coded_terms, defined_terms

# Words that stand in the names of most institutions: they identify nobody by themselves.
_INSTITUTION_WORDS = (
    "hospital clinic clinics klinik klinikum center centre university universitaet department medicine medical health "
    "healthcare institute radiology radiologie diagnostic diagnostics imaging oncology cardiology neurology "
    "pulmonology orthopaedics orthopedics pediatrics paediatrics emergency surgery internal general regional national "
    "community memorial college school foundation trust practice group service services centro hopital hospitalier "
    "street avenue drive place square"
)
_INSTITUTION = frozenset(_INSTITUTION_WORDS.split())
_LETTERS = re.compile(r"[^\W\d_]+")
_LEAST_TEXT = 8  # bytes
_TEXT = re.compile(rb"(?=[ -~]*(?:[A-Za-z]{5}|\d{6})|[ -~]{12})[ -~]+[ \0]*")  # as numbers do not happen to be
_TELEPHONE = 10  # digits
_MAX_PHRASE = 8  # words of an identifier that is searched word by word

_IN_TEXT, _IN_TERM, _IN_CODE = 1, 2, 4  # where a word is looked for


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
    """A search for one subject. Words match whole words; numbers match inside of anything, however hyphenated.

    A name that is a clinical word, too (Head, Long, Primary), is looked for in texts. In a coded string it cannot be
    told from a word that the standard defines, nor in technical values and bytes from a clinical word: there only the
    whole name counts.
    """

    def __init__(self, subject: Subject, *, vocabulary: Iterable[str]) -> None:
        harmless = frozenset(vocabulary)
        words = _words(subject, harmless)
        self._terms = _terms(harmless)
        forms = {
            form for number in subject.numbers for form in number_forms(number)
        } - harmless  # "UNKNOWN" is no number
        births = {form for birth in subject.births for form in date_digits(birth)}
        self._pieces = frozenset(form for form in forms if form.isdigit()) | births
        telling = words - self._terms
        kinds = dict.fromkeys(words, _IN_TEXT)
        for kind, those in ((_IN_TERM, telling), (_IN_CODE, words - coded_terms())):
            kinds.update((word, kinds[word] | kind) for word in those)
        self._words = _automaton((f" {word} ", kind) for word, kind in kinds.items())
        self._forms = _automaton((form, 1) for form in forms if not form.isdigit() or len(form) > MIN_PIECE + 1)
        self._short = frozenset(form for form in forms if form.isdigit() and len(form) <= MIN_PIECE + 1)
        self._digits = [form for form in forms if form.isdigit() and len(form) > MIN_PIECE + 1]
        own = telling & {part for name in subject.names for part in name_parts(name)}
        written = _as_written(subject)
        raw = (*_raw_forms({*telling, *written}, forms), *_wide_forms({*own, *written}))
        self._raw = _automaton((form, len(form)) for form in raw)

    def found_in_text(self, text: str) -> bool:
        """Whether ``text`` holds an identifier in any spelling."""
        return self._found(text, _IN_TEXT)

    def found_in_term(self, text: str) -> bool:
        """As ``found_in_text`` for a technical value, where a clinical word is that word and nobody's name."""
        return self._found(text, _IN_TERM)

    def found_in_code(self, text: str) -> bool:
        """As ``found_in_text`` for a coded string, where a word that the standard defines is that word."""
        return self._found(text, _IN_CODE)

    def _found(self, text: str, kind: int) -> bool:
        folded = fold(text)
        if not folded:
            return False
        hits = () if self._words is None else self._words.iter(f" {folded} ")
        if any(found & kind for _, found in hits):
            return True
        if self._forms is not None and next(self._forms.iter(folded.replace(" ", "")), None) is not None:
            return True
        return bool(self._short) and not self._short.isdisjoint(folded.split())

    def without(self, text: str) -> str:
        """``text`` without the words in which an identifier was found; empty when that does not help."""
        kept = [word for word in text.split() if not self.found_in_text(word)]
        for size in range(2, _MAX_PHRASE + 1):
            if not self.found_in_text(" ".join(kept)):
                break
            for start in range(len(kept) - size, -1, -1):
                if self.found_in_text(" ".join(kept[start : start + size])):
                    del kept[start : start + size]
        left = " ".join(kept)
        return "" if self.found_in_text(left) else left

    def found_in_number(self, text: str) -> bool:
        """Whether a number of a numeric attribute is an identifier: the whole number, not a part of it."""
        whole = text.strip().partition(".")[0].lstrip("+-")
        forms = {whole, whole.lstrip("0"), whole[-_TELEPHONE:]}  # a telephone number with the code of its country
        return any(len(form) >= 6 and form in self._pieces for form in forms)

    def is_number(self, number: float) -> bool:
        """Whether a binary number is an identifier, as ``found_in_number``."""
        return abs(number) >= 100_000 and self.found_in_number(f"{number:.0f}")

    def is_text(self, data: bytes) -> bool:
        """Whether the bytes of binary numbers are words, or hold an identifier."""
        return len(data) >= _LEAST_TEXT and (_TEXT.fullmatch(data) is not None or self.found_in_bytes(data))

    def found_in_stream(self, data: bytes) -> bool:
        """As ``found_in_bytes`` for compressed pixels, where no seven digits of a number stand by chance."""
        if self.found_in_bytes(data):
            return True
        return any(form.encode() in data for form in self._digits)

    def found_in_bytes(self, data: bytes) -> bool:
        """Whether raw bytes hold an identifier as ASCII, Latin-1, UTF-8 or UTF-16 text, in any case.

        Within a longer word it is one, too, unless that word is known: Philip is not in Philips.
        """
        if self._raw is None:
            return False
        text = data.decode("latin-1").lower()
        return any(_word_around(text, end, length) not in self._terms for end, length in self._raw.iter(text))


@functools.lru_cache(maxsize=4)
def _terms(harmless: frozenset[str]) -> frozenset[str]:
    return harmless | defined_terms()


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


def _as_written(subject: Subject) -> set[str]:
    """Words and numbers with the diacritics and hyphens that folding takes off: bytes are not folded for a search."""
    words = {word for name in (*subject.names, *subject.staff) for word in _LETTERS.findall(name)}
    written = {word for word in words if not word.isascii() and fold(word) != word.casefold()}
    return written | {text for number in subject.numbers if len(text := number.strip()) >= 2 * MIN_PIECE}


def _raw_forms(words: set[str], forms: set[str]) -> Iterable[str]:
    """What to look for in bytes: only what is long enough not to occur by chance, and no digits alone (dates)."""
    for word in words:
        if len(word) >= MIN_PIECE + 1 and not word.replace(" ", "").isdigit():
            yield from _byte_spellings(word)
    for form in forms:
        if len(form) >= 2 * MIN_PIECE or (not form.isdigit() and len(form) > MIN_PIECE):
            yield from _byte_spellings(form)


def _wide_forms(words: set[str]) -> Iterable[str]:
    """Names in UTF-16."""
    for word in words:
        if len(word) >= MIN_PIECE + 1:
            yield from _byte_spellings(word, encodings=("utf-16-le", "utf-16-be"))


def _byte_spellings(word: str, *, encodings: tuple[str, ...] = ("latin-1", "utf-8")) -> Iterable[str]:
    """``word`` as bytes are read: Latin-1, in lower case. Letters of more than one byte have no case there."""
    if word.isascii() and "utf-8" in encodings:
        yield word.lower()
        return
    composed = unicodedata.normalize("NFC", word)
    for encoding in encodings:
        for cased in (composed,) if word.isascii() else (composed.lower(), composed.upper(), composed.title()):
            try:
                yield cased.encode(encoding).decode("latin-1").lower()
            except UnicodeEncodeError:
                break


def _word_around(text: str, end: int, length: int) -> str:
    """The word of letters that a hit stands in; the hit itself when it holds anything else."""
    first, last = end - length + 1, end + 1
    if not text[first:last].isalpha():
        return text[first:last]
    while first > 0 and text[first - 1].isalpha():
        first -= 1
    while last < len(text) and text[last].isalpha():
        last += 1
    return text[first:last]


def _automaton(patterns: Iterable[tuple[str, int]]) -> Any:
    """Finds patterns, each with the number that is to be told of a hit; None without any."""
    automaton = ahocorasick.Automaton(ahocorasick.STORE_INTS)
    for pattern, number in patterns:
        if pattern.strip():
            automaton.add_word(pattern, number)
    if len(automaton):
        automaton.make_automaton()
        return automaton
    return None
