"""Patterns in text that point to people or hide data. Pure: text in, observations out.

The record-number pattern is deliberately wide: a checker looks at each hit, and a missed one costs more.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

from enclave.disclosure.findings import Observation, seen

LONG_LINE: Final = 5_000
RULER_CHARACTERS: Final = 8  # a line of dashes is no encoded data
_MONTH: Final = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_YEAR: Final = r"(?:19|20)\d\d"
PATTERNS: Final[tuple[tuple[str, re.Pattern[str]], ...]] = (
    ("encoded_blob", re.compile(r"[A-Za-z0-9+/_-]{200,}={0,2}")),
    (
        "pattern_date",
        re.compile(
            rf"(?<![\d.]){_YEAR}[-/.](?:0?[1-9]|1[0-2])[-/.](?:0?[1-9]|[12]\d|3[01])(?!\d)"
            rf"|(?<![\d.])(?:0?[1-9]|[12]\d|3[01])[-/.](?:0?[1-9]|[12]\d|3[01])[-/.]{_YEAR}(?!\d)"
            rf"|(?<![\d.]){_YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?![\d.])"
            rf"|\b\d{{1,2}}\.?[ -]{_MONTH}[ -]{_YEAR}\b|\b{_MONTH} \d{{1,2}},? {_YEAR}\b",
            re.IGNORECASE,
        ),
    ),
    ("pattern_national_number", re.compile(r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])")),
    ("pattern_email", re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,4}")),
    (
        "pattern_phone",
        re.compile(
            r"(?<![\w.])\+\d{1,3}(?:[ .-]?\(?\d{1,4}\)?){2,5}(?![\w.])"
            r"|(?<![\w.])(?:\(\d{2,4}\)|\d{3,4})[ .-]\d{3,4}[ .-]\d{3,4}(?![\w.])"
        ),
    ),
    ("pattern_uid", re.compile(r"(?<![\d.])[0-2](?:\.(?:0|[1-9]\d{0,38})){5,32}(?![\d.])")),
    (
        "pattern_record_number",
        re.compile(
            r"\b(?:mrn|patient[ _]?id|record[ _]?(?:no|number)|accession)\b\W{0,3}[A-Z]{0,3}\d{4,12}"
            r"|(?<![\d.,eE+-])[A-Z]{0,3}\d{7,10}(?![\d.,])",
            re.IGNORECASE,
        ),
    ),
)
_INVISIBLE: Final = frozenset({"Cf", "Co", "Cs", "Cn"})
_ALLOWED_INVISIBLE: Final = frozenset({"\ufeff", "\u00ad"})


def observe_text(text: str) -> Iterator[Observation]:
    """Every hit with its line (1 is the first). A date is not also a record number."""
    for number, line in enumerate(text.splitlines(), 1):
        where = {"line": number}
        if len(line) > LONG_LINE:
            yield seen("long_line", where=where)
        if not line.isascii() and _hides(line):
            yield seen("hidden_characters", where=where)
        yield from _hits(line, where)


def _hits(line: str, where: dict[str, int]) -> Iterator[Observation]:
    taken: list[tuple[int, int]] = []
    for rule, pattern in PATTERNS:
        count = 0
        for match in pattern.finditer(line):
            if rule == "encoded_blob" and len(set(match.group())) < RULER_CHARACTERS:
                continue
            if not any(start < match.end() and match.start() < end for start, end in taken):
                taken.append(match.span())
                count += 1
        if count:
            yield seen(rule, where=where, count=count)


def _hides(line: str) -> bool:
    return any(
        unicodedata.category(char) in _INVISIBLE and char not in _ALLOWED_INVISIBLE
        for char in line
        if not char.isascii()
    )


def parse_utf8(data: bytes) -> str | None:
    """The text of ``data``, or None when it is not plain text (UTF-8, no control bytes but tab and line ends)."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if re.search(r"[\x00-\x08\x0b\x0e-\x1f\x7f]", text) else text
