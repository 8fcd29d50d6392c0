"""The asking end of a Unix socket."""

from __future__ import annotations

import os
import secrets
import select
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from enclave.core.errors import InvalidError, UnavailableError, error_from_wire
from enclave.wire.framing import VERSION, WireError, encode, receive_frame, send_encoded
from enclave.wire.messages.schema import from_json, request_type, to_json

T = TypeVar("T")


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
        self._guard = threading.Lock()

    def call(self, message: Any, *, timeout_s: float | None = None) -> Any:
        """Sends ``message`` and returns its reply; raises the error that the service raised."""
        body, descriptors = self.call_with_descriptors(message, timeout_s=timeout_s)
        _close_all(descriptors)
        return body

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
        with self._guard:
            try:
                sock = self._connected(timeout_s or self._timeout_s)
                send_encoded(sock, data, descriptors)
                received = receive_frame(sock, max_descriptors=max_descriptors)
            except (OSError, WireError):
                self._drop()
                raise self._unavailable() from None
            if received is None or received[0].get("id") != request_id:
                self._drop()
                _close_all(received[1] if received else [])
                raise self._unavailable()
        answer, fds = received
        if answer.get("ok") is True:
            try:
                return from_json(kind.reply, answer.get("body")), fds
            except InvalidError:
                _close_all(fds)
                raise
        _close_all(fds)
        fault = answer.get("error") or {}
        raise error_from_wire(str(fault.get("family")), str(fault.get("code")), str(fault.get("message")))

    def close(self) -> None:
        """Ends the connection."""
        with self._guard:
            self._drop()

    def _connected(self, timeout_s: float) -> socket.socket:
        if self._sock is not None and _stale(self._sock):
            self._drop()
        if self._sock is None:
            sock = socket.socket(socket.AF_UNIX)
            try:
                sock.settimeout(timeout_s)
                sock.connect(str(self.path))
            except OSError:
                sock.close()
                raise
            self._sock = sock
        self._sock.settimeout(timeout_s)
        return self._sock

    def _drop(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _unavailable(self) -> UnavailableError:
        return UnavailableError(f"{self.path.stem}: wanted an answer, got none; is it running? `enclave demo status`")


def _close_all(descriptors: Sequence[int]) -> None:
    for fd in descriptors:
        os.close(fd)


def _stale(sock: socket.socket) -> bool:
    """Whether the other side has closed while we were not looking (or sent what nobody asked for).

    By poll(2) without waiting: a receive on a socket with a time limit would wait it out, MSG_DONTWAIT or not.
    """
    poll = select.poll()
    poll.register(sock, select.POLLIN | select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))
