"""The asking end of a Unix socket."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from enclave.core.errors import InvalidError, UnavailableError, error_from_wire
from enclave.wire.framing import VERSION, WireError, encode, receive_frame, send_encoded
from enclave.wire.messages.schema import from_json, request_type, to_json

T = TypeVar("T")
_TIMEVAL = struct.Struct("@ll")


class WireClient:
    """One connection to one daemon, reopened when it broke *before* a request was sent.

    Thread-safe: calls wait for each other; a caller that wants concurrency opens several clients.
    A request that was sent and not answered raises ``UnavailableError``: whether it was done is for the
    caller to find out (ids are made by the caller, so asking again is safe where the message says so).
    """

    def __init__(self, path: Path, *, timeout_s: float = 10.0) -> None:
        self.path = path
        self._timeout_s = timeout_s
        self._sock: socket.socket | None = None
        self._limit_s = 0.0  # of one send or receive, as the socket has it now
        self._poll = select.poll()
        self._guard = threading.Lock()

    def call(self, message: Any, *, timeout_s: float | None = None) -> Any:
        """Sends ``message`` and returns its reply; raises the error that the service raised."""
        body, descriptors = self.call_with_descriptors(message, timeout_s=timeout_s)
        _close_all(descriptors)
        return body

    @contextlib.contextmanager
    def asked(self, message: Any, *, timeout_s: float | None = None) -> Iterator[Callable[[], Any]]:
        """Sends ``message`` and goes on; within the block a call of what it gives waits for the reply.

        So one caller can ask several services and wait for all of them together. Others wait until the block ends.
        """
        kind = request_type(type(message))
        request_id = secrets.token_hex(8)
        data = encode({"v": VERSION, "id": request_id, "type": kind.name, "body": to_json(message)})
        answers: list[dict[str, Any]] = []

        def reply() -> Any:
            answers.append(self._receive(request_id, 0)[0])
            return body_of(answers[0], kind.reply, [])

        with self._guard:
            self._send(data, (), timeout_s)
            try:
                yield reply
            finally:
                if not answers:
                    self._drop()  # an answer that nobody took must not be taken for the next one

    def call_with_descriptors(
        self,
        message: Any,
        *,
        descriptors: Sequence[int] = (),
        max_descriptors: int = 0,
        timeout_s: float | None = None,
    ) -> tuple[Any, list[int]]:
        """As ``call``, with descriptors in either direction; those received belong to the caller."""
        kind = request_type(type(message))
        request_id = secrets.token_hex(8)
        try:
            data = encode({"v": VERSION, "id": request_id, "type": kind.name, "body": to_json(message)})
        except WireError:
            words = f"{kind.name}: wanted a request that fits a frame of 1 MiB, got a larger one or no JSON; send less"
            raise InvalidError(words, code="request_too_large") from None
        answer, fds = self._exchange(data, request_id, descriptors, max_descriptors, timeout_s)
        return body_of(answer, kind.reply, fds), fds

    def _exchange(
        self,
        data: bytes,
        request_id: str,
        descriptors: Sequence[int],
        max_descriptors: int,
        timeout_s: float | None,
    ) -> tuple[dict[str, Any], list[int]]:
        with self._guard:
            self._send(data, descriptors, timeout_s)
            return self._receive(request_id, max_descriptors)

    def _send(self, data: bytes, descriptors: Sequence[int], timeout_s: float | None) -> None:
        try:
            send_encoded(self._connected(timeout_s or self._timeout_s), data, descriptors)
        except (OSError, WireError):
            self._drop()
            raise self._unavailable() from None

    def _receive(self, request_id: str, max_descriptors: int) -> tuple[dict[str, Any], list[int]]:
        if self._sock is None:
            raise self._unavailable()
        try:
            received = receive_frame(self._sock, max_descriptors=max_descriptors)
        except (OSError, WireError):
            self._drop()
            raise self._unavailable() from None
        if received is None or received[0].get("id") != request_id:
            self._drop()
            _close_all(received[1] if received else [])
            raise self._unavailable()
        return received

    def close(self) -> None:
        """Ends the connection."""
        with self._guard:
            self._drop()

    def _connected(self, timeout_s: float) -> socket.socket:
        if self._sock is not None and self._poll.poll(0):
            # The other side has closed while we were not looking, or sent what nobody asked for. By poll(2): a
            # receive on a socket with a time limit would wait it out, MSG_DONTWAIT or not.
            self._drop()
        if self._sock is None:
            sock = socket.socket(socket.AF_UNIX)
            try:
                limit(sock, timeout_s)
                sock.connect(str(self.path))
            except OSError:
                sock.close()
                raise
            self._poll.register(sock, select.POLLIN | select.POLLHUP | select.POLLERR)
            self._sock, self._limit_s = sock, timeout_s
        if self._limit_s != timeout_s:
            limit(self._sock, timeout_s)
            self._limit_s = timeout_s
        return self._sock

    def _drop(self) -> None:
        if self._sock is not None:
            self._poll.unregister(self._sock)
            self._sock.close()
            self._sock = None

    def _unavailable(self) -> UnavailableError:
        return UnavailableError(f"{self.path.stem}: wanted an answer, got none; is it running? `enclave demo status`")


def call_once(path: Path, message: Any, *, timeout_s: float = 30.0) -> Any:
    """As ``WireClient.call`` on a connection of its own, which has ended when this returns."""
    client = WireClient(path, timeout_s=timeout_s)
    try:
        return client.call(message)
    finally:
        client.close()


def body_of(answer: dict[str, Any], reply: type[Any], descriptors: list[int]) -> Any:
    """The reply of class ``reply`` in an answer; raises the error that it tells, and then closes ``descriptors``."""
    if answer.get("ok") is True:
        try:
            return from_json(reply, answer.get("body"))
        except InvalidError:
            _close_all(descriptors)
            raise
    _close_all(descriptors)
    fault = answer.get("error") or {}
    raise error_from_wire(str(fault.get("family")), str(fault.get("code")), str(fault.get("message")))


def _close_all(descriptors: Sequence[int]) -> None:
    for fd in descriptors:
        os.close(fd)


def limit(sock: socket.socket, timeout_s: float) -> None:
    """Bounds each send and receive by the kernel (SO_RCVTIMEO, socket(7)): without a poll(2) before each of them."""
    seconds = math.floor(timeout_s)
    value = _TIMEVAL.pack(seconds, max(1, round((timeout_s - seconds) * 1e6)))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)
