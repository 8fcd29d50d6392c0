"""What may be destroyed, and when: years by class of event, legal holds, and nothing but bodies. Pure decisions.

Records are never deleted: they hold ids, codes and hashes only, and every proof rests on them. Six years are the least
(45 CFR 164.316(b)(2)(i)).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from enclave.core.errors import InvalidError

MIN_YEARS = 6
MIN_NOTICE_DAYS = 7


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """`[retention]`: for how many years bodies (code, reasons) are kept. `classes` maps the beginning of an event's
    kind (`cell`, `egress.vote`) to years; the longest that fits counts. Less than six years is refused. Once a day the
    ledger tells what is of age (`audit.retention_due`). A body is destroyed by `enclave audit retention apply`, or with
    `notice_days` (0: never; else 7 at least) unattended so many days after the notice, and never while a legal hold
    covers it."""

    years: int = MIN_YEARS
    classes: dict[str, int] = field(default_factory=dict)
    notice_days: int = 0

    def __post_init__(self) -> None:
        """Raises ``InvalidError``."""
        if min(self.years, *self.classes.values(), MIN_YEARS) < MIN_YEARS:
            raise InvalidError(f"retention: wanted at least {MIN_YEARS} years for each class, got fewer")
        if self.notice_days and self.notice_days < MIN_NOTICE_DAYS:
            words = f"retention: wanted a notice of at least {MIN_NOTICE_DAYS} days, got a shorter one; 0 is never"
            raise InvalidError(words)


@dataclass(frozen=True, slots=True)
class Notice:
    """That the ledger told which bodies are of age: when, and the digest of the plan."""

    at: datetime
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A legal hold: everything that all of its named sides fit. An empty side fits everything."""

    id: str
    project: str = ""
    dataset: str = ""
    person: str = ""
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """What a record with bodies is about; what its kernel and its cell were about counts too."""

    seq: int
    kind: str
    received: datetime
    projects: frozenset[str]
    datasets: frozenset[str]
    people: frozenset[str]


@dataclass(frozen=True, slots=True)
class Plan:
    """``due`` are the sequence numbers whose bodies are of age and free; ``held`` those that a hold keeps."""

    due: tuple[int, ...]
    held: tuple[int, ...]
    kept: int
    holds: tuple[Hold, ...]

    @property
    def digest(self) -> str:
        """Names exactly these bodies, so that what was shown is what is done."""
        return hashlib.sha256(b"".join(seq.to_bytes(8, "big") for seq in self.due)).hexdigest()


def plan(subjects: Iterable[Subject], holds: Sequence[Hold], *, settings: RetentionSettings, at: datetime) -> Plan:
    """What the policy says at ``at`` (aware UTC)."""
    due, held, kept = [], [], 0
    for subject in subjects:
        if at < comes_of_age(subject, settings=settings):
            kept += 1
        elif any(covers(hold, subject) for hold in holds):
            held.append(subject.seq)
        else:
            due.append(subject.seq)
    return Plan(tuple(sorted(due)), tuple(sorted(held)), kept, tuple(holds))


def ripe_since(notices: Sequence[Notice], *, settings: RetentionSettings, at: datetime) -> datetime | None:
    """Bodies that were of age by this moment may go unattended at ``at``; None when none may.

    That is the newest notice that is old enough: whatever it told of, people had the days to place a hold on.
    """
    if not settings.notice_days:
        return None
    latest = at - timedelta(days=settings.notice_days)
    return max((notice.at for notice in notices if notice.at <= latest), default=None)


def comes_of_age(subject: Subject, *, settings: RetentionSettings) -> datetime:
    """The first moment at which the body may go; of 29 February the 1 March."""
    years = years_of(subject.kind, settings=settings)
    try:
        return subject.received.replace(year=subject.received.year + years)
    except ValueError:
        return subject.received.replace(year=subject.received.year + years, month=3, day=1)


def years_of(kind: str, *, settings: RetentionSettings) -> int:
    """For how long bodies of this kind of event are kept."""
    parts = kind.split(".")
    for length in range(len(parts), 0, -1):
        found = settings.classes.get(".".join(parts[:length]))
        if found is not None:
            return found
    return settings.years


def covers(hold: Hold, subject: Subject) -> bool:
    """Whether the hold keeps this body."""
    return (
        (not hold.project or hold.project in subject.projects)
        and (not hold.dataset or hold.dataset in subject.datasets)
        and (not hold.person or hold.person in subject.people)
        and (hold.since is None or hold.since <= subject.received)
        and (hold.until is None or subject.received < hold.until)
    )


def check_hold(hold: Hold) -> Hold:
    """Raises ``InvalidError`` for one that names nothing or ends before it begins."""
    if not (hold.project or hold.dataset or hold.person or hold.since or hold.until):
        raise InvalidError("legal hold: wanted a project, dataset, person or period, got none; name at least one")
    if hold.since and hold.until and hold.until <= hold.since:
        raise InvalidError("legal hold: wanted an end after its beginning, got one before")
    return hold
