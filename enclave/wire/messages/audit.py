"""What `enclave-auditd` answers."""

from __future__ import annotations

from dataclasses import dataclass, field

from enclave.wire.messages.schema import Done, Json, Text, Verbatim, request


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Proof that an event is durable: its place in the log and its RFC 6962 leaf hash in hex.

    ``time`` is the ledger's own when it answered: never earlier than that of any record before.
    """

    seq: int
    leaf_hash: str
    time: str = ""


@request("audit.append", reply=Receipt)
@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """One event (see ``audit.event``); ``bodies`` are texts stored encrypted beside the record."""

    event: Json
    bodies: dict[str, Verbatim] = field(default_factory=dict)


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
    sql: Verbatim
    limit: int = 10_000


@request("audit.watched", reply=Rows)
@dataclass(frozen=True, slots=True, kw_only=True)
class AskWatched:
    """From watchd: a rule or question of the release by its id, for the time from ``since`` to ``at`` (RFC 3339).

    ``after`` is a sequence number, for the question which kinds of events arrived since.
    """

    question: str
    since: str
    at: str
    after: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class LogState:
    """Where the log stands. ``time`` is the ledger's last; ``behind_s`` how far the machine's clock is behind it.

    ``size``, ``root`` and ``checkpoint`` are the last that was signed; ``unsigned`` is how many newer events there are
    that it leaves out as no new one can be signed, 0 when the checkpoint is fresh.
    """

    size: int
    root: str
    checkpoint: str
    queryable: int
    time: str = ""
    behind_s: float = 0.0
    unsigned: int = 0


@request("audit.state", reply=LogState)
@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Asks where the log stands, after a fresh checkpoint was signed if that can be done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """How many records the new query store holds."""

    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerTime:
    """The ledger's last time, RFC 3339; it never goes back."""

    time: str


@request("audit.time", reply=LedgerTime)
@dataclass(frozen=True, slots=True, kw_only=True)
class AskTime:
    """Asks for the ledger's time, for a process that has no receipt yet."""


@request("audit.rebuild", reply=Rebuilt)
@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuild:
    """From the operator's shell (the daemon's own uid): throw the query store away and build it again."""

    ticket: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """How one place stands that checkpoints are copied to.

    ``state`` is waiting | ok | failing | conflict; ``checkpoint`` the newest one that a witness cosigned, with the
    cosignature, so that who asks can check it.
    """

    name: str
    kind: str
    state: str
    off_host: bool = False
    size: int = 0
    time: str = ""
    reason: str = ""
    checkpoint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """All places, in the order of the settings."""

    copies: tuple[Copy, ...]


@request("audit.copies", reply=Copies)
@dataclass(frozen=True, slots=True, kw_only=True)
class ShowCopies:
    """Asks how the copies of checkpoints elsewhere stand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldPlaced:
    """The new hold's id."""

    id: str


@request("audit.hold_place", reply=HoldPlaced)
@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceHold:
    """A legal hold on bodies; empty sides fit everything. Times as RFC 3339."""

    token: str
    reason: Text
    project: str = ""
    dataset: str = ""
    person: str = ""
    since: str = ""
    until: str = ""
    ticket: str = ""


@request("audit.hold_lift", reply=Done)
@dataclass(frozen=True, slots=True, kw_only=True)
class LiftHold:
    """Ends a legal hold."""

    token: str
    id: str
    reason: Text
    ticket: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldRow:
    """One hold that stands."""

    id: str
    project: str
    dataset: str
    person: str
    since: str
    until: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Holds:
    """The holds that stand, oldest first."""

    holds: tuple[HoldRow, ...]


@request("audit.hold_list", reply=Holds)
@dataclass(frozen=True, slots=True, kw_only=True)
class ListHolds:
    """Asks which holds stand."""

    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPlan:
    """What the policy would destroy at ``time``: counts, the ends of their range (-1 = none), and the plan's name."""

    digest: str
    due: int
    held: int
    kept: int
    oldest: int
    newest: int
    time: str
    holds: tuple[HoldRow, ...]


@request("audit.retention_plan", reply=RetentionPlan)
@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRetention:
    """Asks what the policy would destroy now."""

    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shredded:
    """How many bodies are gone, and the months whose keys went with their last one."""

    bodies: int
    months: tuple[str, ...]


@request("audit.retention_apply", reply=Shredded)
@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyRetention:
    """Destroys the bodies of the plan with this name."""

    token: str
    digest: str
    reason: Text
    ticket: str = ""
