"""Alert rules as data: ``rules/*.toml``, one file per rule, read once.

A rule is one SELECT over ``watched`` (see ``questions``) that gives a row per subject and key with a ``value``; it
fires where the value reaches the threshold. Thresholds are part of the release: nobody can turn a rule off.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

from enclave.audit.vocabulary import known_kinds
from enclave.core.canonical import canonical_bytes
from enclave.core.errors import InvalidError

Severity = Literal["low", "medium", "high", "critical"]
SEVERITIES: Final[tuple[str, ...]] = get_args(Severity)
COLUMNS: Final = ("subject", "key", "value", "first_seq", "last_seq", "events", "moment", "drill")
_REFUSALS: Final = "*refused"  # any refused event; ``*`` alone is any event
_REQUIRED: Final[Mapping[str, type | tuple[type, ...]]] = {
    "title": str,
    "severity": str,
    "what": str,
    "remedy": str,
    "measure": str,
    "threshold": (int, float),
    "on": list,
    "every_s": int,
    "history_days": int,
    "window_hours": int,
    "sql": str,
    "drill": list,
}
_PLANT_KEYS: Final = frozenset(
    {"kind", "outcome", "reason", "dataset", "version", "source", "cell", "detail"}
    | {"times", "every_day_for", "days_ago", "hours_ago", "ahead_s"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """One planted event of a drill: what it plays, how often, how long ago it claims to have happened."""

    kind: str
    outcome: str = "ok"
    reason: str | None = None
    dataset: str | None = None
    version: int | None = None
    source: str | None = None
    cell: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    times: int = 1
    every_day_for: int = 0
    days_ago: float = 0.0
    hours_ago: float = 0.0
    ahead_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. ``history_days`` is how far its SELECT looks back, ``window_hours`` how old a new hit may be."""

    id: str
    title: str
    severity: Severity
    what: str
    remedy: str
    measure: str
    threshold: float
    on: tuple[str, ...]
    every_s: int
    history_days: int
    window_hours: int
    sql: str
    drill: tuple[Plant, ...]

    def is_about(self, kind: str, *, refused: bool) -> bool:
        """Whether the arrival of an event of this kind is a reason to look again."""
        return kind in self.on or "*" in self.on or (refused and _REFUSALS in self.on)


@functools.cache
def known_rules() -> Mapping[str, Rule]:
    """Every rule of this release by id; raises ``InvalidError`` when a file is malformed."""
    folder = importlib.resources.files("enclave.audit.alerts") / "rules"
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".toml")), key=lambda entry: entry.name)
    rules = [parse_rule(file.read_text("utf-8"), name=file.name.removesuffix(".toml")) for file in files]
    return MappingProxyType({rule.id: rule for rule in rules})


def rules_digest() -> str:
    """SHA-256 over all rules in hex: which rules watched stands in the ledger."""
    told = [[rule.id, rule.sql, rule.threshold, rule.severity, rule.window_hours] for rule in known_rules().values()]
    return hashlib.sha256(canonical_bytes(told)).hexdigest()


def parse_rule(text: str, *, name: str) -> Rule:
    """The rule in one file; raises ``InvalidError`` naming file and key."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidError(f"alert rule {name}: wanted TOML, got a syntax error: {error}") from None
    if set(table) != set(_REQUIRED):
        odd = ", ".join(sorted(set(table) ^ set(_REQUIRED)))
        raise InvalidError(f"alert rule {name}: wanted exactly the keys of a rule, got a difference in {odd}")
    for key, wanted in _REQUIRED.items():
        if not isinstance(table[key], wanted) or isinstance(table[key], bool):
            raise InvalidError(f"alert rule {name}: wanted another type for {key}, got {type(table[key]).__name__}")
    if table["severity"] not in SEVERITIES or table["threshold"] <= 0 or not table["drill"]:
        raise InvalidError(f"alert rule {name}: wanted a known severity, a threshold above 0 and a drill, got others")
    _check_kinds(name, table["on"])
    plants = tuple(_plant(name, plant) for plant in table.pop("drill"))
    return Rule(id=name, on=tuple(table.pop("on")), threshold=float(table.pop("threshold")), drill=plants, **table)


def _check_kinds(name: str, kinds: list[Any]) -> None:
    strange = [kind for kind in kinds if kind not in (_REFUSALS, "*") and kind not in known_kinds()]
    if strange:
        raise InvalidError(f"alert rule {name}: wanted declared event kinds, got {len(strange)} that are not")


def _plant(name: str, table: Any) -> Plant:
    if not isinstance(table, dict) or not set(table) <= _PLANT_KEYS or table.get("kind") not in known_kinds():
        raise InvalidError(f"alert rule {name}: wanted a drill of declared events, got something else")
    return Plant(**table)
