"""The rules over a simulated month: which incidents were told, which alerts nobody planted."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from benchmarks.alerts.month import Month
from enclave.audit.alerts.questions import rule_sql
from enclave.audit.alerts.rules import known_rules


@dataclass(slots=True)
class Score:
    """What came of one month. ``missed`` and ``false`` name rule, subject and day."""

    incidents: int
    told: int
    alerts: int
    person_days: int
    missed: list[tuple[str, str, str]] = field(default_factory=list)
    false: list[tuple[str, str, str, float]] = field(default_factory=list)
    by_rule: dict[str, int] = field(default_factory=dict)
    slowest_ms: float = 0.0

    @property
    def recall(self) -> float:
        """Told of planted."""
        return self.told / self.incidents if self.incidents else 1.0

    @property
    def precision(self) -> float:
        """Alerts that belong to an incident, of all alerts."""
        return 1 - len(self.false) / self.alerts if self.alerts else 1.0


def hits_of(month: Month, *, since: datetime, at: datetime) -> dict[tuple[str, str, str], dict[str, Any]]:
    """All alerts that one look would open, by rule, subject and key; and the slowest rule's time."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for rule in known_rules().values():
        began = time.perf_counter()
        cursor = month.engine.execute(rule_sql(rule, since=since, at=at))
        names = [column[0] for column in cursor.description]
        for row in cursor.fetchall():
            hit = dict(zip(names, row, strict=True))
            hit["ms"] = (time.perf_counter() - began) * 1000
            found[rule.id, hit["subject"], hit["key"]] = hit
    return found


def score(month: Month) -> Score:
    """An alert is false when no incident was planted on its subject on that day or the day before or after."""
    hits = hits_of(month, since=month.since, at=month.until)
    result = Score(len(month.incidents), 0, len(hits), month.person_days)
    for incident in month.incidents:
        fits = [
            key
            for key, hit in hits.items()
            if key[:2] == (incident.rule, incident.subject)
            and _within(hit["moment"].date(), incident.first, incident.last)
        ]
        result.told += bool(fits)
        if not fits:
            result.missed.append((incident.rule, incident.subject, incident.first.isoformat()))
    for (rule, subject, _), hit in hits.items():
        day = hit["moment"].date()
        spans = [(i.first, i.last) for i in month.incidents if i.subject == subject]
        if not any(_within(day, first - timedelta(days=1), last + timedelta(days=1)) for first, last in spans):
            result.false.append((rule, subject, day.isoformat(), round(hit["value"], 2)))
    result.by_rule = dict(Counter(rule for rule, _, _ in hits))
    result.slowest_ms = max((hit["ms"] for hit in hits.values()), default=0.0)
    return result


def _within(day: date, first: date, last: date) -> bool:
    return first <= day <= last
