"""Forty invented people with habits, and what they do on an ordinary day.

Each has own hours (night owls, early birds, two on another continent), own volumes, own datasets and networks; they
travel, stay late before a deadline, mistype their second factor, run loops into refusals, go on holiday.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

OFFICE = ("10.20.1", "10.20.2", "10.20.3")
VPN = ("10.99.7", "10.99.8")
HOLIDAYS = frozenset({(1, 1), (5, 1), (7, 4), (10, 3), (11, 1), (12, 24), (12, 25), (12, 26)})
DATASETS = tuple(f"set-{letter}" for letter in "abcdefghijkl")


@dataclass(frozen=True, slots=True)
class Habit:
    """One person. ``start`` and ``hours`` are their day in UTC; ``objects`` the median they read in a day."""

    name: str
    role: str
    project: str
    start: float
    hours: float
    days: frozenset[int]
    cells: float
    objects: float
    object_bytes: float
    datasets: tuple[str, ...]
    networks: tuple[str, ...]
    egress_per_week: float
    joined: date
    left: date | None = None
    away: frozenset[date] = field(default_factory=frozenset)
    quarterly: bool = False


def make_people(random_: random.Random, *, first: date, last: date) -> list[Habit]:
    """28 researchers and 12 others; two join late, one leaves, one has a large job each quarter."""
    roles = ["researcher"] * 28 + ["output_checker"] * 4 + ["data_steward"] * 3 + ["honest_broker"] * 2
    roles += ["expert", "auditor", "operator"]
    return [_person(random_, number, role, first, last) for number, role in enumerate(roles)]


def _person(random_: random.Random, number: int, role: str, first: date, last: date) -> Habit:
    reader = role in ("researcher", "expert")
    start = _start(random_, number)
    month = last - timedelta(days=30)
    return Habit(
        name=f"{role[:3]}-{number:02d}",
        role=role,
        project=f"project-{number % 6}",
        start=start,
        hours=random_.uniform(5.5, 9),
        days=_days(random_, number),
        cells=random_.lognormvariate(3.2, 0.5) if reader else 0.0,
        objects=random_.lognormvariate(3.6, 0.8) if reader else 0.0,
        object_bytes=random_.lognormvariate(16.4, 0.6),
        datasets=tuple(random_.sample(DATASETS, random_.randint(2, 4))),
        networks=(random_.choice(OFFICE), random_.choice(VPN), f"81.{number + 10}.{random_.randint(1, 250)}"),
        egress_per_week=random_.uniform(0.1, 1.0) if role == "researcher" else 0.0,
        joined=month + timedelta(days=random_.randint(2, 12)) if number in (5, 6) else first,
        left=month + timedelta(days=random_.randint(10, 20)) if number == 7 else None,
        away=_away(random_, first, last),
        quarterly=number == 8,
    )


def _start(random_: random.Random, number: int) -> float:
    if number in (10, 11, 12):
        return random_.uniform(16, 19)  # night owls
    if number in (13, 14):
        return random_.uniform(4.5, 5.5)  # early birds
    if number in (15, 16):
        return random_.uniform(13, 15)  # another continent
    return random_.uniform(7, 9)


def _days(random_: random.Random, number: int) -> frozenset[int]:
    if number in (17, 18):
        return frozenset(random_.sample(range(5), 3))  # part time
    return frozenset(range(7)) if number == 19 else frozenset(range(5))  # one works at week-ends, too


def _away(random_: random.Random, first: date, last: date) -> frozenset[date]:
    away: set[date] = set()
    for _ in range(random_.randint(1, 2)):
        begin = first + timedelta(days=random_.randint(0, (last - first).days))
        away |= {begin + timedelta(days=n) for n in range(random_.randint(4, 15))}
    return frozenset(away)


def works_on(habit: Habit, day: date, random_: random.Random) -> bool:
    """Whether this is a day of theirs; sometimes people work when they need not, and are ill when they would."""
    if day < habit.joined or (habit.left and day > habit.left) or day in habit.away:
        return False
    if (day.month, day.day) in HOLIDAYS:
        return random_.random() < 0.02
    return random_.random() < (0.94 if day.weekday() in habit.days else 0.04)


def ordinary_day(habit: Habit, day: date, random_: random.Random, *, large: bool = False) -> Iterator[dict[str, Any]]:
    """The events of one day of work; ``large``: with the large job of the quarter."""
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(hours=habit.start + random_.gauss(0, 0.4))
    hours = habit.hours * random_.uniform(0.7, 1.1)
    if random_.random() < 0.025:
        hours += random_.uniform(1.5, 3.5)  # the evening before a deadline
    yield from _sign_ins(habit, begin, random_)
    yield from _refusals(habit, begin, hours, random_)
    if habit.cells:
        yield from _work(habit, begin, hours, random_, large=large)
    if random_.random() < habit.egress_per_week / 5:
        for _ in range(random_.choice((1, 1, 1, 2, 3))):
            yield submit(habit, begin + timedelta(hours=random_.uniform(0.5, hours)), random_)
    yield from _desk_work(habit, begin, hours, random_)


def _sign_ins(habit: Habit, begin: datetime, random_: random.Random) -> Iterator[dict[str, Any]]:
    network = random_.choices(habit.networks, (6, 2, 3))[0]
    if random_.random() < 1 / 60:
        network = f"{random_.randint(90, 190)}.{random_.randint(1, 250)}.{random_.randint(1, 250)}"  # a journey
    for _ in range(random_.choices((0, 1, 2), (96, 3, 1))[0]):
        at = begin - timedelta(minutes=random_.uniform(1, 5))
        yield event(habit, "login.refused", at, outcome="refused", reason="mfa_missing", source=f"{network}.7")
    yield event(habit, "login.ok", begin, source=f"{network}.{random_.randint(2, 250)}")
    if random_.random() < 0.3:
        later = begin + timedelta(hours=random_.uniform(1.5, 7))
        other = network if random_.random() < 0.7 else random_.choice(habit.networks)
        yield event(habit, "login.ok", later, source=f"{other}.{random_.randint(2, 250)}")


def _refusals(habit: Habit, begin: datetime, hours: float, random_: random.Random) -> Iterator[dict[str, Any]]:
    for _ in range(min(4, int(random_.expovariate(3)))):
        at = begin + timedelta(hours=random_.uniform(0, hours))
        kind = random_.choice(("dataset.open", "gate.refused", "cell.execute", "egress.submit"))
        reason = random_.choice(("not_released", "certificate_expired", "ledger_unavailable"))
        yield event(habit, kind, at, outcome="refused", reason=reason, dataset=random_.choice(DATASETS))
    if random_.random() < 1 / 200:  # a loop that tries again and again
        at = begin + timedelta(hours=random_.uniform(0, hours))
        for number in range(random_.randint(5, 25)):
            moment = at + timedelta(seconds=4 * number)
            yield event(habit, "dataset.open", moment, outcome="refused", reason="certificate_expired", dataset="set-a")


def _work(
    habit: Habit, begin: datetime, hours: float, random_: random.Random, *, large: bool
) -> Iterator[dict[str, Any]]:
    kernel = f"{random_.getrandbits(128):032x}"
    for dataset in random_.sample(habit.datasets, random_.randint(1, 2)):
        yield event(habit, "dataset.open", begin + timedelta(minutes=20), dataset=dataset, version=1, kernel=kernel)
    for _ in range(max(3, int(random_.gauss(habit.cells, habit.cells / 4)))):
        at = begin + timedelta(hours=random_.uniform(0.3, hours))
        yield from cell(habit, at, kernel, random_, shown=int(random_.lognormvariate(10, 2)))
    if random_.random() < 1 / 60:
        at = begin + timedelta(hours=random_.uniform(0.3, hours))
        yield cut(habit, at, kernel=kernel)
    objects = habit.objects * random_.lognormvariate(0, 0.45)
    if random_.random() < 0.03:
        objects *= random_.uniform(1.5, 3)  # a larger experiment
    if large:
        objects = 9000 * random_.uniform(0.9, 1.1)
    yield from reads(habit, begin, hours, int(objects) + 1, kernel, random_)


def reads(
    habit: Habit, begin: datetime, hours: float, objects: int, kernel: str, random_: random.Random
) -> Iterator[dict[str, Any]]:
    """So many objects read in so many hours, at most a hundred at a time."""
    left = objects
    while left > 0:
        count = min(left, 100, random_.choice((5, 20, 100)) if objects < 500 else 100)
        left -= count
        at = begin + timedelta(hours=random_.uniform(0.4, hours))
        detail = {"count": count, "size_bytes": int(count * habit.object_bytes)}
        dataset = random_.choice(habit.datasets)
        yield event(habit, "dataset.read", at, dataset=dataset, version=1, kernel=kernel, cell="c" * 32, detail=detail)


def cell(
    habit: Habit, at: datetime, kernel: str, random_: random.Random, *, shown: int = 2000
) -> Iterator[dict[str, Any]]:
    """One cell: what was about to run, and what came of it."""
    yield event(habit, "cell.execute", at, outcome="intent", kernel=kernel)
    end = at + timedelta(seconds=random_.expovariate(0.2))
    yield event(habit, "cell.execute", end, kernel=kernel, detail={"output_bytes": shown})


def submit(habit: Habit, at: datetime, random_: random.Random) -> dict[str, Any]:
    """One request to leave."""
    detail = {"files": 1, "size_bytes": int(random_.lognormvariate(11.5, 1.2)), "round": 1}
    return event(habit, "egress.submit", at, detail=detail)


def _desk_work(habit: Habit, begin: datetime, hours: float, random_: random.Random) -> Iterator[dict[str, Any]]:
    if habit.role not in ("data_steward", "operator") or random_.random() > 0.4:
        return
    at = begin + timedelta(hours=random_.uniform(0, hours))
    kind = "project.member_add" if habit.role == "data_steward" else "kernel.end"
    detail = {"person": "res-00"} if habit.role == "data_steward" else {}
    yield event(habit, kind, at, ticket=f"OPS-{random_.randint(100, 999)}", detail=detail)


def cut(habit: Habit, at: datetime, **fields: Any) -> dict[str, Any]:
    """One cell that showed more than a cell may."""
    detail = {"budget": "cell", "measure": "bytes", "output_bytes": 210_000_000, "limit": 209_715_200}
    return event(habit, "output.refused", at, outcome="refused", reason="cell_budget", detail=detail, **fields)


def event(habit: Habit, kind: str, at: datetime, **fields: Any) -> dict[str, Any]:
    """One event of a person, as the ledger would hold it."""
    fields = {"outcome": "ok", "project": habit.project, **fields}
    return {"kind": kind, "at": at, "actor": habit.name, "role": habit.role, **fields}
