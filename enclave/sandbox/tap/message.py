"""Jupyter messages on one leg of the tap: verified and parsed on the way in, written anew and signed on the way out.

What leaves the tap is its own spelling of what it understood, so a message that two parsers read differently does
not pass. Source: "Messaging in Jupyter", wire protocol 5.3. Pure.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from enclave.core.errors import InvalidError

DELIMITER = b"<IDS|MSG>"
MAX_IDENTITIES = 4
MAX_BUFFERS = 1024


@dataclass(frozen=True, slots=True)
class Message:
    """One message. ``identities`` are the routing frames (a topic on iopub); ``size_bytes`` is that of the body."""

    identities: tuple[bytes, ...]
    header: dict[str, Any]
    parent: dict[str, Any]
    metadata: dict[str, Any]
    content: dict[str, Any]
    buffers: tuple[bytes, ...] = ()
    signature: bytes = field(default=b"", compare=False)
    size_bytes: int = field(default=0, compare=False)

    @property
    def kind(self) -> str:
        """``msg_type``."""
        return str(self.header["msg_type"])

    @property
    def id(self) -> str:
        """``msg_id``."""
        return str(self.header["msg_id"])

    @property
    def parent_id(self) -> str:
        """The ``msg_id`` of the request that this belongs to; empty when there is none."""
        return str(self.parent.get("msg_id", ""))

    def with_content(self, content: dict[str, Any]) -> Message:
        """The same message with another content."""
        return replace(self, content=content)


class Leg:
    """One leg's key. ``strict`` refuses duplicate keys: it is for what comes from a client."""

    def __init__(self, key: bytes, *, strict: bool) -> None:
        self._mac = hmac.new(key, digestmod=hashlib.sha256)
        self._hook = _no_duplicates if strict else None

    def read(self, frames: Sequence[bytes]) -> Message:
        """The message in ``frames``; raises ``InvalidError`` (code ``bad_signature`` or ``malformed``)."""
        try:
            place = frames.index(DELIMITER, 0, MAX_IDENTITIES + 1)
        except ValueError:
            raise _malformed() from None
        rest = frames[place + 1 :]
        if not 5 <= len(rest) <= 5 + MAX_BUFFERS:
            raise _malformed()
        signature = rest[0]
        if not hmac.compare_digest(self._sign(rest[1:5]), signature):
            raise InvalidError("message: wanted the signature of this leg, got another", code="bad_signature")
        header, parent, metadata, content = (self._object(part) for part in rest[1:5])
        if not (_text(header, "msg_type") and _text(header, "msg_id")):
            raise _malformed()
        size = sum(map(len, rest))
        return Message(
            tuple(frames[:place]), header, parent, metadata, content, tuple(rest[5:]), bytes(signature), size
        )

    def write(self, message: Message) -> list[bytes]:
        """``message`` in our spelling, signed for this leg."""
        parts = [_spell(one) for one in (message.header, message.parent, message.metadata, message.content)]
        return [*message.identities, DELIMITER, self._sign(parts), *parts, *message.buffers]

    def _sign(self, parts: Sequence[bytes]) -> bytes:
        mac = self._mac.copy()
        for part in parts:
            mac.update(part)
        return mac.hexdigest().encode("ascii")

    def _object(self, data: bytes) -> dict[str, Any]:
        try:
            value = json.loads(data, object_pairs_hook=self._hook)
        except (ValueError, RecursionError):
            raise _malformed() from None
        if not isinstance(value, dict):
            raise _malformed()
        return value


def _text(header: dict[str, Any], name: str) -> bool:
    value = header.get(name)
    return isinstance(value, str) and 0 < len(value) <= 256


def _spell(value: dict[str, Any]) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    except UnicodeEncodeError:  # a lone surrogate, which JSON can carry only as an escape
        return json.dumps(value, separators=(",", ":")).encode("ascii")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("duplicate key")
    return value


def _malformed() -> InvalidError:
    return InvalidError("message: wanted a Jupyter message, got something else", code="malformed")
