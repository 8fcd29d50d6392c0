"""What `enclave-watchd` answers: alerts, drills, the review of weeks."""

from __future__ import annotations

from dataclasses import dataclass, field

from enclave.wire.messages.schema import Done, Text, request

# ── alerts (token = the acting person's Hub token) ──────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertInfo:
    """One alert: state is open | acknowledged | resolved; ``drill`` is '' for a real one.

    ``may`` holds what the asker may do with it now: acknowledge, resolve.
    """

    id: str
    rule: str
    title: str
    severity: str
    what: str
    remedy: str
    subject: str
    key: str
    value: float
    threshold: float
    first_seq: int
    last_seq: int
    events: int
    moment: str
    opened: str
    state: str
    drill: str = ""
    acknowledged_by: str = ""
    acknowledged: str = ""
    resolved_by: str = ""
    resolved: str = ""
    verdict: str = ""
    may: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertList:
    """The newest first."""

    alerts: tuple[AlertInfo, ...]


@request("alert.list", reply=AlertList)
@dataclass(frozen=True, slots=True, kw_only=True)
class ListAlerts:
    """By an auditor; '' is any state and any rule. ``drills`` shows those of drills as well."""

    token: str
    state: str = ""
    rule: str = ""
    drills: bool = True
    limit: int = 200


@request("alert.acknowledge", reply=AlertInfo)
@dataclass(frozen=True, slots=True, kw_only=True)
class AcknowledgeAlert:
    """By an auditor whom the alert is not about."""

    token: str
    id: str


@request("alert.resolve", reply=AlertInfo)
@dataclass(frozen=True, slots=True, kw_only=True)
class ResolveAlert:
    """By an auditor whom the alert is not about: a verdict and the reason in words."""

    token: str
    id: str
    verdict: str
    reason: Text


@request("canary.declare", reply=Done)
@dataclass(frozen=True, slots=True, kw_only=True)
class DeclareCanary:
    """By an auditor: nobody has a reason to touch this version, or these objects of it."""

    token: str
    dataset: str
    version: int
    objects: tuple[str, ...] = ()


# ── drills ──────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillChannel:
    """When a receiver had the alert, in seconds after the drill began."""

    channel: str
    after_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillRule:
    """Whether a rule fired, and when, in seconds after the drill began."""

    rule: str
    fired: bool
    alert: str = ""
    after_s: float = 0.0
    channels: tuple[DrillChannel, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillReport:
    """What came of a drill so far."""

    id: str
    started: str
    by: str
    running_s: float
    rules: tuple[DrillRule, ...]
    complete: bool


@request("drill.run", reply=DrillReport)
@dataclass(frozen=True, slots=True, kw_only=True)
class RunDrill:
    """By an auditor or operator: plays these rules' planted incidents; none named is all."""

    token: str
    rules: tuple[str, ...] = ()


@request("drill.show", reply=DrillReport)
@dataclass(frozen=True, slots=True, kw_only=True)
class ShowDrill:
    """By an auditor or operator: the newest one without an id."""

    token: str
    id: str = ""


# ── reviews ─────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewSignature:
    """One name under a week, over the ledger of that size and root."""

    person: str
    at: str
    size: int
    root: str
    acted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewWeek:
    """A week that is over."""

    period: str
    since: str
    until: str
    complete: bool
    signatures: tuple[ReviewSignature, ...] = ()
    open_alerts: int = 0
    may_sign: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewList:
    """The newest first; ``summary`` is of the week that was asked for."""

    weeks: tuple[ReviewWeek, ...]
    summary: dict[str, int] = field(default_factory=dict)


@request("review.list", reply=ReviewList)
@dataclass(frozen=True, slots=True, kw_only=True)
class ListReviews:
    """By an auditor; ``period`` asks for the summary of one week."""

    token: str
    period: str = ""


@request("review.sign", reply=ReviewWeek)
@dataclass(frozen=True, slots=True, kw_only=True)
class SignReview:
    """By an auditor, for a week that is over and has no alert that nobody took up."""

    token: str
    period: str
    note: Text


# ── from the operator's shell and the metrics (this enclave's own uids; counts only) ────────


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchState:
    """How the watch fares. ``looked_s`` is how long ago the last turn ended, -1 before the first."""

    open_alerts: dict[str, int]
    unsigned_weeks: int
    oldest_unsigned: str
    waiting: dict[str, int]
    failing: tuple[str, ...]
    failing_rules: tuple[str, ...]
    looked_s: float


@request("watch.state", reply=WatchState)
@dataclass(frozen=True, slots=True, kw_only=True)
class AskWatchState:
    """Counts, no names."""
