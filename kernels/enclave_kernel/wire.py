"""Frames on a Unix socket: four bytes of length (big endian), then canonical JSON, at most 1 MiB.

Standard library only, for it runs inside the sandbox. Descriptors travel beside a frame (SCM_RIGHTS).
"""

from __future__ import annotations

import array
import json
import os
import socket
import struct
from collections.abc import Sequence
from typing import Any

VERSION = 1
MAX_FRAME_BYTES = 1 << 20
MAX_DESCRIPTORS = 128
_LENGTH = struct.Struct(">I")
_spell = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


class WireError(Exception):
    """The other side sent something that is not a frame of ours, or went away."""


def encode(value: Any) -> bytes:
    """Canonical JSON bytes of ``value``; raises ``WireError`` when it is too large or not JSON."""
    try:
        data = _spell(value).encode("utf-8")
    except (TypeError, ValueError):
        raise WireError("wire: wanted JSON values, got something else") from None
    if len(data) > MAX_FRAME_BYTES:
        raise WireError(f"wire: wanted at most {MAX_FRAME_BYTES} bytes in a frame, got {len(data)}")
    return data


def decode(data: bytes) -> dict[str, Any]:
    """The object in ``data``; refuses duplicate keys, NaN and any spelling but the canonical one."""
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise WireError("wire: wanted canonical JSON, got something else") from None
    if not isinstance(value, dict):
        raise WireError("wire: wanted a JSON object, got another value")
    try:
        same = encode(value) == data
    except RecursionError:
        same = False
    if not same:
        raise WireError("wire: wanted canonical JSON, got another spelling")
    return value


def send_frame(sock: socket.socket, value: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Sends one frame, with the descriptors attached to its length prefix."""
    send_encoded(sock, encode(value), descriptors)


def send_encoded(sock: socket.socket, data: bytes, descriptors: Sequence[int] = ()) -> None:
    """As ``send_frame``, for what ``encode`` made."""
    head = _LENGTH.pack(len(data))
    if descriptors:
        rights = array.array("i", descriptors)
        sock.sendmsg([head], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights.tobytes())])
        sock.sendall(data)
    else:
        sock.sendall(head + data)


def receive_frame(sock: socket.socket, *, max_descriptors: int = 0) -> tuple[dict[str, Any], list[int]] | None:
    """The next frame and its descriptors, or None when the other side closed between two frames.

    Descriptors beyond ``max_descriptors`` are closed and the frame is refused.
    """
    head, descriptors = _receive_head(sock)
    try:
        if head is None:
            return None
        if len(descriptors) > max_descriptors:
            raise WireError(f"wire: wanted at most {max_descriptors} descriptors, got more")
        (length,) = _LENGTH.unpack(head)
        if length > MAX_FRAME_BYTES:
            raise WireError(f"wire: wanted at most {MAX_FRAME_BYTES} bytes in a frame, got {length}")
        value = decode(_receive_exactly(sock, length))
    except BaseException:
        for fd in descriptors:
            os.close(fd)
        raise
    return value, descriptors


def _receive_head(sock: socket.socket) -> tuple[bytes | None, list[int]]:
    space = socket.CMSG_SPACE(MAX_DESCRIPTORS * array.array("i").itemsize)
    data, ancillary, flags, _ = sock.recvmsg(_LENGTH.size, space, socket.MSG_CMSG_CLOEXEC)
    descriptors: list[int] = []
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            rights = array.array("i")
            rights.frombytes(payload[: len(payload) - len(payload) % rights.itemsize])
            descriptors.extend(rights)
    try:
        if flags & socket.MSG_CTRUNC:
            raise WireError("wire: wanted fewer descriptors, got more than fit")
        if not data:
            return None, descriptors
        if len(data) < _LENGTH.size:
            data += _receive_exactly(sock, _LENGTH.size - len(data))
    except BaseException:
        for fd in descriptors:
            os.close(fd)
        raise
    return data, descriptors


def _receive_exactly(sock: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = sock.recv(min(count - len(parts), 1 << 16))
        if not part:
            raise WireError("wire: wanted a whole frame, got the end of the stream")
        parts += part
    return bytes(parts)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("duplicate key")
    return value


def _refuse(_: str) -> Any:
    raise ValueError("not a JSON number")
