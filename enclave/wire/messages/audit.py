"""What `enclave-auditd` answers."""

from __future__ import annotations

from dataclasses import dataclass, field

from enclave.wire.messages.schema import Json, request


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Proof that an event is durable: its place in the log and its RFC 6962 leaf hash in hex."""

    seq: int
    leaf_hash: str


@request("audit.append", reply=Receipt)
@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """One event (see ``audit.event``); ``bodies`` are texts stored encrypted beside the record."""

    event: Json
    bodies: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """A query's result; times as RFC 3339 text."""

    columns: tuple[str, ...]
    rows: tuple[Json, ...]
    truncated: bool = False


@request("audit.query", reply=Rows)
@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One SELECT by a person with the role auditor."""

    token: str
    sql: str
    limit: int = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LogState:
    """Where the log stands."""

    size: int
    root: str
    checkpoint: str
    queryable: int


@request("audit.state", reply=LogState)
@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Asks where the log stands, after a fresh checkpoint was signed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """How many records the new query store holds."""

    rows: int


@request("audit.rebuild", reply=Rebuilt)
@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuild:
    """From the operator's shell (the daemon's own uid): throw the query store away and build it again."""
