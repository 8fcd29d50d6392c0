"""What is planted: for every rule some incidents of different shape, each with whom and when it must be told."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from benchmarks.alerts.people import DATASETS, Habit, cell, cut, event, reads, submit

Events = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Incident:
    """One planted incident: the rule that must fire for this subject between two days."""

    rule: str
    subject: str
    first: date
    last: date


@dataclass(slots=True)
class Planter:
    """Chooses people and days so that no two incidents lie on one person within a week."""

    people: list[Habit]
    days: list[date]
    most_objects: dict[str, int]
    worked: dict[str, list[date]]
    random: random.Random
    used: list[tuple[str, date]]

    def choose(self, fits: Callable[[Habit], bool], *, settled: bool = True) -> tuple[Habit, datetime]:
        """Somebody who fits, and the start of a day of theirs."""
        while True:
            habit, day = self.random.choice(self.people), self.random.choice(self.days[1:-7])
            before = [d for d in self.worked[habit.name] if d < day]
            if not fits(habit) or day not in self.worked[habit.name] or (settled and len(before) < 20):
                continue
            if any(name == habit.name and abs((day - other).days) < 8 for name, other in self.used):
                continue
            self.used.append((habit.name, day))
            return habit, datetime(day.year, day.month, day.day, tzinfo=UTC)


def _reader(habit: Habit) -> bool:
    return habit.cells > 0 and not habit.quarterly and habit.left is None


def plant_all(planter: Planter) -> tuple[Events, list[Incident]]:
    """All incidents of one month, a few per rule."""
    events: Events = []
    incidents: list[Incident] = []
    for plant in PLANTS:
        for incident, found in plant(planter):
            incidents.append(incident)
            events.extend(found)
    return events, incidents


def _at(rule: str, habit: Habit, day: datetime, *, days: int = 1) -> Incident:
    return Incident(rule, habit.name, day.date(), day.date() + timedelta(days=days))


Found = Iterator[tuple[Incident, Events]]


def _bulk_reads(p: Planter) -> Found:
    for _ in range(2):
        habit, day = p.choose(_reader)
        objects = int(max(p.most_objects[habit.name], 300) * p.random.uniform(2.6, 8))
        begin = day + timedelta(hours=habit.start)
        yield _at("bulk_read", habit, day), list(reads(habit, begin, 3, objects, "b" * 32, p.random))
    habit, day = p.choose(_reader)
    detail = {"count": 40, "size_bytes": 90_000_000_000}
    at = day + timedelta(hours=habit.start + 1)
    yield (
        _at("bulk_read", habit, day),
        [event(habit, "dataset.read", at, dataset="set-a", version=1, cell="c" * 32, detail=detail)],
    )


def _off_hours(p: Planter) -> Found:
    for _ in range(2):
        habit, day = p.choose(lambda h: _reader(h) and h.name != "res-19")
        begin = day + timedelta(hours=(habit.start + habit.hours / 2 + 12) % 24)
        events: Events = []
        for _ in range(p.random.randint(100, 300)):
            events += cell(habit, begin + timedelta(minutes=p.random.uniform(0, 100)), "d" * 32, p.random)
        yield _at("off_hours", habit, day), events


def _denials(p: Planter) -> Found:
    habit, day = p.choose(_reader)
    begin = day + timedelta(hours=habit.start + 1)
    yield (
        _at("repeated_denials", habit, day),
        [
            event(
                habit, "dataset.open", begin + timedelta(minutes=2 * n), outcome="refused", reason="not_a_member",
                dataset=DATASETS[n % 12], version=n // 12 + 1, project=f"project-{n % 7}",
            )
            for n in range(p.random.randint(11, 24))
        ],
    )  # fmt: skip
    habit, day = p.choose(lambda h: h.left is None)
    begin = day + timedelta(hours=habit.start - 2)
    yield (
        _at("repeated_denials", habit, day),
        [
            event(
                habit, "login.refused", begin + timedelta(seconds=20 * n), outcome="refused", reason="mfa_missing",
                source="203.0.113.9",
            )
            for n in range(p.random.randint(60, 120))
        ],
    )  # fmt: skip
    habit, day = p.choose(_reader)
    at = day + timedelta(hours=habit.start + 2)
    detail = {"route": "/terminals", "count": p.random.randint(50, 400)}
    refused = event(habit, "gate.refused", at, outcome="refused", reason="no_route", detail=detail)
    yield _at("repeated_denials", habit, day), [refused]


def _new_addresses(p: Planter) -> Found:
    for number in range(4):
        habit, day = p.choose(_reader)
        begin = day + timedelta(hours=habit.start + 3)
        source = f"{p.random.randint(195, 220)}.{p.random.randint(1, 250)}.{p.random.randint(1, 250)}.5"
        events = [event(habit, "login.ok", begin, source=source)]
        if number == 0:
            events += [
                event(
                    habit, "login.refused", begin - timedelta(minutes=2 * n + 1), outcome="refused",
                    reason="mfa_missing", source=source,
                )
                for n in range(p.random.randint(3, 6))
            ]  # fmt: skip
        elif number == 1:
            for minutes in (-25, 35):
                at = begin + timedelta(minutes=minutes)
                events.append(event(habit, "login.ok", at, source=f"{habit.networks[0]}.20"))
        elif number == 2:
            objects = int(max(60, p.most_objects[habit.name] * 1.4))
            events += list(reads(habit, begin, 4, objects, "e" * 32, p.random))
        else:
            strange = [name for name in DATASETS if name not in habit.datasets]
            for dataset in p.random.sample(strange, 3):
                at = begin + timedelta(minutes=p.random.uniform(5, 90))
                events.append(event(habit, "dataset.open", at, dataset=dataset, version=1))
        yield _at("new_address", habit, day), events


def _outputs(p: Planter) -> Found:
    habit, day = p.choose(_reader)
    begin = day + timedelta(hours=habit.start + 1)
    cuts = [cut(habit, begin + timedelta(minutes=9 * n)) for n in range(p.random.randint(4, 8))]
    yield _at("output_budget", habit, day), cuts
    habit, day = p.choose(_reader)
    begin = day + timedelta(hours=habit.start + 1)
    events: Events = []
    for number in range(25):
        events += cell(habit, begin + timedelta(minutes=5 * number), "f" * 32, p.random, shown=150_000_000)
    yield _at("output_budget", habit, day), events


def _slices(p: Planter) -> Found:
    for _ in range(2):
        habit, day = p.choose(lambda h: _reader(h) and h.role == "researcher")
        begin = day + timedelta(hours=habit.start + 1)
        events = []
        for _ in range(p.random.randint(16, 26)):
            at = begin + timedelta(days=p.random.randint(0, 4), hours=p.random.uniform(0, 5))
            made = submit(habit, at, p.random)
            made["detail"]["size_bytes"] = p.random.randint(800, 9000)
            events.append(made)
        yield _at("egress_slicing", habit, day, days=7), events


def _disabled(p: Planter) -> Found:
    habit, day = p.choose(_reader)
    begin = day + timedelta(hours=habit.start + habit.hours + 2)
    events = [event(habit, "login.refused", begin, outcome="refused", reason="no_role", source="10.20.1.4")]
    for minutes in (3, 4, 8):
        events += cell(habit, begin + timedelta(minutes=minutes), "a1" * 16, p.random)
    yield _at("disabled_account", habit, day), events
    leaver = next(h for h in p.people if h.left)
    at = datetime(leaver.left.year, leaver.left.month, leaver.left.day, 23, tzinfo=UTC) + timedelta(days=1)
    steward = next(h for h in p.people if h.role == "data_steward")
    gone = event(
        steward, "project.member_remove", at, project=leaver.project, ticket="HR-7", detail={"person": leaver.name}
    )
    read = event(
        leaver, "dataset.read", at + timedelta(minutes=9), dataset="set-a", version=1, cell="c" * 32,
        detail={"count": 3, "size_bytes": 9_000_000},
    )  # fmt: skip
    yield _at("disabled_account", leaver, at), [gone, read]


def _break_glass(p: Planter) -> Found:
    for stage in ("requested", "refused"):
        habit, day = p.choose(lambda h: h.role in ("data_steward", "honest_broker", "operator"), settled=False)
        detail = {"subjects": 4, "stage": stage, "act": "reidentify.request", "request": f"{day:%j}" * 4}
        at = day + timedelta(hours=habit.start + 1)
        yield (
            _at("break_glass", habit, day),
            [event(habit, "reidentify.alarm", at, reason=f"break_glass_{stage}", detail=detail)],
        )


def _no_tickets(p: Planter) -> Found:
    for kind in ("project.member_add", "determination.revoke", "dataset.seal"):
        habit, day = p.choose(lambda h: h.role in ("data_steward", "honest_broker", "operator"), settled=False)
        at = day + timedelta(hours=habit.start + 2)
        yield _at("admin_without_ticket", habit, day), [event(habit, kind, at, detail={"person": "res-01"})]


def _security_keys(p: Planter) -> Found:
    for kind in ("authenticator.code", "authenticator.enrol"):
        habit, day = p.choose(lambda h: h.role in ("data_steward", "operator"), settled=False)
        at = day + timedelta(hours=habit.start + 2)
        yield _at("security_key", habit, day), [event(habit, kind, at, detail={"code": f"{day:%j}" * 4})]


def _canaries(p: Planter) -> Found:
    steward = next(h for h in p.people if h.role == "auditor")
    early = datetime(p.days[0].year, p.days[0].month, p.days[0].day, tzinfo=UTC) - timedelta(days=20)
    declared = [
        event(steward, "watch.canary", early, dataset="set-canary", version=1),
        event(steward, "watch.canary", early, dataset="set-a", version=1, objects=["series-decoy"]),
    ]
    habit, day = p.choose(_reader)
    at = day + timedelta(hours=habit.start + 1)
    touched = event(
        habit, "dataset.open", at, outcome="refused", reason="not_released", dataset="set-canary", version=1
    )
    yield _at("canary_touched", habit, day), [*declared, touched]
    habit, day = p.choose(_reader)
    at = day + timedelta(hours=habit.start + 1)
    detail = {"count": 2, "size_bytes": 2_000_000}
    read = event(
        habit, "dataset.read", at, dataset="set-a", version=1, cell="c" * 32, objects=["t", "series-decoy"],
        detail=detail,
    )  # fmt: skip
    yield _at("canary_touched", habit, day), [read]


def _clocks(p: Planter) -> Found:
    for number in range(2):
        habit, day = p.choose(_reader)
        at = day + timedelta(hours=habit.start + 1)
        made = event(habit, "cell.execute", at, outcome="intent")
        made["time"] = at + timedelta(seconds=40 if number == 0 else -25)
        yield Incident("clock_skew", "ledger", day.date(), day.date() + timedelta(days=1)), [made]


def _damage(p: Planter) -> Found:
    operator = next(h for h in p.people if h.role == "operator")
    day = datetime(p.days[9].year, p.days[9].month, p.days[9].day, tzinfo=UTC)
    service = {"actor": "service:auditd", "role": None, "project": None}
    damage = event(operator, "audit.damage", day + timedelta(hours=3), outcome="failed", reason="stored_bytes_changed")
    yield Incident("ledger_damage", "ledger", day.date(), day.date() + timedelta(days=1)), [{**damage, **service}]


def _background(p: Planter) -> Found:
    for _ in range(2):
        habit, day = p.choose(_reader)
        at = day + timedelta(hours=habit.start + 2)
        detail = {"count": 1, "size_bytes": 3_000_000}
        read = event(habit, "dataset.read", at, dataset="set-a", version=1, cell="background", detail=detail)
        yield _at("background_read", habit, day), [read]


def _space(p: Planter) -> Found:
    operator = next(h for h in p.people if h.role == "operator")
    day = datetime(p.days[12].year, p.days[12].month, p.days[12].day, tzinfo=UTC)
    full = event(operator, "audit.space", day + timedelta(hours=4), outcome="failed", reason="disk_full")
    over = event(operator, "audit.space", day + timedelta(hours=5))
    service = {"actor": "service:auditd", "role": None, "project": None}
    told = Incident("ledger_space", "ledger", day.date(), day.date() + timedelta(days=1))
    yield told, [{**full, **service}, {**over, **service}]


def _unsigned(p: Planter) -> Found:
    operator = next(h for h in p.people if h.role == "operator")
    day = datetime(p.days[15].year, p.days[15].month, p.days[15].day, tzinfo=UTC)
    stopped = event(operator, "audit.signing", day + timedelta(hours=6), outcome="failed", reason="not_signed")
    again = event(operator, "audit.signing", day + timedelta(hours=7))
    service = {"actor": "service:auditd", "role": None, "project": None}
    told = Incident("ledger_unsigned", "ledger", day.date(), day.date() + timedelta(days=1))
    yield told, [{**stopped, **service}, {**again, **service}]


def _flood(p: Planter) -> Found:
    habit, day = p.choose(_reader)
    at = day + timedelta(hours=habit.start + 1)
    cut = event(habit, "audit.quota", at, outcome="refused", reason="quota_events", detail={"uid": 1, "refused": 700})
    yield _at("ledger_flood", habit, day), [{**cut, "role": None, "project": None}]


PLANTS: tuple[Callable[[Planter], Found], ...] = (
    *(_bulk_reads, _off_hours, _denials, _new_addresses, _outputs, _slices, _disabled, _break_glass, _no_tickets),
    *(_canaries, _clocks, _damage, _background, _space, _unsigned, _flood, _security_keys),
)
