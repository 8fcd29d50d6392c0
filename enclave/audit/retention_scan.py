"""From the records to what retention decides on: who and what a body is about, and which legal holds stand.

Holds are read from the ledger itself, so that nobody lifts one by editing a file. A record is about whatever its own
event names and whatever any event of the same kernel or cell names: code says nothing of the data that it read later.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from enclave.audit.retention import Hold, Notice, Subject
from enclave.audit.segments import Record, read_segment, segment_files
from enclave.core.canonical import parse_json
from enclave.core.clock import parse_time
from enclave.core.errors import EnclaveError

PLACED, LIFTED = "audit.hold_placed", "audit.hold_lifted"
DUE = "audit.retention_due"
_SIDES = ("projects", "datasets", "people")
_NEEDED = (b'{"bodies":', b'"kernel":', b'"cell":', b'"kind":"audit.hold_', b'"kind":"audit.retention_due"')


@dataclass(slots=True)
class _About:
    projects: set[str] = field(default_factory=set)
    datasets: set[str] = field(default_factory=set)
    people: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Scanned:
    """The bodies there are, by their records, the holds that stand, and the notices that the ledger gave."""

    subjects: tuple[Subject, ...]
    holds: tuple[Hold, ...]
    notices: tuple[Notice, ...] = ()


def scan(folder: Path, *, with_body: set[int], own_uid: int) -> Scanned:
    """One pass over all segments; ``with_body`` are the records whose bodies are still there.

    A hold is lifted or made another, and notice is given, only by what the ledger's own process (``own_uid``) wrote.
    """
    notices: list[Notice] = []
    about: dict[str, _About] = defaultdict(_About)
    found: list[tuple[int, str, datetime, _About, tuple[str, ...]]] = []
    holds: dict[str, Hold] = {}
    for path in segment_files(folder / "segments"):
        for item in read_segment(path):
            if isinstance(item, Record) and (item.seq in with_body or any(mark in item.payload for mark in _NEEDED)):
                with contextlib.suppress(EnclaveError, KeyError, TypeError, ValueError):  # not of our writing
                    record = parse_json(item.payload)
                    event = record["event"]
                    own, groups = _about(event), _groups(event)
                    for group in groups:
                        _merge(about[group], own)
                    ours = record["writer"]["uid"] == own_uid
                    _follow(holds, event, ours=ours)
                    if ours and event["kind"] == DUE:
                        notices.append(Notice(parse_time(record["received"]), str(event["detail"]["digest"])))
                    if item.seq in with_body:
                        found.append((item.seq, event["kind"], parse_time(record["received"]), own, groups))
    return Scanned(tuple(_subject(*one, about) for one in found), tuple(holds.values()), tuple(notices))


def bodies_in(folder: Path, *, max_record: int) -> set[int]:
    """The records whose bodies are still there."""
    return {
        item.seq
        for path in segment_files(folder / "bodies")
        for item in read_segment(path, max_record=max_record)
        if isinstance(item, Record)
    }


def _about(event: dict[str, Any]) -> _About:
    detail = event.get("detail") or {}
    named = [event.get("dataset"), *(detail.get("datasets") or ())]
    return _About(
        projects={event["project"]} if event.get("project") else set(),
        datasets={str(name).partition("@")[0] for name in named if name},
        people={str(name) for name in (event.get("actor"), detail.get("person")) if name},
    )


def _groups(event: dict[str, Any]) -> tuple[str, ...]:
    return tuple(f"{key}:{event[key]}" for key in ("kernel", "cell") if event.get(key))


def _merge(target: _About, source: _About) -> None:
    for side in _SIDES:
        getattr(target, side).update(getattr(source, side))


def _follow(holds: dict[str, Hold], event: dict[str, Any], *, ours: bool) -> None:
    detail = event.get("detail") or {}
    if event["outcome"] != "ok":
        return
    if event["kind"] == PLACED and (ours or detail["hold"] not in holds):
        holds[detail["hold"]] = hold_of(event)
    elif event["kind"] == LIFTED and ours:
        holds.pop(detail["hold"], None)


def hold_of(event: dict[str, Any]) -> Hold:
    """The hold that an event placed."""
    detail = event["detail"]
    return Hold(
        id=detail["hold"],
        project=event.get("project") or "",
        dataset=event.get("dataset") or "",
        person=detail.get("person") or "",
        since=parse_time(detail["since"]) if detail.get("since") else None,
        until=parse_time(detail["until"]) if detail.get("until") else None,
    )


def _subject(
    seq: int, kind: str, received: datetime, own: _About, groups: tuple[str, ...], about: dict[str, _About]
) -> Subject:
    whole = _About()
    for one in (own, *(about[group] for group in groups)):
        _merge(whole, one)
    return Subject(seq, kind, received, frozenset(whole.projects), frozenset(whole.datasets), frozenset(whole.people))
