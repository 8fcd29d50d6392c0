"""Dates of a table column in the many ways in which people write them; what could be two dates is none. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

from enclave.deid.dates import parse_table_date, shift_date

Order = Literal["dmy", "mdy", ""]
Moment = date | datetime

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_SLASHED = re.compile(r"(\d{1,2})([/-])(\d{1,2})\2(\d{4})")
_DAY_FIRST = re.compile(r"(\d{1,2})[ -]([a-z]{3})[a-z]*\.?,?[ -](\d{4})", re.IGNORECASE)
_MONTH_FIRST = re.compile(r"([a-z]{3})[a-z]*\.? (\d{1,2}),? (\d{4})", re.IGNORECASE)
_WITH_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?(?:Z|[+-]\d{2}:?\d{2})?")
_DIGITS = re.compile(r"\d+")


def order_of(texts: Iterable[str]) -> Order:
    """Whether ``03/04/2019`` is the third of April here: what a number above 12 elsewhere in the column says.

    '' when nothing says it, or both: then such dates are not read, for a wrong month is worse than none.
    """
    found = [match for text in texts if (match := _SLASHED.fullmatch(text.strip()))]
    days_first = any(int(match[1]) > 12 for match in found)
    months_first = any(int(match[3]) > 12 for match in found)
    if days_first == months_first:
        return ""
    return "dmy" if days_first else "mdy"


def read_moment(value: Any, *, order: Order = "") -> Moment | None:
    """A cell as a date, or as a time in UTC when it has a zone; None when it is neither or could be two dates."""
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else value
    if value is None or isinstance(value, date):
        return value
    text = str(value).strip()
    if _WITH_TIME.fullmatch(text):
        try:
            return read_moment(datetime.fromisoformat(text))
        except ValueError:
            return None
    return parse_table_date(text) or _worded(text) or _slashed(text, order=order)


def is_written_date(text: str) -> bool:
    """Whether a text is a whole date in some form with separators (eight digits alone may be a number)."""
    if not 8 <= len(text) <= 40 or _DIGITS.fullmatch(text.strip()):
        return False
    return read_moment(text, order="dmy") is not None or read_moment(text, order="mdy") is not None


def shift_column(values: Sequence[Any], *, days: Sequence[int | None], times: str = "exact") -> list[Moment | None]:
    """Each cell moved by its row's days (None: not kept).

    Of times stays what ``times`` says (``dates.TIMES``) when every cell has one, else all become dates.
    """
    order = order_of(value for value in values if isinstance(value, str))
    read = [read_moment(value, order=order) for value in values]
    present = [moment for moment in read if moment is not None]
    timed = all(isinstance(moment, datetime) for moment in present)
    zones = {moment.tzinfo is not None for moment in present if isinstance(moment, datetime)}
    if not timed or len(zones) > 1 or times == "none":
        read = [moment.date() if isinstance(moment, datetime) else moment for moment in read]
    elif times == "hour":
        read = [
            moment.replace(minute=0, second=0, microsecond=0) if isinstance(moment, datetime) else moment
            for moment in read
        ]
    return [_moved(moment, shift) for moment, shift in zip(read, days, strict=True)]


def _moved(moment: Moment | None, days: int | None) -> Moment | None:
    if moment is None or days is None:
        return None
    if not isinstance(moment, datetime):
        return shift_date(moment, days=days)
    try:
        moved = moment + timedelta(days=days)
    except OverflowError:
        return None
    return moved if moved.year >= 1000 else None


def _worded(text: str) -> date | None:
    first, second = _DAY_FIRST.fullmatch(text), _MONTH_FIRST.fullmatch(text)
    if first:
        return _made(first[3], first[2], first[1])
    return _made(second[3], second[1], second[2]) if second else None


def _slashed(text: str, *, order: Order) -> date | None:
    found = _SLASHED.fullmatch(text)
    if not found or not order:
        return None
    day, month = (found[1], found[3]) if order == "dmy" else (found[3], found[1])
    return _made(found[4], month, day)


def _made(year: str, month: str, day: str) -> date | None:
    if not month.isdigit():
        name = month.lower()
        if name not in _MONTHS:
            return None
        month = str(_MONTHS.index(name) + 1)
    try:
        return date(int(year), int(month), int(day))
    except ValueError:
        return None
