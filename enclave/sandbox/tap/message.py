"""Jupyter messages on one leg of the tap: verified and parsed on the way in, written anew and signed on the way out.

What leaves the tap is its own spelling of what it understood, so a message that two parsers read differently does
not pass. What comes from a kernel is read and spelled by msgspec, which costs a fraction of the standard library and
finds the same value; what is no strict JSON (NaN, lone surrogates, a number out of range) is left to the standard
library in both directions. What comes from a client is read by the standard library, which can refuse a key that
stands twice. Source: "Messaging in Jupyter", wire protocol 5.3. Pure.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec

from enclave.core.errors import InvalidError

DELIMITER = b"<IDS|MSG>"
MAX_IDENTITIES = 4
MAX_BUFFERS = 1024
LARGE_BYTES = 16 << 10
MAX_DEPTH: Final = 200  # of values within values: what was read can be written, and judged on the way


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("duplicate key")
    return value


def _no_constant(_: str) -> Any:
    raise ValueError("NaN and Infinity are no JSON")


_decode_kernel: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode
_STRICT: Final = json.JSONDecoder(object_pairs_hook=_no_duplicates, parse_constant=_no_constant)


@dataclass(frozen=True, slots=True)
class Message:
    """One message. ``identities`` are the routing frames (a topic on iopub); ``size_bytes`` is that of the body.

    ``plain``: its parts are strict JSON, so that every library spells them with the same meaning. ``needed``: a word of
    the kernel that a client waits for, so that it passes whatever the display budgets say.
    """

    identities: tuple[bytes, ...]
    header: dict[str, Any]
    parent: dict[str, Any]
    metadata: dict[str, Any]
    content: dict[str, Any]
    buffers: tuple[bytes, ...] = ()
    signature: bytes = field(default=b"", compare=False)
    size_bytes: int = field(default=0, compare=False)
    plain: bool = field(default=False, compare=False)
    needed: bool = field(default=False, compare=False)

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
        header, parent, metadata, content, plain = self._parts(rest[1:5])
        if not (_text(header, "msg_type") and _text(header, "msg_id")):
            raise _malformed()
        names, buffers, size = tuple(frames[:place]), tuple(rest[5:]), sum(map(len, rest))
        return Message(names, header, parent, metadata, content, buffers, bytes(signature), size, plain)

    def write(self, message: Message) -> list[bytes]:
        """``message`` in our spelling, signed for this leg."""
        spell = _spell_plain if message.plain else _spell
        parts = [spell(one) for one in (message.header, message.parent, message.metadata, message.content)]
        return [*message.identities, DELIMITER, self._sign(parts), *parts, *message.buffers]

    def _sign(self, parts: Sequence[bytes]) -> bytes:
        mac = self._mac.copy()
        if len(parts[-1]) < LARGE_BYTES:  # of small parts a copy costs less than a call
            parts = (b"".join(parts),)
        for part in parts:
            mac.update(part)
        return mac.hexdigest().encode("ascii")

    def _parts(self, parts: Sequence[bytes]) -> tuple[Any, Any, Any, Any, bool]:
        """The four parts, and whether they are plain."""
        if not self._strict:
            try:
                header, parent, metadata, content = map(_decode_kernel, parts)
            except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
                pass
            else:
                if not (type(header) is type(parent) is type(metadata) is type(content) is dict):
                    raise _malformed()
                for part, value in zip(parts, (header, parent, metadata, content), strict=True):
                    _check_depth(part, value)
                return header, parent, metadata, content, True
        header, parent, metadata, content = map(self._object, parts)
        return header, parent, metadata, content, False

    def _object(self, data: bytes) -> dict[str, Any]:
        if data == b"{}":
            return {}
        try:
            value = self._decode(str(data, "utf-8", "surrogatepass"))
        except (ValueError, RecursionError):
            raise _malformed() from None
        if not isinstance(value, dict):
            raise _malformed()
        _check_depth(data, value)
        return value


def _check_depth(data: bytes, value: dict[str, Any]) -> None:
    """Refuses what is nested deeper than ``MAX_DEPTH``; it takes two bytes of ``data`` for each level."""
    if len(data) <= 2 * MAX_DEPTH:
        return
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for one in level
            for inner in (one.values() if type(one) is dict else one)
            if type(inner) is dict or type(inner) is list
        ]
        if not level:
            return
    raise _malformed()


_encode_any = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _text(header: dict[str, Any], name: str) -> bool:
    value = header.get(name)
    return isinstance(value, str) and 0 < len(value) <= 256


def _spell(value: dict[str, Any]) -> bytes:
    try:
        return _encode_any(value).encode("utf-8")
    except UnicodeEncodeError:  # a lone surrogate, which JSON can carry only as an escape
        return json.dumps(value, separators=(",", ":")).encode("ascii")


def _spell_plain(value: dict[str, Any]) -> bytes:
    if not value:
        return b"{}"
    try:
        return _encode(value)
    except UnicodeEncodeError:  # what we put into it ourselves
        return _spell(value)


def _malformed() -> InvalidError:
    return InvalidError("message: wanted a Jupyter message, got something else", code="malformed")
