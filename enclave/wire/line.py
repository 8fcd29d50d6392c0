"""A connection for requests and answers that their owners spell themselves: one send and one receive for each.

For who asks very often, above all the ledger's client. What is sent must be canonical JSON and an envelope of ours;
``WireClient`` is for everything else.
"""

from __future__ import annotations

import itertools
import socket
import struct
from pathlib import Path
from typing import Any

from enclave.core.errors import InvalidError
from enclave.wire.client import body_of, limit
from enclave.wire.framing import MAX_FRAME_BYTES, VERSION, WireError, decode
from enclave.wire.messages.schema import request_type

_LENGTH = struct.Struct(">I")
_AT_ONCE = 448  # holds a receipt, and is small enough for the interpreter's own memory
_ENVELOPE = len(b'{"body":,"id":"')


class Line:
    """One connection, opened at once. Not thread-safe: one caller at a time asks and reads the answer.

    ``ask`` raises ``OSError`` or ``WireError`` when no answer came; the line is then of no more use. Whether the
    request was done is for the caller to find out.
    """

    __slots__ = ("_head", "_limit_s", "_numbers", "_receive", "_send", "_sock")

    def __init__(self, path: Path, *, timeout_s: float) -> None:
        self._sock = sock = socket.socket(socket.AF_UNIX)
        self._send, self._receive = sock.sendall, sock.recv
        self._numbers = itertools.count(1)  # tells an answer from that of an earlier request on this connection
        self._limit_s = 0.0
        try:
            self.limit(timeout_s)
            sock.connect(str(path))
        except OSError:
            sock.close()
            raise

    def ask(self, body: bytes, tail: bytes) -> tuple[bytes, bytes]:
        """Sends the request with this body and what ``tail_of`` gave; returns the answer's bytes and the request's id.

        Raises ``InvalidError`` for a request that fits no frame, before anything is sent.
        """
        number = b"%x" % next(self._numbers)
        length = _ENVELOPE + len(body) + len(number) + len(tail)
        if length > MAX_FRAME_BYTES:
            raise InvalidError("request: wanted one that fits a frame of 1 MiB, got more", code="request_too_large")
        self._send(b'%b{"body":%b,"id":"%b%b' % (_LENGTH.pack(length), body, number, tail))
        data = self._receive(_AT_ONCE)
        if len(data) <= _LENGTH.size or len(data) - _LENGTH.size != _LENGTH.unpack_from(data)[0]:
            data = self._whole(data)
        return data[_LENGTH.size :], number

    def limit(self, timeout_s: float) -> None:
        """Bounds each send and receive by the kernel (SO_RCVTIMEO, socket(7)): without a poll(2) before each."""
        if timeout_s != self._limit_s:
            limit(self._sock, timeout_s)
            self._limit_s = timeout_s

    def close(self) -> None:
        """Ends the connection."""
        self._sock.close()

    def _whole(self, data: bytes) -> bytes:
        """The next frame when it is not there at once; raises ``WireError`` when something follows it."""
        while len(data) < _LENGTH.size or len(data) - _LENGTH.size < _LENGTH.unpack_from(data)[0] <= MAX_FRAME_BYTES:
            part = self._receive(1 << 16) if data else b""
            if not part:
                raise WireError("wire: wanted a whole frame, got the end of the stream")
            data += part
        if len(data) - _LENGTH.size != _LENGTH.unpack_from(data)[0]:
            raise WireError("wire: wanted one frame, got another number of bytes")
        return data


def tail_of(kind: type[Any]) -> bytes:
    """How every request of class ``kind`` ends, after its id."""
    return b'","type":"%b","v":%d}' % (request_type(kind).name.encode(), VERSION)


def reply_in(frame: bytes, number: bytes, kind: type[Any]) -> Any:
    """The reply to a request of class ``kind``; raises the error that the service raised.

    Raises ``WireError`` when the bytes are no answer of ours, or one to another request.
    """
    answer = decode(frame)
    if answer.get("id") != number.decode("ascii"):
        raise WireError("wire: wanted the answer to this request, got another one")
    return body_of(answer, request_type(kind).reply, [])
