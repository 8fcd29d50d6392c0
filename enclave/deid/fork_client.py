"""Asks a fork server for a piece of work, and starts it again when it has died."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from typing import Any

from enclave.deid.fork_server import MAX_REQUEST, READY
from enclave.deid.reasons import Quarantined

_START_SECONDS = 300.0  # to load what the forks need on a busy machine


class ForkClient:
    """The server that runs ``module``, from which each piece of work is forked."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._lock = threading.Lock()
        self._running: tuple[subprocess.Popen[bytes], socket.socket] | None = None
        self._unconfined = False  # as it said itself: it would say so again for every value

    def ask(self, request: dict[str, Any], *, fds: tuple[int, int]) -> None:
        """Hands over one value; the answer comes by the second descriptor.

        Raises ``OSError``, and ``Quarantined`` (``decoders_unconfined``) where forks cannot be confined.
        """
        data = json.dumps(request).encode()
        with self._lock:
            if self._unconfined:
                raise Quarantined("decoders_unconfined")
            if self._running is None or self._running[0].poll() is not None:
                self._running = None
                self._running = self._start()
            socket.send_fds(self._running[1], [data], fds)

    def _start(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        try:
            return _started(self._module)
        except Quarantined:
            self._unconfined = True
            raise

    def end(self) -> None:
        """Kills it, and with it every fork."""
        with self._lock:
            if self._running is not None:
                _end(*self._running)
                self._running = None


def _started(module: str) -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, "-P", "-m", module, str(theirs.fileno())]
        environment = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
        if path := os.environ.get("PYTHONPATH"):
            environment["PYTHONPATH"] = path
        process = subprocess.Popen(
            command,
            env=environment,
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    ours.settimeout(_START_SECONDS)
    try:
        said = ours.recv(MAX_REQUEST)
    except OSError:
        _end(process, ours)
        raise
    if said != READY:
        _end(process, ours)
        raise Quarantined("decoders_unconfined")
    ours.settimeout(None)
    return process, ours


def _end(process: subprocess.Popen[bytes], ours: socket.socket) -> None:
    process.kill()
    process.wait()
    ours.close()


def is_confined(module: str) -> bool:
    """Whether the forks of ``module`` run under their filter on this machine."""
    try:
        process, ours = _started(module)
    except (Quarantined, OSError):
        return False
    _end(process, ours)
    return True


_clients: dict[tuple[int, str], ForkClient] = {}


def client_of(module: str) -> ForkClient:
    """That of this process: a fork must not share the socket of its parent."""
    key = os.getpid(), module
    found = _clients.get(key)
    if found is None:
        for other in [one for one in _clients if one[0] != key[0]]:
            del _clients[other]
        found = _clients[key] = ForkClient(module)
    return found
