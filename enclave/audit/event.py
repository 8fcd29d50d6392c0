"""What an event is. Pure: the id and the time are given."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Literal, get_args

from enclave.core.errors import InvalidError
from enclave.wire.messages.schema import Json, from_json

Outcome = Literal["intent", "ok", "refused", "failed"]
_HEX = "0123456789abcdef"
_KIND = re.compile(r"[a-z]+(\.[a-z_]+)+")
_OUTCOMES = frozenset(get_args(Outcome))
_NEEDS_REASON = frozenset({"refused", "failed"})


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


_FIELDS = tuple(sorted(one.name for one in fields(Event)))  # as canonical JSON has them
_values = attrgetter(*_FIELDS)


def check_event(event: Event) -> Event:
    """Raises ``InvalidError`` when a field has not the form that the ledger keeps."""
    if len(event.id) != 32 or event.id.strip(_HEX):
        raise InvalidError("event id: wanted 32 hex digits, got another form")
    if not _KIND.fullmatch(event.kind):
        raise InvalidError("event kind: wanted dotted lower case words, got another form")
    if event.outcome not in _OUTCOMES:
        raise InvalidError("event outcome: wanted intent, ok, refused or failed, got another word")
    if event.outcome in _NEEDS_REASON and not event.reason:
        raise InvalidError(f"event {event.kind}: wanted a reason code for {event.outcome}, got none")
    return event


def event_to_json(event: Event) -> dict[str, Json]:
    """The event as a JSON object; absent fields are left out."""
    found = {name: value for name, value in zip(_FIELDS, _values(event), strict=True) if value is not None}
    if event.objects is not None:
        found["objects"] = list(event.objects)
    return found


def event_from_json(value: Json) -> Event:
    """The event in ``value``, every field checked."""
    return check_event(from_json(Event, value))
