"""What an event is. Pure: the id and the time are given."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, get_args

from enclave.core.errors import InvalidError
from enclave.wire.messages.schema import Json, from_json, to_json

Outcome = Literal["intent", "ok", "refused", "failed"]
_KIND = re.compile(r"[a-z]+(\.[a-z_]+)+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened or was refused: pseudonymous ids, counts and codes, never a value from the data.

    ``id`` is made by the client (32 hex digits) and makes writing twice harmless. ``time`` is RFC 3339 UTC.
    ``detail`` holds what the kind's schema in ``audit/kinds/`` names, nothing else.
    """

    id: str
    time: str
    kind: str
    actor: str
    outcome: str
    role: str | None = None
    reason: str | None = None
    project: str | None = None
    dataset: str | None = None
    version: int | None = None
    objects: tuple[str, ...] | None = None
    session: str | None = None
    kernel: str | None = None
    cell: str | None = None
    source: str | None = None
    ticket: str | None = None
    trace: str | None = None
    detail: dict[str, Json] = field(default_factory=dict)


def check_event(event: Event) -> Event:
    """Raises ``InvalidError`` when a field has not the form that the ledger keeps."""
    if not re.fullmatch(r"[0-9a-f]{32}", event.id):
        raise InvalidError("event id: wanted 32 hex digits, got another form")
    if not _KIND.fullmatch(event.kind):
        raise InvalidError("event kind: wanted dotted lower case words, got another form")
    if event.outcome not in get_args(Outcome):
        raise InvalidError("event outcome: wanted intent, ok, refused or failed, got another word")
    if event.outcome in ("refused", "failed") and not event.reason:
        raise InvalidError(f"event {event.kind}: wanted a reason code for {event.outcome}, got none")
    return event


def event_to_json(event: Event) -> dict[str, Json]:
    """The event as a JSON object; absent fields are left out."""
    return to_json(event)


def event_from_json(value: Json) -> Event:
    """The event in ``value``, every field checked."""
    return check_event(from_json(Event, value))
