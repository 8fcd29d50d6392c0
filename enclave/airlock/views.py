"""What each viewer may know of a request: its author, an output checker before and after voting, an auditor. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from enclave.airlock.states import OWNERS, State, visible_votes
from enclave.airlock.store import Record, VoteRecord
from enclave.wire.messages.airlock import EgressFile, EgressRequest, EgressStatus

WORDS: Final[Mapping[State, str]] = MappingProxyType(
    {
        "submitted": "Frozen; the machine check is about to begin.",
        "checking": "The machine check is running.",
        "awaiting_review": "Waiting for two output checkers.",
        "blocked": "The machine check found something that cannot leave. Change it and hand it in again.",
        "returned": "The checkers want something changed. Change it and hand it in again.",
        "rejected": "The checkers rejected it.",
        "approved": "Approved; it is being packed.",
        "released": "Released. Its author can download it once, in the console.",
        "delivered": "Delivered.",
        "withdrawn": "Withdrawn by its author.",
    }
)


def status_view(record: Record) -> EgressStatus:
    """For the author, in the kernel."""
    findings = tuple({**finding, "file": file.name} for file in record.text.files for finding in file.findings)
    return EgressStatus(
        id=record.id,
        title=record.text.title,
        state=record.state,
        verdict=record.verdict,
        files=tuple(file.name for file in record.text.files),
        findings=findings,
        message=WORDS[record.state],
    )


def request_view(
    record: Record,
    votes: Sequence[VoteRecord],
    steps: Sequence[dict[str, Any]],
    *,
    viewer: str,
    may: tuple[str, ...],
    held: str,
    until: str,
) -> EgressRequest:
    """For a person: the author reads reasons without names, a checker nothing of others before having voted."""
    files = tuple(
        EgressFile(
            name=file.name,
            sha256=file.sha256,
            size_bytes=file.size_bytes,
            type=file.type,
            verdict=file.verdict,
            findings=file.findings,
        )
        for file in record.text.files
    )
    return EgressRequest(
        id=record.id,
        project=record.project,
        author=record.author,
        title=record.text.title,
        purpose=record.text.purpose,
        description=record.text.description,
        state=record.state,
        verdict=record.verdict,
        submitted=record.submitted,
        files=files,
        votes=_votes(record, votes, viewer=viewer),
        history=tuple({**step, "words": WORDS[step["state"]], "owner": OWNERS[step["state"]]} for step in steps),
        cell=record.text.cell,
        may=may,
        held=held,
        until=until,
    )


def _votes(record: Record, votes: Sequence[VoteRecord], *, viewer: str) -> tuple[dict[str, Any], ...]:
    if viewer == record.author and record.state == "awaiting_review":
        known = [vote for vote in votes if vote.cast.round != record.round]
    else:
        seen = visible_votes(
            (vote.cast for vote in votes), viewer=viewer, state=record.state, round_number=record.round
        )
        known = [vote for vote in votes if vote.cast in seen]
    return tuple(
        {
            "checker": "" if viewer == record.author else vote.cast.checker,
            "vote": vote.cast.choice,
            "reason": vote.reason,
            "at": vote.at,
            "round": vote.cast.round,
        }
        for vote in known
    )
