"""One connection to one daemon for who must never wait: asks, goes on, and is told by its poller when to listen."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from enclave.core.errors import UnavailableError
from enclave.wire.client import body_of
from enclave.wire.framing import MAX_FRAME_BYTES, VERSION, WireError, decode, encode
from enclave.wire.messages.schema import request_type, to_json

MAX_AT_ONCE: Final = 64 << 10  # what an empty socket takes in one piece; larger requests go by ``WireClient``
_LENGTH: Final = struct.Struct(">I")
_RIGHT: Final = struct.Struct("i")
_PIECE: Final = 1 << 16
Quick = Callable[[bytes, bytes], Any]  # the answer's bytes and the request's id, to the reply, or None


class BrokenLineError(Exception):
    """The request was not sent, or its answer will not come: ask again in another way."""


class PolledLine:
    """At most one question at a time. ``watch`` and ``unwatch`` get the descriptor that the poller looks at.

    ``brings`` says that a descriptor may come beside an answer; any other is closed by the kernel.
    Not thread-safe: it belongs to the thread of its poller.
    """

    def __init__(
        self, path: Path, *, watch: Callable[[int], None], unwatch: Callable[[int], None], brings: bool = False
    ) -> None:
        self._path = path
        self._brings = brings
        self._brought: list[int] = []
        self._watch, self._unwatch = watch, unwatch
        self._sock: socket.socket | None = None
        self._asked: tuple[str, type[Any], Quick | None] | None = None
        self._data = b""

    @property
    def descriptor(self) -> int:
        """What the poller calls it; -1 without a connection."""
        return self._sock.fileno() if self._sock is not None else -1

    @property
    def waiting(self) -> bool:
        """Whether an answer is still to come."""
        return self._asked is not None

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as the poller has said."""
        return self._sock is not None

    def ask(self, message: Any, *, descriptors: Sequence[int] = ()) -> None:
        """Sends ``message``; raises ``BrokenLineError`` when it cannot be sent at once. Closes no descriptor."""
        self.ask_encoded(type(message), encode(to_json(message)), descriptors=descriptors)

    def ask_encoded(
        self, kind: type[Any], body: bytes, *, quick: Quick | None = None, descriptors: Sequence[int] = ()
    ) -> None:
        """As ``ask``, for a body that is canonical JSON already; ``quick`` returns the reply of an answer
        that is spelled as it knows it, which must be the canonical spelling; None leaves it to the long way.
        """
        found = request_type(kind)
        request_id = secrets.token_hex(8)
        data = b'{"body":%b,"id":"%b","type":"%b","v":%d}' % (
            body, request_id.encode(), found.name.encode(), VERSION,
        )  # fmt: skip
        if self._asked is not None or len(data) > MAX_AT_ONCE:
            raise BrokenLineError
        try:
            sock = self._connected()
            data = _LENGTH.pack(len(data)) + data
            sent = socket.send_fds(sock, [data], descriptors) if descriptors else sock.send(data)
            if sent != len(data):
                raise BrokenLineError
        except (OSError, BrokenLineError):
            self.drop()
            raise BrokenLineError from None
        self._asked = (request_id, found.reply, quick)

    def answer(self) -> Any:
        """The reply, or None while it is not all there; raises what the service raised, or ``BrokenLineError``.

        To be called when the poller says so; what comes without a question ends the connection.
        """
        try:
            frame = self._frame()
        except (OSError, WireError):
            self.drop()
            raise BrokenLineError from None
        if frame is None or self._asked is None:
            return None
        (request_id, reply, quick), self._asked = self._asked, None
        found = quick(frame, request_id.encode()) if quick is not None else None
        if found is not None:
            return found
        try:
            value = decode(frame)
        except WireError:
            value = {}
        if value.get("id") != request_id:
            self.drop()
            raise BrokenLineError
        return body_of(value, reply, [])

    def brought(self) -> list[int]:
        """The descriptors that came beside the last answer; they are the caller's."""
        found, self._brought = self._brought, []
        return found

    def drop(self) -> None:
        """Ends the connection: an answer that nobody took must not be taken for the next one."""
        self._asked, self._data = None, b""
        for descriptor in self.brought():
            os.close(descriptor)
        if self._sock is not None:
            self._unwatch(self._sock.fileno())
            self._sock.close()
            self._sock = None

    def unavailable(self) -> UnavailableError:
        """What to say when no answer came in time."""
        return UnavailableError(f"{self._path.stem}: wanted an answer, got none; is it running? `enclave demo status`")

    def _connected(self) -> socket.socket:
        if self._sock is None:
            sock = socket.socket(socket.AF_UNIX)
            try:
                sock.settimeout(0)
                sock.connect(str(self._path))
            except OSError:
                sock.close()
                raise
            self._watch(sock.fileno())
            self._sock = sock
        return self._sock

    def _received(self, sock: socket.socket) -> bytes:
        if not self._brings:
            return sock.recv(_PIECE)
        part, ancillary, flags, _ = sock.recvmsg(_PIECE, socket.CMSG_LEN(_RIGHT.size), socket.MSG_CMSG_CLOEXEC)
        for level, kind, rights in ancillary:
            if (level, kind, len(rights)) == (socket.SOL_SOCKET, socket.SCM_RIGHTS, _RIGHT.size):
                self._brought += _RIGHT.unpack(rights)
        if flags & socket.MSG_CTRUNC or len(self._brought) > 1:
            raise WireError("wire: wanted at most one descriptor, got more")
        return part

    def _frame(self) -> bytes | None:
        """The next frame, None while it is not all there; raises ``WireError`` at the end of the stream."""
        if self._sock is None:
            return None
        with contextlib.suppress(BlockingIOError):
            part = self._received(self._sock)
            self._data += part
            if not part or self._asked is None:
                raise WireError("wire: wanted an answer, got the end of the stream or what nobody asked for")
        if len(self._data) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._data)
        if length > MAX_FRAME_BYTES or len(self._data) - _LENGTH.size > length:
            raise WireError("wire: wanted one frame, got something else")
        if len(self._data) - _LENGTH.size < length:
            return None
        frame, self._data = self._data[_LENGTH.size :], b""
        return frame
