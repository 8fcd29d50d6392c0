"""Values coarsened before any hierarchy: top and bottom coding, and the Safe Harbor rules for ZIP, age and dates. Pure.

Source: 45 CFR 164.514(b)(2)(i)(B) and (C).
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable
from datetime import date
from typing import Any, Final

import numpy as np
import pyarrow as pa

from enclave.core.errors import InvalidError
from enclave.risk.config import Qi
from enclave.risk.encoding import encode

OVER_89: Final = "90+"
_AGE_STRING: Final = re.compile(r"(\d{3})([DWMY])")  # DICOM PS3.5, value representation AS
_PER_YEAR: Final = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}
_DATE: Final = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2})(?:[T ].*)?)?|(\d{2})(\d{2})(?:\d{2,6}(?:\.\d+)?)?)?")
_ZIP: Final = re.compile(r"(\d{3})(?:\*\*|\d{2}(?:-?\d{4})?)?")

Coder = Callable[[str], str | None]


def parse_zip3(text: str) -> frozenset[str]:
    """The areas of all editions of the list."""
    return frozenset(area for edition in tomllib.loads(text)["edition"] for area in edition["areas"])


def coded_table(table: Any, qis: tuple[Qi, ...], *, small_areas: frozenset[str]) -> Any:
    """The table with each quasi-identifier coded as it asks for; others stay as they are.

    Raises ``InvalidError`` with the number of distinct values that a rule cannot read (never which).
    """
    for qi in qis:
        coders = coders_of(qi, small_areas=small_areas)
        if not coders or qi.name not in table.column_names:
            continue
        place = table.column_names.index(qi.name)
        table = table.set_column(place, qi.name, _coded(table.column(qi.name), qi.name, coders))
    return table


def coders_of(qi: Qi, *, small_areas: frozenset[str]) -> tuple[Coder, ...]:
    """What is done to each value, in this order. A coder gives None for a value that it cannot read."""
    coders: list[Coder] = []
    if qi.rule == "hipaa_zip3":
        coders.append(lambda value: safe_zip3(value, small_areas=small_areas))
    if qi.rule == "hipaa_age":
        coders.append(safe_age)
    if qi.rule == "hipaa_date":
        as_of = date.fromisoformat(qi.as_of) if qi.as_of else None
        coders.append(lambda value: safe_date(value, as_of=as_of))
    if qi.top is not None or qi.bottom is not None:
        coders.append(lambda value: clipped(value, top=qi.top, bottom=qi.bottom))
    return tuple(coders)


def safe_zip3(value: str, *, small_areas: frozenset[str]) -> str | None:
    """The first three digits, 000 where at most 20,000 people live; a number that lost its zeros is not readable."""
    found = _ZIP.fullmatch(value.strip())
    if found is None:
        return None
    return "000" if found[1] in small_areas else found[1]


def safe_age(value: str) -> str | None:
    """Ages over 89 are one category; a number of years, or a DICOM age string."""
    text = value.strip()
    if text in (OVER_89, "90Y+"):
        return OVER_89
    stated = _AGE_STRING.fullmatch(text)
    years = int(stated[1]) / _PER_YEAR[stated[2]] if stated else _number(text)
    if years is None or years < 0:
        return None
    return OVER_89 if years >= 90 else value


def safe_date(value: str, *, as_of: date | None) -> str | None:
    """The year. With ``as_of`` it is a date of birth: years that tell an age over 89 at that day become one.

    Reads ISO 8601 and DICOM dates and times, and a year alone.
    """
    found = _DATE.fullmatch(value.strip())
    if found is None:
        return None
    year, month, day = int(found[1]), int(found[2] or found[4] or 1), int(found[3] or found[5] or 1)
    try:
        date(year, month, day)
    except ValueError:
        return None
    if as_of is None:
        return f"{year:04d}"
    return f"{as_of.year - 90:04d} or before" if year <= as_of.year - 90 else f"{year:04d}"


def clipped(value: str, *, top: float | None, bottom: float | None) -> str | None:
    """``top`` and above become ``top+``, ``bottom`` and below ``<=bottom``."""
    if value == OVER_89 and (top is None or top >= 90):
        return value
    number = 90.0 if value == OVER_89 else _number(value)
    if number is None:
        return None
    if top is not None and number >= top:
        return f"{_spelled(top)}+"
    return f"<={_spelled(bottom)}" if bottom is not None and number <= bottom else value


def _spelled(number: float) -> str:
    """All of its digits: two ends must not look alike, and a hierarchy names them."""
    return str(int(number)) if float(number).is_integer() and abs(number) < 2**53 else repr(number)


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _coded(column: Any, name: str, coders: tuple[Coder, ...]) -> Any:
    values, codes = encode(column)
    results: list[str | None] = list(values)
    for coder in coders:
        results = [None if value is None else coder(value) for value in results]
    unread = sum(before is not None and after is None for before, after in zip(values, results, strict=True))
    if unread:
        raise InvalidError(
            f"column {name}: wanted values that its rule can read, {unread} of {len(values)} distinct values are not"
        )
    return pa.array(results, type=pa.string()).take(pa.array(np.asarray(codes)))
