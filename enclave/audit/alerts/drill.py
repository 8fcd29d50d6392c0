"""A drill: planted events that only rules see, played through the real ledger, rules and receivers.

Each planted event stands in the ledger as ``audit.drill`` and carries what it plays; its person is ``drill:ID``, who
is nobody, so that no habit of a real person and no view changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from enclave.audit.alerts.model import Alert, Delivered, DrillRecord
from enclave.audit.alerts.rules import Plant, Rule
from enclave.core.clock import parse_time
from enclave.wire.messages.watch import DrillChannel, DrillReport, DrillRule


def planted(plant: Plant) -> dict[str, Any]:
    """What one planted event plays, as its ``detail`` holds it."""
    event: dict[str, Any] = {
        "kind": plant.kind,
        "outcome": plant.outcome,
        "times": plant.times,
        "every_day_for": plant.every_day_for,
        "seconds_ago": plant.days_ago * 86_400 + plant.hours_ago * 3600,
        "ahead_s": plant.ahead_s,
        "detail": dict(plant.detail),
    }
    for name in ("reason", "dataset", "version", "source", "cell"):
        value = getattr(plant, name)
        if value is not None:
            event[name] = value
    return event


def events_of(rules: Iterable[Rule], *, drill: str) -> list[dict[str, Any]]:
    """The details of all events of a drill, in their order."""
    return [{"drill": drill, "event": planted(plant)} for rule in rules for plant in rule.drill]


def report(
    drill: DrillRecord, *, alerts: Sequence[Alert], deliveries: dict[str, list[Delivered]], at: datetime
) -> DrillReport:
    """What fired, how long after the drill began, and which receiver had it when."""
    began = parse_time(drill.started)
    fired = {alert.rule: alert for alert in reversed(alerts) if alert.drill == drill.id}
    rows = []
    for name in drill.rules:
        alert = fired.get(name)
        sent = deliveries.get(alert.id, []) if alert else []
        rows.append(
            DrillRule(
                rule=name,
                fired=alert is not None,
                alert=alert.id if alert else "",
                after_s=_seconds(began, alert.opened) if alert else 0.0,
                channels=tuple(
                    DrillChannel(channel=one.channel, after_s=_seconds(began, one.at))
                    for one in sent
                    if one.change == "open"
                ),
            )
        )
    return DrillReport(
        id=drill.id,
        started=drill.started,
        by=drill.person,
        running_s=round((at - began).total_seconds(), 1),
        rules=tuple(rows),
        complete=all(row.fired for row in rows),
    )


def _seconds(began: datetime, at: str) -> float:
    return round((parse_time(at) - began).total_seconds(), 3)
