"""Asks a fork server for a piece of work, and starts it again when it has died."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from typing import Any


class ForkClient:
    """The server that runs ``module``, from which each piece of work is forked."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._lock = threading.Lock()
        self._running: tuple[subprocess.Popen[bytes], socket.socket] | None = None

    def ask(self, request: dict[str, Any], *, fds: tuple[int, int]) -> None:
        """Hands over one value; the answer comes by the second descriptor. Raises ``OSError``."""
        data = json.dumps(request).encode()
        with self._lock:
            if self._running is None or self._running[0].poll() is not None:
                self._running = _started(self._module)
            socket.send_fds(self._running[1], [data], fds)

    def end(self) -> None:
        """Kills it, and with it every fork."""
        with self._lock:
            if self._running is not None:
                self._running[0].kill()
                self._running[0].wait()
                self._running[1].close()
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
    return process, ours


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
