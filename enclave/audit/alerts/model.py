"""What an alert is, its states, and what a look at the rules finds. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from enclave.audit.alerts.rules import COLUMNS, Severity
from enclave.core.errors import ConflictError
from enclave.wire.messages.audit import Rows

State = Literal["open", "acknowledged", "resolved"]
STATES: Final = ("open", "acknowledged", "resolved")
Change = Literal["open", "acknowledge", "resolve"]
TRANSITIONS: Final[Mapping[tuple[str, str], State]] = MappingProxyType(
    {
        ("open", "acknowledge"): "acknowledged",
        ("open", "resolve"): "resolved",
        ("acknowledged", "resolve"): "resolved",
    }
)
VERDICTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "incident": "It was an incident and is dealt with.",
        "expected": "It was announced or allowed work.",
        "false_alert": "The rule was wrong about it.",
        "drill": "It was a drill.",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One row of a rule: who, what for, how far over the threshold, from which event to which."""

    subject: str
    key: str
    value: float
    first_seq: int
    last_seq: int
    events: int
    moment: str
    drill: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A hit that was told. Times are RFC 3339; ``drill`` is '' or the id of the drill that planted it."""

    id: str
    rule: str
    severity: Severity
    hit: Hit
    opened: str
    state: State = "open"
    acknowledged_by: str = ""
    acknowledged: str = ""
    resolved_by: str = ""
    resolved: str = ""
    verdict: str = ""

    @property
    def drill(self) -> str:
        """The drill it belongs to, or ''."""
        return self.hit.drill


@dataclass(frozen=True, slots=True)
class Waiting:
    """One line for one receiver, not sent yet."""

    number: int
    channel: str
    alert: str
    change: str
    line: str


@dataclass(frozen=True, slots=True)
class Delivered:
    """When a receiver had got a change of an alert."""

    alert: str
    change: str
    channel: str
    at: str


@dataclass(frozen=True, slots=True)
class DrillRecord:
    """A drill that was played."""

    id: str
    started: str
    person: str
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Signature:
    """An auditor's name under a week; ``acted`` is whether the ledger holds acts of theirs in it."""

    period: str
    person: str
    at: str
    size: int
    root: str
    acted: bool


def hits_in(rows: Rows) -> Iterator[Hit]:
    """The hits of a rule's answer; a row without subject is nobody's and is named so."""
    places = {name: rows.columns.index(name) for name in COLUMNS}
    for row in rows.rows:
        cell = {name: row[place] for name, place in places.items()}
        yield Hit(
            subject=str(cell["subject"] or "unknown"),
            key=str(cell["key"] or ""),
            value=float(cell["value"]),
            first_seq=int(cell["first_seq"]),
            last_seq=int(cell["last_seq"]),
            events=int(cell["events"]),
            moment=str(cell["moment"]),
            drill=str(cell["drill"] or ""),
        )


def next_state(state: str, change: str) -> State:
    """Where an alert goes; raises ``ConflictError`` when it cannot go there."""
    after = TRANSITIONS.get((state, change))
    if after is None:
        raise ConflictError(f"alert: wanted one that can be {change}d, got one that is {state}", code="alert_state")
    return after
