"""Time is passed in: every decision takes ``at``, an aware UTC datetime."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol

from enclave.core.errors import InvalidError


class Clock(Protocol):
    """Where a process gets its time; tests pass their own."""

    def now(self) -> datetime:
        """The time now, aware, UTC."""
        ...


def format_time(at: datetime) -> str:
    """RFC 3339 in UTC with microseconds and ``Z``: sorts as text as it sorts in time."""
    if at.tzinfo is UTC:
        return at.isoformat(timespec="microseconds")[:-6] + "Z"  # instead of +00:00; most times are in UTC already
    if at.tzinfo is None:
        raise InvalidError("time: wanted an aware datetime, got one without a zone")
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def parse_time(text: str) -> datetime:
    """An aware UTC datetime from RFC 3339 text (source: RFC 3339, section 5.6)."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidError("time: wanted RFC 3339 such as 2026-11-22T12:00:00Z, got another format") from None
    if at.tzinfo is None:
        raise InvalidError("time: wanted a time with its zone such as 2026-11-22T12:00:00Z, got one without")
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise InvalidError("time: wanted a time from year 1 to 9999 in UTC, got one beyond") from None
