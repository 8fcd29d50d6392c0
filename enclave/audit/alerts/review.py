"""The review of weeks: which are over, who signed them, which still want a name. Pure.

A week is an ISO week (ISO 8601, Monday to Sunday) in UTC, named ``2026-W47``. One auditor's signature completes it
when the ledger holds no act of theirs in it; otherwise it needs another auditor's as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from enclave.audit.alerts.model import Signature
from enclave.core.errors import InvalidError

WEEK: Final = timedelta(days=7)
_NAME: Final = re.compile(r"(\d{4})-W(\d{2})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Week:
    """One week and the names under it. ``since`` is in, ``until`` is out."""

    name: str
    since: datetime
    until: datetime
    signatures: tuple[Signature, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether somebody signed who did not act in it, or two people did."""
        return any(not one.acted for one in self.signatures) or len({one.person for one in self.signatures}) >= 2


def week_of(at: datetime) -> Week:
    """The week that ``at`` is in."""
    year, number, _ = at.astimezone(UTC).isocalendar()
    return parse_week(f"{year:04d}-W{number:02d}")


def parse_week(name: str) -> Week:
    """The week of that name; raises ``InvalidError``."""
    found = _NAME.fullmatch(name)
    try:
        if not found:
            raise ValueError
        since = datetime.fromisocalendar(int(found.group(1)), int(found.group(2)), 1).replace(tzinfo=UTC)
    except ValueError:
        raise InvalidError("period: wanted an ISO week such as 2026-W47, got something else") from None
    return Week(name=name, since=since, until=since + WEEK)


def weeks_over(*, first: datetime | None, at: datetime, signatures: Iterable[Signature]) -> tuple[Week, ...]:
    """Every week since the ledger's first event that is over at ``at``, the newest first."""
    if first is None:
        return ()
    by_name: dict[str, list[Signature]] = {}
    for one in signatures:
        by_name.setdefault(one.period, []).append(one)
    weeks: list[Week] = []
    week = week_of(first)
    while week.until <= at:
        names = tuple(by_name.get(week.name, ()))
        weeks.append(Week(name=week.name, since=week.since, until=week.until, signatures=names))
        week = week_of(week.until)
    return tuple(reversed(weeks))


def unsigned(weeks: Sequence[Week]) -> tuple[Week, ...]:
    """Those that still want a name, the oldest first."""
    return tuple(week for week in reversed(weeks) if not week.complete)
