"""One simulated month after a quarter of history: its events as the ledger's table, its incidents, its people."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa

from benchmarks.alerts.incidents import Incident, Planter, plant_all
from benchmarks.alerts.people import Habit, event, make_people, ordinary_day, works_on
from enclave.audit.views import TABLES, VIEWS

HISTORY_DAYS = 105
MONTH = (date(2026, 10, 1), date(2026, 10, 31))


@dataclass(slots=True)
class Month:
    """Everything of one seed. ``person_days`` counts the days of the month on which somebody worked."""

    engine: duckdb.DuckDBPyConnection
    incidents: list[Incident]
    person_days: int
    events: int
    since: datetime
    until: datetime


def make_month(seed: int, *, planted: bool = True) -> Month:
    """The month of one seed; without ``planted`` nothing but ordinary work."""
    random_ = random.Random(seed)
    first, last = MONTH[0] - timedelta(days=HISTORY_DAYS), MONTH[1]
    people = make_people(random_, first=first, last=last)
    events: list[dict[str, Any]] = []
    worked: dict[str, list[date]] = defaultdict(list)
    most: dict[str, int] = defaultdict(int)
    for habit in people:
        for day in (first + timedelta(days=n) for n in range((last - first).days + 1)):
            if works_on(habit, day, random_):
                worked[habit.name].append(day)
                found = list(ordinary_day(habit, day, random_, large=_has_large_job(habit, worked[habit.name])))
                objects = sum(e["detail"]["count"] for e in found if e["kind"] == "dataset.read")
                most[habit.name] = max(most[habit.name], objects)
                events += found
    events += _machines(people, first, last, random_)
    days = [MONTH[0] + timedelta(days=n) for n in range((MONTH[1] - MONTH[0]).days + 1)]
    incidents: list[Incident] = []
    if planted:
        found, incidents = plant_all(Planter(people, days, most, worked, random_, []))
        events += found
    gap = days[20] if planted else None
    if gap is not None:
        incidents.append(Incident("ledger_damage", "ledger", gap, gap + timedelta(days=1)))
    person_days = sum(MONTH[0] <= day <= MONTH[1] for found in worked.values() for day in found)
    return Month(
        _engine(events, random_, gap=gap),
        incidents,
        person_days,
        len(events),
        datetime(*MONTH[0].timetuple()[:3], tzinfo=UTC),
        datetime(*MONTH[1].timetuple()[:3], tzinfo=UTC) + timedelta(days=1),
    )


def _has_large_job(habit: Habit, worked: list[date]) -> bool:
    """On the first two days of the quarter on which this person works, today the last of ``worked``."""
    today = worked[-1]
    quarter = date(today.year, (today.month - 1) // 3 * 3 + 1, 1)
    return habit.quarterly and sum(day >= quarter for day in worked) <= 2


def _machines(people: list[Habit], first: date, last: date, random_: random.Random) -> Iterator[dict[str, Any]]:
    """Scheduled reports that read much at night, restarts of the ledger, newcomers without a group, leavers."""
    service = {"actor": "service:reports", "role": "service"}
    operator = next(habit for habit in people if habit.role == "operator")
    steward = next(habit for habit in people if habit.role == "data_steward")
    for number in range((last - first).days + 1):
        at = datetime(*(first + timedelta(days=number)).timetuple()[:3], 2, tzinfo=UTC)
        detail = {"count": 100, "size_bytes": 3_000_000_000}
        for minute in range(12):
            read = event(operator, "dataset.read", at + timedelta(minutes=minute), cell="c" * 32, detail=detail)
            yield {**read, **service}
        if random_.random() < 0.1:
            auditd = {"actor": "service:auditd", "role": None}
            for kind, minutes in (("audit.stopped", 60), ("audit.started", 61)):
                if kind == "audit.started" or random_.random() < 0.8:  # now and then it was killed
                    yield {**event(operator, kind, at + timedelta(minutes=minutes)), **auditd}
    for habit in people:
        if habit.joined > first:  # came a day before the group was granted
            at = datetime(*(habit.joined - timedelta(days=1)).timetuple()[:3], 9, tzinfo=UTC)
            yield event(habit, "login.refused", at, outcome="refused", reason="no_role", source="10.20.1.9")
        if habit.left or habit.name == "res-09":  # res-09 left another project than the one they work in
            at = datetime(*(habit.left or last - timedelta(days=20)).timetuple()[:3], 22, 50, tzinfo=UTC)
            place = habit.project if habit.left else "project-other"
            at += timedelta(days=1)
            detail = {"person": habit.name}
            yield event(steward, "project.member_remove", at, project=place, ticket="HR-1", detail=detail)


def _engine(events: list[dict[str, Any]], random_: random.Random, *, gap: date | None) -> duckdb.DuckDBPyConnection:
    """A store of the ledger's own schema with these events, in the order in which the ledger would take them."""
    events.sort(key=lambda e: e["at"])
    columns: dict[str, list[Any]] = defaultdict(list)
    seq = 0
    for number, one in enumerate(events):
        if gap is not None and one["at"].date() >= gap:
            seq, gap = seq + 3, None
        delay = random_.expovariate(300) if random_.random() < 0.999 else random_.uniform(0.2, 1.9)
        received = one["at"] + timedelta(seconds=delay)
        if one["outcome"] == "ok" and random_.random() < 0.0005:
            one["time"] = one["at"] - timedelta(seconds=random_.uniform(5, 300))  # written when the ledger was back
        row = {"seq": seq, "id": f"{number:032x}", "received": received, "time": one.get("time", one["at"])}
        row["detail"] = json.dumps(one.get("detail", {}))
        for name in _TEXTS:
            row[name] = one.get(name)
        row |= {"version": one.get("version"), "objects": one.get("objects"), "writer_uid": 1}
        for name, value in row.items():
            columns[name].append(value)
        seq += 1
    for name in ("received",):
        for n in range(1, seq and len(columns[name])):
            columns[name][n] = max(columns[name][n], columns[name][n - 1])
    table = pa.table({name: pa.array(values, _TYPES.get(name, pa.string())) for name, values in columns.items()})
    engine = duckdb.connect(":memory:", config={"threads": "2"})
    engine.execute("SET TimeZone = 'UTC'")
    engine.execute(TABLES + VIEWS)
    engine.register("simulated", table)
    engine.execute("INSERT INTO records BY NAME SELECT * FROM simulated")
    engine.unregister("simulated")
    return engine


_TEXTS = ("kind", "actor", "role", "project", "dataset", "session", "kernel", "cell", "source", "ticket", "trace")
_TEXTS += ("outcome", "reason")
_TYPES = {
    "seq": pa.int64(),
    "version": pa.int32(),
    "objects": pa.list_(pa.string()),
    "writer_uid": pa.int64(),
    "time": pa.timestamp("us", "UTC"),
    "received": pa.timestamp("us", "UTC"),
}
