"""What `enclave-vaultd` answers: the key back to patients goes in; it comes out only by break-glass."""

from __future__ import annotations

from dataclasses import dataclass

from enclave.wire.messages.schema import Done, Json, Text, request


@request("vault.store", reply=Done)
@dataclass(frozen=True, slots=True, kw_only=True)
class StoreMap:
    """From intaked: rows of {pseudonym, original ids, offset_days} of one dataset; merged, never overwritten.

    ``project``: whose pseudonyms they are, when they are not the dataset's own.
    """

    dataset: str
    batch: str
    rows: tuple[Json, ...]
    project: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultState:
    """Counts only."""

    datasets: dict[str, int]


@request("vault.state", reply=VaultState)
@dataclass(frozen=True, slots=True, kw_only=True)
class AskState:
    """How many subjects per dataset are held."""


# ── break-glass (token = the acting person's Hub token) ─────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakGlass:
    """A request to learn who is behind pseudonyms: requested | refused | lapsed | open | spent | over | reviewed.

    ``waits_until`` ends the wait for approvals; ``until`` (both RFC 3339) and ``shows_left`` count from the second
    approval. Pseudonyms only.
    """

    id: str
    dataset: str
    state: str
    subjects: tuple[str, ...]
    reason: str
    ticket: str
    requested_by: str
    requested: str
    waits_until: str = ""
    approvers: tuple[str, ...] = ()
    refused_by: str = ""
    refusal: str = ""
    until: str = ""
    shows_left: int = 0
    shown: int = 0
    reviewed_by: str = ""
    finding: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakGlassList:
    """Several requests, newest first."""

    requests: tuple[BreakGlass, ...]


@request("reidentify.request", reply=BreakGlass)
@dataclass(frozen=True, slots=True, kw_only=True)
class RequestBreakGlass:
    """By a data steward or honest broker who is on no project of the dataset: 1 to 50 pseudonyms."""

    token: str
    dataset: str
    subjects: tuple[str, ...]
    reason: Text
    ticket: str


@request("reidentify.approve", reply=BreakGlass)
@dataclass(frozen=True, slots=True, kw_only=True)
class ApproveBreakGlass:
    """By an honest broker, data steward or operator: not the requester, not on a project of it, each once."""

    token: str
    id: str


@request("reidentify.refuse", reply=BreakGlass)
@dataclass(frozen=True, slots=True, kw_only=True)
class RefuseBreakGlass:
    """By whoever might approve it; one refusal ends the request."""

    token: str
    id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """Who is behind one pseudonym. ``offset_days``: by how many days the dates were moved."""

    pseudonym: str
    original_ids: tuple[str, ...]
    offset_days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Revealed:
    """The originals: leave the vault in this reply and nowhere else."""

    id: str
    until: str
    shows_left: int
    subjects: tuple[Original, ...]


@request("reidentify.show", reply=Revealed)
@dataclass(frozen=True, slots=True, kw_only=True)
class ShowBreakGlass:
    """By the requester alone, while it is open, a bounded number of times."""

    token: str
    id: str


@request("reidentify.review", reply=BreakGlass)
@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewBreakGlass:
    """By an auditor who had no part in it, once it is spent or over; until then its requester gets no other one."""

    token: str
    id: str
    finding: Text


@request("reidentify.list", reply=BreakGlassList)
@dataclass(frozen=True, slots=True, kw_only=True)
class ListBreakGlass:
    """By a data steward, honest broker, operator or auditor."""

    token: str


# ── alarms ──────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Break-glass was requested, opened, shown or tried without a right (``stage``); ``times`` the same was tried.

    Ids and codes only. Each auditor and each data steward sees it until they have acknowledged it themselves.
    """

    id: str
    at: str
    stage: str
    act: str
    actor: str
    reason: str
    dataset: str = ""
    ticket: str = ""
    request: str = ""
    subjects: int = 0
    times: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmList:
    """Several alarms, newest first."""

    alarms: tuple[Alarm, ...]


@request("reidentify.alarms", reply=AlarmList)
@dataclass(frozen=True, slots=True, kw_only=True)
class ListAlarms:
    """By an auditor or data steward: those that this person has not acknowledged."""

    token: str


@request("reidentify.acknowledge", reply=Alarm)
@dataclass(frozen=True, slots=True, kw_only=True)
class AcknowledgeAlarm:
    """By an auditor or data steward, for themselves."""

    token: str
    id: str
