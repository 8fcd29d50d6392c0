"""The ledger's socket: one thread takes the appends of all connections, so that those which wait share one commit.

A thread per connection would spend most of its time waiting for the interpreter's lock. Any other request takes its
connection out of the loop and gets a thread, for it may last.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from enclave.audit.arrival import Arrival, append_id, read_append
from enclave.audit.recovery import Durable
from enclave.core.errors import EnclaveError
from enclave.wire.framing import MAX_FRAME_BYTES, WireError, decode
from enclave.wire.peer import FRAME_TIMEOUT_S, Peer, WireServer, peer_of, refusal

_LENGTH = struct.Struct(">I")
_CHUNK = 1 << 16
_AT_ONCE = 1 << 12  # of a connection that waits for an answer: a frame is short, and so is the buffer for it
_POLL_S = 30.0

Take = Callable[[Sequence[tuple[Arrival, Peer]]], list[Durable | EnclaveError]]


@dataclass(slots=True)
class _Connection:
    sock: socket.socket
    peer: Peer
    heard: float
    buffer: bytearray = field(default_factory=bytearray)


class LedgerServer(WireServer):
    """``take`` appends what arrived together and says for each what came of it; ``now`` is the ledger's time."""

    def __init__(self, *args: Any, take: Take, now: Callable[[], str], **options: Any) -> None:
        super().__init__(*args, **options)
        self._take, self._now = take, now
        self._poll = select.epoll()
        self._waker = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll.register(self._waker, select.EPOLLIN)
        self._connections: dict[int, _Connection] = {}
        self._loop = threading.Thread(target=self._run, name="audit:appends", daemon=True)

    def start(self) -> None:
        """Begins to accept; returns at once."""
        self._loop.start()
        super().start()

    def close(self) -> None:
        """Stops accepting and ends every open connection once what arrived was answered."""
        super().close()
        os.eventfd_write(self._waker, 1)
        self._loop.join(timeout=10)
        if not self._loop.is_alive():
            self._poll.close()
            os.close(self._waker)

    def _begin(self, sock: socket.socket, number: int) -> None:
        try:
            peer = peer_of(sock, number)
            if not self._may_ask(peer):
                self._serve_in_thread(sock, number)
                return
            sock.setblocking(False)  # noqa: FBT003 - the method takes it so
            fd = sock.fileno()
            self._connections[fd] = _Connection(sock, peer, time.monotonic())
            self._poll.register(fd, select.EPOLLIN)
        except (OSError, ValueError):  # the client is gone, or we are closing
            self._forget(sock)

    def _run(self) -> None:
        while not self._closed:
            try:
                self._turn()
            except Exception as error:  # noqa: BLE001 - the loop must outlive any fault in one turn
                self._log.error("turn failed", error)
        for fd in list(self._connections):
            self._drop(fd)

    def _turn(self) -> None:
        """Reads whatever came on any connection, appends all of it at once, answers."""
        arrived: list[_Request] = []
        ready = self._poll.poll(_POLL_S)
        now = time.monotonic()
        for fd, _ in ready:
            connection = self._connections.get(fd)
            if connection is not None:
                connection.heard = now
                self._read(fd, connection, arrived)
        if arrived:
            self._answer_all(arrived)
        if not ready:
            self._drop_silent()

    def _read(self, fd: int, connection: _Connection, arrived: list[_Request]) -> None:
        """Adds the whole appends that have come; ends or hands over the connection for anything else."""
        try:
            data = connection.sock.recv(_CHUNK if connection.buffer else _AT_ONCE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(fd)
            return
        try:
            if not connection.buffer and _is_one_frame(data):
                self._take_frame(fd, connection, data[_LENGTH.size :], arrived)
                return
            connection.buffer += data
            while (frame := _next_frame(connection.buffer)) is not None:
                if not self._take_frame(fd, connection, frame, arrived):
                    break
        except WireError:
            self._misused(fd, connection)

    def _take_frame(self, fd: int, connection: _Connection, frame: bytes, arrived: list[_Request]) -> bool:
        """False when the connection left the loop with it."""
        request_id = append_id(frame)
        if request_id is None:
            self._hand_over(fd, connection, frame)
            return False
        arrived.append((connection, frame, request_id))
        return True

    def _hand_over(self, fd: int, connection: _Connection, frame: bytes) -> None:
        value = decode(frame)
        if connection.buffer:
            raise WireError("wire: wanted one request at a time, got more")
        del self._connections[fd]
        self._poll.unregister(fd)
        self._serve_in_thread(connection.sock, connection.peer.connection, value)

    def _answer_all(self, arrived: list[_Request]) -> None:
        """Every frame is answered, on one connection in the order of its requests."""
        read = [self._read_one(connection, frame) for connection, frame, _ in arrived]
        good = [
            (one, connection.peer)
            for one, (connection, _, _) in zip(read, arrived, strict=True)
            if isinstance(one, Arrival)
        ]
        taken = iter(self._taken(good))
        now = self._now().encode()
        for one, (connection, _, request_id) in zip(read, arrived, strict=True):
            result = next(taken) if isinstance(one, Arrival) else one
            if isinstance(result, Durable):
                self._send(connection, _receipt(request_id, result, now))
            elif result is not None:
                self._send(connection, refusal(request_id.decode(), result))

    def _read_one(self, connection: _Connection, frame: bytes) -> Arrival | EnclaveError | None:
        try:
            return read_append(frame)
        except WireError:
            self._misused(connection.sock.fileno(), connection)
            return None
        except EnclaveError as error:
            return error

    def _taken(self, good: list[tuple[Arrival, Peer]]) -> Sequence[Durable | EnclaveError]:
        try:
            return self._take(good) if good else ()
        except EnclaveError as error:
            return [error] * len(good)
        except Exception as error:  # noqa: BLE001 - a fault must not leak its text, nor end the daemon
            self._log.error("append failed", error)
            return [EnclaveError("the service failed while doing this; its log says where")] * len(good)

    def _send(self, connection: _Connection, data: bytes) -> None:
        """A few hundred bytes: a client whose buffer has no room for them does not read its answers."""
        try:
            sent = connection.sock.send(_LENGTH.pack(len(data)) + data)
        except OSError:
            sent = 0
        if sent != _LENGTH.size + len(data):
            self._drop(connection.sock.fileno())

    def _misused(self, fd: int, connection: _Connection) -> None:
        self._on_misuse("not_a_frame")
        self._log.warning("connection ended", socket=self.path.name, uid=connection.peer.uid, error="WireError")
        self._drop(fd)

    def _drop_silent(self) -> None:
        oldest = time.monotonic() - FRAME_TIMEOUT_S
        for fd in [fd for fd, connection in list(self._connections.items()) if connection.heard < oldest]:
            self._drop(fd)

    def _drop(self, fd: int) -> None:
        connection = self._connections.pop(fd, None)
        if connection is not None:
            with contextlib.suppress(OSError, ValueError):
                self._poll.unregister(fd)
            self._forget(connection.sock)
            if self._on_close is not None:
                self._on_close(connection.peer)


_Request = tuple[_Connection, bytes, bytes]  # who asks, the frame, the id to answer under


def _is_one_frame(data: bytes) -> bool:
    """Whether exactly one whole frame has come, as from whoever waits for its answer."""
    return len(data) > _LENGTH.size and _LENGTH.unpack_from(data)[0] == len(data) - _LENGTH.size


def _next_frame(buffer: bytearray) -> bytes | None:
    """Takes one whole frame off the front; raises ``WireError`` for one that is too long."""
    if len(buffer) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack_from(buffer)
    if length > MAX_FRAME_BYTES:
        raise WireError(f"wire: wanted at most {MAX_FRAME_BYTES} bytes in a frame, got {length}")
    end = _LENGTH.size + length
    if len(buffer) < end:
        return None
    frame = bytes(buffer[_LENGTH.size : end])
    del buffer[:end]
    return frame


def _receipt(request_id: bytes, durable: Durable, now: bytes) -> bytes:
    """The reply of ``Append`` as the framing would encode it."""
    return b'{"body":{"leaf_hash":"%b","seq":%d,"time":"%b"},"id":"%b","ok":true,"v":1}' % (
        durable.leaf.hex().encode(),
        durable.seq,
        now,
        request_id,
    )
