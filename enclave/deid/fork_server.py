"""A process that does one dangerous piece of work after the other, each in a fork of its own with limits.

Forked from a process that has loaded everything and seen nothing, so that one takes milliseconds. What a fork does to
itself harms neither the asking process nor the next piece of work.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

MAX_REQUEST = 4096
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38


class Work(Protocol):
    """One piece of work: reads from the descriptor ``value``, writes to ``answer``; may crash."""

    def __call__(self, request: dict[str, Any], *, value: int, answer: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """``memory``: bytes beyond what the process has when it begins; ``seconds`` of processor and of clock."""

    memory: int
    seconds: int


def serve(work: Callable[[], Work], *, limits: Limits, libraries: Iterable[str]) -> None:
    """Serves requests of the socket ``sys.argv[1]`` until its other end is closed; ``libraries`` are loaded once."""
    asked = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    own = os.getpid()
    for name in libraries:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    while True:
        data, fds, _, _ = socket.recv_fds(asked, MAX_REQUEST, 2)
        if not data or len(fds) != 2:
            return
        if os.fork() == 0:
            _limit(own, limits)
            asked.close()
            status = 1
            with contextlib.suppress(BaseException):
                work()(json.loads(data), value=fds[0], answer=fds[1])
                status = 0
            os._exit(status)
        for fd in fds:
            os.close(fd)


def _limit(parent: int, limits: Limits) -> None:
    """A fork ends with its parent, writes no byte to a file, and takes no more than it may."""
    library = ctypes.CDLL(None)
    library.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    now = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + limits.memory, now + limits.memory))
    resource.setrlimit(resource.RLIMIT_CPU, (limits.seconds, limits.seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(limits.seconds)
