"""What `enclave-reportd` answers."""

from __future__ import annotations

from dataclasses import dataclass

from enclave.wire.messages.schema import request


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRun:
    """One run of a scheduled report: queued | running | done | failed."""

    id: str
    report: str
    project: str
    dataset: str
    state: str
    queued: str
    finished: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRunList:
    """Several runs, newest first; ``entries`` are the schedule's entries that may be run now, by name."""

    runs: tuple[ReportRun, ...]
    entries: tuple[str, ...] = ()


@request("report.list", reply=ReportRunList)
@dataclass(frozen=True, slots=True, kw_only=True)
class ListRuns:
    """By any signed-in person: runs of projects they belong to; stewards, brokers, experts and auditors see all."""

    token: str


@request("report.run", reply=ReportRun)
@dataclass(frozen=True, slots=True, kw_only=True)
class RunNow:
    """By a data steward or honest broker: run a schedule entry now."""

    token: str
    entry: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportPage:
    """The finished HTML as one sealed memory descriptor beside the frame."""

    name: str
    size_bytes: int
    sha256: str


@request("report.page", reply=ReportPage)
@dataclass(frozen=True, slots=True, kw_only=True)
class ShowPage:
    """The HTML of one finished run."""

    token: str
    id: str
