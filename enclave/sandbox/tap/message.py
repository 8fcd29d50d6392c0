"""Jupyter messages on one leg of the tap: verified and parsed on the way in, written anew and signed on the way out.

What leaves the tap is its own spelling of what it understood, so a message that two parsers read differently does
not pass. Large contents of text are read and spelled by orjson, which costs a sixth of the standard library; what it
reads differently (numbers beyond 64 bits, NaN, lone surrogates) or cannot read is left to the standard library.
Source: "Messaging in Jupyter", wire protocol 5.3. Pure.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

from enclave.core.errors import InvalidError

DELIMITER = b"<IDS|MSG>"
MAX_IDENTITIES = 4
MAX_BUFFERS = 1024
LARGE_BYTES = 16 << 10
_MAX_VALUES: Final = 256  # of a large content that is looked at before orjson is trusted with it


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("duplicate key")
    return value


def _no_constant(_: str) -> Any:
    raise ValueError("NaN and Infinity are no JSON")


_STRICT: Final = json.JSONDecoder(object_pairs_hook=_no_duplicates, parse_constant=_no_constant)


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
        self._decode = _STRICT.decode if strict else json.JSONDecoder().decode
        self._strict = strict

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
        header, parent, metadata = (self._object(part) for part in rest[1:4])
        content = self._content(rest[4])
        if not (_text(header, "msg_type") and _text(header, "msg_id")):
            raise _malformed()
        names, buffers, size = tuple(frames[:place]), tuple(rest[5:]), sum(map(len, rest))
        return Message(names, header, parent, metadata, content, buffers, bytes(signature), size)

    def write(self, message: Message) -> list[bytes]:
        """``message`` in our spelling, signed for this leg."""
        parts = [_spell(one) for one in (message.header, message.parent, message.metadata)]
        parts.append(_spell_content(message))
        return [*message.identities, DELIMITER, self._sign(parts), *parts, *message.buffers]

    def _sign(self, parts: Sequence[bytes]) -> bytes:
        mac = self._mac.copy()
        for part in parts:
            mac.update(part)
        return mac.hexdigest().encode("ascii")

    def _content(self, data: bytes) -> dict[str, Any]:
        """The same value either way: orjson takes the last of a key that stands twice, as this leg does."""
        if len(data) >= LARGE_BYTES and not self._strict:
            try:
                value = orjson.loads(data)
            except orjson.JSONDecodeError:
                return self._object(data)
            if isinstance(value, dict) and _is_text(value):
                return value
        return self._object(data)

    def _object(self, data: bytes) -> dict[str, Any]:
        if data == b"{}":
            return {}
        try:
            value = self._decode(str(data, "utf-8", "surrogatepass"))
        except (ValueError, RecursionError):
            raise _malformed() from None
        if not isinstance(value, dict):
            raise _malformed()
        return value


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _text(header: dict[str, Any], name: str) -> bool:
    value = header.get(name)
    return isinstance(value, str) and 0 < len(value) <= 256


def _spell(value: dict[str, Any]) -> bytes:
    try:
        return _encode(value).encode("utf-8")
    except UnicodeEncodeError:  # a lone surrogate, which JSON can carry only as an escape
        return json.dumps(value, separators=(",", ":")).encode("ascii")


def _spell_content(message: Message) -> bytes:
    if message.size_bytes >= LARGE_BYTES and _is_text(message.content):
        try:
            return orjson.dumps(message.content)
        except orjson.JSONEncodeError:  # a lone surrogate
            pass
    return _spell(message.content)


def _is_text(value: dict[str, Any]) -> bool:
    """Whether ``value`` is made of few values that both libraries read and spell alike: text, and no number but whole
    ones that fit 64 bits (orjson makes a float of a larger one, so one that it read is seen here)."""
    todo: list[Any] = [value]
    seen = 0
    while todo:
        one = todo.pop()
        seen += 1
        if seen > _MAX_VALUES:
            return False
        if isinstance(one, dict):
            if len(one) > _MAX_VALUES or not all(isinstance(key, str) for key in one):
                return False
            todo.extend(one.values())
        elif isinstance(one, list):
            if len(one) > _MAX_VALUES:
                return False
            todo.extend(one)
        elif not (one is None or isinstance(one, str | bool | int)):
            return False
    return True


def _malformed() -> InvalidError:
    return InvalidError("message: wanted a Jupyter message, got something else", code="malformed")
