"""What the kernel is asked and what it may say to it, both written anew. Pure but for ids and the date.

A kernel knows a request by an id of ours and sees of it what the protocol names and the record holds: whatever else a
client may put into header, metadata, routing or content could be run by a kernel that was told to, and stands in no
record. What a kernel says belongs to a request that it got, carries a header of ours, and answers once: whatever else
it may put there would reach a browser past the display budgets. Source: "Messaging in Jupyter", wire protocol 5.3.
"""

from __future__ import annotations

import itertools
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from enclave.sandbox.tap.fields import COMMS, known_fields, text
from enclave.sandbox.tap.message import Message
from enclave.sandbox.tap.rules import CLIENT_CELL, Channel

REMEMBERED: Final = 8192  # requests; what belongs to an older one is shown without saying to which
_HEADER: Final = ("msg_id", "msg_type", "username", "session", "date", "version")


@dataclass(slots=True)
class Request:
    """One request as its client knows it. ``said`` holds what the kernel said of it that is said once."""

    kind: str
    channel: Channel
    header: dict[str, Any]
    identities: tuple[bytes, ...]
    said: set[str] = field(default_factory=set)

    def once(self, word: str) -> bool:
        """Whether ``word`` was not said before."""
        new = word not in self.said
        self.said.add(word)
        return new


class Asked:
    """What one kernel was asked lately."""

    def __init__(self) -> None:
        self._session = secrets.token_hex(16)
        self._numbers = itertools.count(1)
        self._by_id: OrderedDict[str, Request] = OrderedDict()

    def to_kernel(self, channel: Channel, message: Message) -> Message:
        """``message`` as the kernel gets it, with an id by which its answers are known."""
        header = self._header(message.kind)
        client = {name: text(message.header.get(name))[:256] for name in _HEADER}
        self._by_id[header["msg_id"]] = Request(message.kind, channel, client, message.identities)
        if len(self._by_id) > REMEMBERED:
            self._by_id.popitem(last=False)
        routing = (header["msg_id"].encode(),)
        if message.kind in COMMS:  # recorded as a whole
            return Message(routing, header, {}, message.metadata, message.content, message.buffers)
        return Message(routing, header, {}, _metadata(message), known_fields(message.kind, message.content))

    def output(self, message: Message) -> Message:
        """One message of the kernel's iopub as its clients may get it; ``needed`` when one of them waits for it."""
        request = self._by_id.get(message.parent_id)
        needed = False
        if request is not None:
            needed = _needed(message, request)
        return replace(
            message,
            identities=(b"kernel",),
            header=self._header(message.kind),
            parent=request.header if request is not None else {},
            needed=needed,
        )

    def answer(self, channel: Channel, message: Message) -> Message | None:
        """What the kernel said on another channel, for who asked; None when nobody asked for it."""
        request = self._by_id.get(message.parent_id)
        if request is None or not _answers(channel, message.kind, request):
            return None
        return replace(message, identities=request.identities, header=self._header(message.kind), parent=request.header)

    def _header(self, kind: str) -> dict[str, Any]:
        return {
            "msg_id": f"{self._session}_{next(self._numbers)}",
            "msg_type": kind,
            "username": "enclave",
            "session": self._session,
            "date": datetime.now(UTC).isoformat(),
            "version": "5.3",
        }


def _needed(message: Message, request: Request) -> bool:
    if message.kind == "execute_input":
        return request.once("input")
    state = message.content.get("execution_state")
    return message.kind == "status" and state in ("busy", "idle") and request.once(str(state))


def _answers(channel: Channel, kind: str, request: Request) -> bool:
    if channel == "stdin":
        return kind == "input_request" and request.kind == "execute_request"
    return (
        channel == request.channel and kind == f"{request.kind.removesuffix('_request')}_reply" and request.once(kind)
    )


def _metadata(message: Message) -> dict[str, Any]:
    cell = message.metadata.get("cellId")
    named = message.kind == "execute_request" and isinstance(cell, str) and CLIENT_CELL.fullmatch(cell)
    return {"cellId": cell} if named else {}
