"""Words that no list can hold: compounds of known parts, codes of technique, version numbers. Pure."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Container

_LINKS = ("", "s", "es", "n", "en", "e", "o")  # between the parts of a compound
_MIN_COMPOUND, _MIN_STEM, _MAX_WORD = 7, 4, 48
_RUN = re.compile(r"[a-z]+|\d+")
_LETTERS = re.compile(r"[a-z]{1,2}")
_MAX_CODE_LETTERS, _MAX_CODE_DIGITS, _MAX_DIGITS, _MAX_RUNS, _MAX_VERSION_DIGITS = 4, 4, 6, 6, 7
_MONTH_NAMES = (
    "jan feb mar apr may jun jul aug sep oct nov dec mai okt dez mrz maerz juin juil avr fev fevr ene abr ago dic gen "
    "mag giu lug set ott out sept"
)
_MONTHS = frozenset(_MONTH_NAMES.split())
_YEAR = re.compile(r"(?:19|20)\d\d")
_BUILD = re.compile(r"\d{4}\.[a-z]")  # as in EA_2039.h: the number is no year
_VERSION = re.compile(r"[A-Za-z]{0,3}(\d{1,4}(?:\.\d{1,4}){2,5})")
_LOCAL_NETWORKS = frozenset({"10", "127", "169", "172", "192"})
_MAX_MONTH, _MAX_DAY = 12, 31


@functools.lru_cache(maxsize=65_536)
def is_compound(word: str, stems: frozenset[str]) -> bool:
    """Whether a folded word is made of at least two of ``stems``: ``halsgefasse``, ``headneck``."""
    if not stems or not word.isalpha() or len(word) > _MAX_WORD:
        return False
    if word.isascii() and len(word) < _MIN_COMPOUND:
        return False
    reached = {0}
    for start in range(len(word)):
        if start in reached:
            reached |= _ends(word, start, stems)
    return len(word) in reached


def _ends(word: str, start: int, stems: frozenset[str]) -> set[int]:
    """Where a stem from ``start`` and what links it to the next one end; the word as one stem counts nowhere."""
    ends = set()
    for end in range(start + 1, len(word) + 1):
        stem = word[start:end]
        if stem not in stems or (start, end) == (0, len(word)) or (stem.isascii() and len(stem) < _MIN_STEM):
            continue
        links = _LINKS if end < len(word) else ("",)
        ends |= {end + len(link) for link in links if word.startswith(link, end) and end + len(link) < len(word)}
        if end == len(word):
            ends.add(end)
    return ends


def is_code(word: str, *, known: Collection[str], denied: Container[str]) -> bool:
    """Whether a folded word has the form of a kernel, coil, sequence or version: ``fc08``, ``tse2d1``, ``86er003``.

    Letters in a row are at most four, or a known word, and never a denied one; alone they are at most two, for three
    are somebody's initials. Digits are at most four in a row and six in all, so that no record number fits; a year does
    not, nor a date with the name of a month.
    """
    if _LETTERS.fullmatch(word):
        return True
    if word.isdigit() and _YEAR.fullmatch(word):
        return False
    runs = _RUN.findall(word)
    if "".join(runs) != word or len(runs) > _MAX_RUNS:
        return False
    letters = [run for run in runs if run.isalpha()]
    digits = [run for run in runs if run.isdigit()]
    if not digits or any(len(run) > _MAX_CODE_DIGITS for run in digits) or sum(map(len, digits)) > _MAX_DIGITS:
        return False
    if not _MONTHS.isdisjoint(letters) or any(run in denied for run in letters):
        return False
    return all(len(run) <= _MAX_CODE_LETTERS or run in known for run in letters)


def is_version(token: str) -> bool:
    """Whether a token is a version number such as ``5.7.1.2``: neither a date nor an address nor a telephone number."""
    found = _VERSION.fullmatch(token)
    if found is None:
        return _BUILD.fullmatch(token) is not None
    parts = found.group(1).split(".")
    if sum(map(len, parts)) > _MAX_VERSION_DIGITS or (len(parts) == 4 and parts[0] in _LOCAL_NETWORKS):
        return False
    return len(parts) != 3 or not _may_be_date(parts)


def may_be_dated(words: Collection[str]) -> bool:
    """Whether folded words hold more than one number, or a number and the name of a month."""
    numbers = sum(word.isdigit() for word in words)
    return numbers > 1 or (numbers == 1 and not _MONTHS.isdisjoint(words))


def names_a_month(words: Collection[str]) -> bool:
    """Whether folded words hold a year and the name of a month."""
    return any(map(_YEAR.fullmatch, words)) and any(word[:3] in _MONTHS for word in words if word.isalpha())


def _may_be_date(parts: list[str]) -> bool:
    first, middle, last = parts
    return _is_date(last, middle, first) or _is_date(last, first, middle) or _is_date(first, middle, last)


def _is_date(year: str, month: str, day: str) -> bool:
    return len(year) in (2, 4) and 1 <= int(month) <= _MAX_MONTH and 1 <= int(day) <= _MAX_DAY
