"""One connection to a socket of the sandbox: ``lease`` (datasets) or ``submit`` (results)."""

from __future__ import annotations

import contextlib
import os
import resource
import secrets
import select
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from enclave_kernel.errors import EnclaveError
from enclave_kernel.wire import VERSION, WireError, receive_frame, send_frame

TIMEOUT_S = 120.0


class Connection:
    """Asks and waits for the answer. Thread-safe, survives a fork and a restart of the other side."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._sock: socket.socket | None = None
        self._pid = 0
        self._guard = threading.Lock()

    def ask(
        self,
        kind: str,
        body: dict[str, Any],
        *,
        descriptors: Sequence[int] = (),
        max_descriptors: int = 0,
        once: bool = False,
    ) -> tuple[dict[str, Any], list[int]]:
        """The reply's body and its descriptors, which are the caller's to close; raises ``EnclaveError``.

        A connection that broke is opened again and the request repeated, unless it may be done only ``once``.
        """
        frame = {"v": VERSION, "id": secrets.token_hex(8), "type": kind, "body": body}
        with self._guard:
            received = self._exchange(frame, descriptors, max_descriptors, tries=1 if once else 2)
        answer, fds = received
        if answer.get("ok") is True and isinstance(answer.get("body"), dict):
            return answer["body"], fds
        for fd in fds:
            os.close(fd)
        fault = answer.get("error") or {}
        raise EnclaveError(str(fault.get("message")), family=str(fault.get("family")), code=str(fault.get("code")))

    def _exchange(
        self, frame: dict[str, Any], descriptors: Sequence[int], max_descriptors: int, *, tries: int
    ) -> tuple[dict[str, Any], list[int]]:
        for _ in range(tries):
            try:
                sock = self._connected()
                send_frame(sock, frame, descriptors)
                received = receive_frame(sock, max_descriptors=max_descriptors)
            except WireError as error:
                self._drop()
                if "at most" in str(error):  # too large to send: asking again changes nothing
                    raise EnclaveError(str(error)) from None
            except OSError:
                self._drop()
            else:
                if received is not None:
                    return received
                self._drop()
        raise EnclaveError(
            f"the enclave's {self._name} service did not answer. Wait a moment and try again; "
            "if it stays away, restart the kernel",
            family="unavailable",
        )

    def _connected(self) -> socket.socket:
        if self._pid != os.getpid():  # after a fork the parent goes on with its own connection
            self._sock = None
        if self._sock is not None and _closed_by_peer(self._sock):
            self._drop()
        if self._sock is None:
            _allow_many_descriptors()
            sock = socket.socket(socket.AF_UNIX)
            try:
                sock.settimeout(TIMEOUT_S)
                sock.connect(str(run_dir() / f"{self._name}.sock"))
            except OSError:
                sock.close()
                raise
            self._sock, self._pid = sock, os.getpid()
        return self._sock

    def _drop(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None


def run_dir() -> Path:
    """Where the sandbox has its two sockets."""
    return Path(os.environ.get("ENCLAVE_RUN_DIR", "/run/enclave"))


def _closed_by_peer(sock: socket.socket) -> bool:
    """Asked by poll(2): a receive on a socket with a time limit would wait it out, MSG_DONTWAIT or not."""
    poll = select.poll()
    poll.register(sock, select.POLLIN | select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))


def _allow_many_descriptors() -> None:
    """Each mapped object holds a descriptor; the usual soft limit is low."""
    with contextlib.suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
