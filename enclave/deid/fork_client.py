"""Asks a fork server for a piece of work, and starts it again when it has died."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from enclave.deid.fork_server import MAX_REQUEST, READY, UNCONFINED
from enclave.deid.reasons import Quarantined

_START_SECONDS = 300.0  # to load what the forks need on a busy machine
_PIPE_BYTES = 1 << 20


class _UnconfinedError(Exception):
    """The server said that its forks cannot be confined."""


class ForkClient:
    """The server that runs ``module``, from which each piece of work is forked."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._lock = threading.Lock()
        self._running: tuple[subprocess.Popen[bytes], socket.socket] | None = None
        self._unconfined = False  # as it said itself: it would say so again for every value

    @contextlib.contextmanager
    def answer(self, request: dict[str, Any], *, value: Iterable[bytes | memoryview]) -> Iterator[Answer]:
        """Hands over one value; with the end of the block the fork ends, whatever it does then.

        Raises ``OSError``, and ``Quarantined`` (``decoders_unconfined``) where forks do not start or are not
        confined.
        """
        with contextlib.ExitStack() as held:
            reader, writer = _pipe(held)
            theirs, _ = _pipe(held)  # ours is open until the end of the block, and the fork lives as long
            with os.fdopen(os.memfd_create("value", os.MFD_CLOEXEC), "w+b") as file:
                for piece in value:
                    file.write(piece)
                file.flush()
                file.seek(0)
                self._ask(request, fds=(file.fileno(), writer.fileno(), theirs.fileno()))
            writer.close()
            theirs.close()
            with contextlib.suppress(OSError):
                fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            yield Answer(self, reader.fileno())

    def _ask(self, request: dict[str, Any], *, fds: tuple[int, int, int]) -> None:
        data = json.dumps(request).encode()
        with self._lock:
            if self._unconfined:
                raise Quarantined("decoders_unconfined")
            if self._running is not None and self._running[0].poll() is not None:
                _end(*self._running)
                self._running = None
            if self._running is None:
                self._running = self._start()
            socket.send_fds(self._running[1], [data], fds)

    def _start(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        try:
            return _started(self._module)
        except _UnconfinedError:
            self._unconfined = True
        except OSError:
            pass  # too little memory, say: the next value may find more
        raise Quarantined("decoders_unconfined")

    def end(self) -> None:
        """Kills it, and with it every fork."""
        with self._lock:
            if self._running is not None:
                _end(*self._running)
                self._running = None


class Answer:
    """What a fork writes."""

    def __init__(self, client: ForkClient, reader: int) -> None:
        self._client = client
        self._reader = reader
        self._waiting = select.poll()
        self._waiting.register(reader, select.POLLIN)

    def read_into(self, target: memoryview, *, seconds: float) -> int:
        """How many bytes came, 0 at the end; after so many seconds without one the server is killed and
        ``TimeoutError`` raised."""
        if not self._waiting.poll(max(0.0, seconds) * 1000):
            self._client.end()
            raise TimeoutError
        return os.readv(self._reader, [target])


def _pipe(held: contextlib.ExitStack) -> tuple[BinaryIO, BinaryIO]:
    reader, writer = os.pipe()
    return held.enter_context(os.fdopen(reader, "rb", 0)), held.enter_context(os.fdopen(writer, "wb", 0))


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
        raise _UnconfinedError if said == UNCONFINED else ChildProcessError
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
    except (_UnconfinedError, OSError):
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
