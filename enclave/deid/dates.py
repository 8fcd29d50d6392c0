"""Dates moved by whole days, so that intervals survive; ages over 89 in one group. Pure.

Source for the ages: 45 CFR 164.514(b)(2)(i)(C).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import date, timedelta

TOP_AGE_YEARS = 90
TIMES = ("exact", "hour", "none")  # how much of a time of day stays
_DA = re.compile(r"(\d{4})(\d{2})(\d{2})")
_DA_OLD = re.compile(r"(\d{4})\.(\d{2})\.(\d{2})")  # ACR-NEMA, still met in files
_DT = re.compile(r"(\d{8})(\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?)?([+-]\d{4})?")
_TM = re.compile(r"(?:[01]\d|2[0-3])(?::?[0-5]\d(?::?(?:[0-5]\d|60)(?:\.\d{1,6})?)?)?")
_AS = re.compile(r"(\d{3})([DWMY])")
_TABLE_FORMS = (
    re.compile(r"(?P<y>\d{4})-(?P<m>\d{1,2})-(?P<d>\d{1,2})(?:[T ][\d:.]+(?:Z|[+-]\d{2}:?\d{2})?)?"),
    re.compile(r"(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})"),
    re.compile(r"(?P<y>\d{4})/(?P<m>\d{1,2})/(?P<d>\d{1,2})"),
    re.compile(r"(?P<d>\d{1,2})\.(?P<m>\d{1,2})\.(?P<y>\d{4})"),
)


def offset_days(patient: str, *, key: bytes, max_shift_days: int) -> int:
    """The patient's own shift: from −max_shift_days to −1, never 0, never into the future."""
    digest = hmac.new(key, patient.encode("utf-8", "surrogateescape"), hashlib.sha256).digest()
    return -1 - int.from_bytes(digest[:8], "big") % max_shift_days


def parse_da(text: str) -> date | None:
    """A DA value as a date, None when it is none (``00000000``, ranges, words)."""
    stripped = text.strip(" \0")
    found = _DA.fullmatch(stripped) or _DA_OLD.fullmatch(stripped)
    return _make(*map(int, found.groups())) if found else None


def shift_da(text: str, *, days: int) -> str:
    """A DA value moved by ``days``; empty when it is no date: what cannot be moved is not kept."""
    found = parse_da(text)
    moved = _move(found, days) if found else None
    return moved.isoformat().replace("-", "") if moved else ""


def shift_dt(text: str, *, days: int, times: str = "exact") -> str:
    """A DT value moved by ``days``, of its time what ``times`` keeps; empty when its date is not complete."""
    found = _DT.fullmatch(text.strip(" \0"))
    moved = shift_da(found.group(1), days=days) if found else ""
    return moved + _coarse(found.group(2) or "", times) + (found.group(3) or "") if found and moved else ""


def keep_tm(text: str, *, times: str = "exact") -> str:
    """Of a TM value what ``times`` keeps, empty for what is none: a shift by whole days leaves times alone."""
    stripped = text.strip(" \0")
    return _coarse(stripped, times) if _TM.fullmatch(stripped) else ""


def top_code_as(text: str) -> str:
    """An AS value with years over 89 as ``090Y``; empty when it is no age."""
    found = _AS.fullmatch(text.strip(" \0"))
    if not found:
        return ""
    years = int(found.group(1)) / {"Y": 1, "M": 12, "W": 52.18, "D": 365.25}[found.group(2)]
    return f"{TOP_AGE_YEARS:03d}Y" if years >= TOP_AGE_YEARS else found.group(0)


def parse_table_date(text: str) -> date | None:
    """A date of a table column: ISO (with or without a time), YYYYMMDD, YYYY/M/D or D.M.YYYY; else None."""
    for form in _TABLE_FORMS:
        found = form.fullmatch(text.strip())
        if found:
            return _make(int(found["y"]), int(found["m"]), int(found["d"]))
    return None


def shift_date(value: date, *, days: int) -> date | None:
    """``value`` moved by ``days``; None when the calendar ends before that."""
    return _move(value, days)


def date_spellings(value: date) -> tuple[str, ...]:
    """The ways in which people write a date in free text; for a search, in folded form."""
    return (
        f"{value:%Y%m%d}",
        f"{value:%Y %m %d}",
        f"{value:%d %m %Y}",
        f"{value:%m %d %Y}",
        f"{value.day} {value.month} {value.year}",
        f"{value.month} {value.day} {value.year}",
        f"{value:%d %b %Y}".lower(),
        f"{value:%b %d %Y}".lower(),
    )


def date_digits(value: date) -> tuple[str, ...]:
    """A date as one number, in the orders and lengths in which people key it in."""
    return tuple(f"{value:{form}}" for form in ("%Y%m%d", "%d%m%Y", "%m%d%Y", "%y%m%d", "%d%m%y", "%m%d%y"))


def _coarse(time: str, times: str) -> str:
    """Hours alone are a whole TM, and a whole end of a DT (PS3.5 6.2)."""
    return time if times == "exact" else time[:2] if times == "hour" else ""


def _make(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _move(value: date, days: int) -> date | None:
    try:
        moved = value + timedelta(days=days)
    except OverflowError:
        return None
    return moved if moved.year >= 1000 else None  # four digits in DA
