"""One append as it comes over the wire: read, checked and spelled once.

Nearly every request is spelled as our client spells it, so its event is found by its place in the frame, and the
pattern of its kind checks it as it stands; those bytes go into the record. Whatever looks otherwise is parsed and
encoded again, or goes the long way, which decides.
"""

from __future__ import annotations

import json
import re
from binascii import unhexlify
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, get_args

from enclave.audit.event import Outcome, event_from_json, event_to_json
from enclave.audit.spelling import spelled
from enclave.audit.vocabulary import check_kind, detail_fits, known_kinds
from enclave.core.canonical import canonical_bytes
from enclave.core.errors import EnclaveError, InvalidError
from enclave.wire.framing import VERSION, decode
from enclave.wire.messages.audit import Append
from enclave.wire.messages.schema import from_json, request_type

_NAME = request_type(Append).name.encode()
_HEAD = b'{"body":{"bodies":{},"event":'
_BEFORE_ID = b'},"id":"'
TAIL = b'","type":"%b","v":%d}' % (_NAME, VERSION)
_REQUEST_ID = re.compile(rb"[0-9a-f]{1,64}")
_EVENT_ID = re.compile(r"[0-9a-f]{32}")
_OUTCOMES = frozenset(get_args(Outcome))
_NEEDS_REASON = frozenset({"refused", "failed"})
_REASONED = frozenset(outcome.encode() for outcome in _NEEDS_REASON)
_NONE: Mapping[str, str] = MappingProxyType({})
_NEEDED = {"id", "time", "kind", "actor", "outcome", "detail"}
_TYPES: Mapping[str, type] = {
    **dict.fromkeys(("id", "time", "kind", "actor", "outcome", "role", "reason", "project", "dataset"), str),
    **dict.fromkeys(("session", "kernel", "cell", "source", "ticket", "trace"), str),
    "version": int,
    "objects": list,
    "detail": dict,
}


class Arrival(NamedTuple):
    """A checked event: what decides about it, the canonical bytes that the record holds, the texts beside it.

    A tuple, for one is made per event and takes a third of the time of a frozen dataclass.
    """

    id: bytes
    actor: str
    kind: str
    outcome: str
    data: bytes
    bodies: Mapping[str, str]


def append_id(frame: bytes) -> bytes | None:
    """The id to answer under when a frame asks to append, spelled as our client does; another may ask so, too."""
    if not frame.endswith(TAIL):
        return None
    request_id = frame[frame.rfind(_BEFORE_ID) + len(_BEFORE_ID) : -len(TAIL)]
    return request_id if _REQUEST_ID.fullmatch(request_id) else None


def read_append(frame: bytes) -> Arrival:
    """The event in a frame; raises ``WireError`` for what is no frame of ours, ``InvalidError`` for a wrong event."""
    if frame.startswith(_HEAD):
        text = frame[len(_HEAD) : frame.rfind(_BEFORE_ID)]
        quick = _matched(text)
        if quick is not None:
            return quick
        event = _loaded(text)
        if event is not None:
            return _checked(event, {}, data=text)
    value = decode(frame)
    if set(value) != {"v", "id", "type", "body"}:
        raise InvalidError("wire: wanted v, id, type and body of this version, got another envelope")
    return arrival_of(from_json(Append, value["body"]))


def arrival_of(message: Append) -> Arrival:
    """The event of a request that was read already; raises ``InvalidError``."""
    return _checked(message.event, message.bodies)


def _matched(text: bytes) -> Arrival | None:
    """The event that ``text`` spells, when it fits the pattern of its kind."""
    found = spelled(text)
    if found is None:
        return None
    actor, event_id, kind, outcome, reason = found.group("actor", "id", "kind", "outcome", "reason")
    if not reason and outcome in _REASONED:
        return None
    told = actor.decode("ascii"), kind.decode("ascii"), outcome.decode("ascii")
    return Arrival(unhexlify(event_id), *told, text, _NONE)


def _loaded(text: bytes) -> dict[str, Any] | None:
    """The object that ``text`` is the canonical spelling of."""
    try:
        event = json.loads(text)
        return event if type(event) is dict and canonical_bytes(event) == text else None
    except (ValueError, RecursionError, EnclaveError):
        return None


def _checked(value: Any, bodies: Mapping[str, str], *, data: bytes | None = None) -> Arrival:
    """``data`` is the canonical spelling of ``value`` when it is known."""
    if type(value) is not dict or not event_fits(value):
        value, data = event_to_json(check_kind(event_from_json(value))), None
    event_id = bytes.fromhex(value["id"])
    return Arrival(event_id, value["actor"], value["kind"], value["outcome"], data or canonical_bytes(value), bodies)


def event_fits(event: Mapping[str, Any]) -> bool:
    """Whether an object is an event of a declared kind, nothing absent spelled out; False leaves it open why."""
    for key, value in event.items():
        if type(value) is not _TYPES.get(key):
            return False
    if not event.keys() >= _NEEDED or not _EVENT_ID.fullmatch(event["id"]):
        return False
    outcome = event["outcome"]
    if outcome not in _OUTCOMES or (outcome in _NEEDS_REASON and not event.get("reason")):
        return False
    if not all(type(name) is str for name in event.get("objects", ())):
        return False
    kind = known_kinds().get(event["kind"])
    return kind is not None and detail_fits(kind, event["detail"])
