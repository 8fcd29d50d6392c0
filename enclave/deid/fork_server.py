"""A process that does one dangerous piece of work after the other, each in a fork of its own with limits.

Forked from a process that has loaded everything and seen nothing, so that one takes milliseconds. A fork has limits of
memory and time, and a filter that leaves it memory, time, and what it holds open: it opens no file, starts nothing and
reaches nobody. What it does to itself harms neither the asking process nor the next piece of work. Where the kernel
does not put the filter on, the process ends before it has taken anything.
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

from enclave.runtime.call_filter import DECODER, assemble, confine, load_call_list, program

MAX_REQUEST = 4096
READY = b"ready"  # said once, when forks are confined
_PR_SET_PDEATHSIG = 1


class Work(Protocol):
    """One piece of work: reads from the descriptor ``value``, writes to ``answer``; may crash."""

    def __call__(self, request: dict[str, Any], *, value: int, answer: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """``memory``: bytes beyond what the process has when it begins; ``seconds`` of processor and of clock."""

    memory: int
    seconds: int


def serve(work: Callable[[], Work], *, limits: Limits, libraries: Iterable[str]) -> None:
    """Says that forks are confined, then serves requests of the socket ``sys.argv[1]`` until its other end is closed.

    ``libraries`` are loaded once: a fork can load nothing.
    """
    asked = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    own = os.getpid()
    _load(libraries)
    code = filter_code()
    if not holds(code):
        return
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    asked.send(READY)
    while True:
        data, fds, _, _ = socket.recv_fds(asked, MAX_REQUEST, 2)
        if not data or len(fds) != 2:
            return
        if os.fork() == 0:
            status = 1
            with contextlib.suppress(BaseException):
                _limit(own, limits)
                asked.close()
                confine(code)
                work()(json.loads(data), value=fds[0], answer=fds[1])
                status = 0
            os._exit(status)
        for fd in fds:
            os.close(fd)


def filter_code() -> bytes:
    """The filter of the forks; raises ``UnavailableError`` for an architecture without one."""
    return assemble(program(load_call_list(DECODER)))


def holds(code: bytes) -> bool:
    """Whether the filter holds here: a fork under it tries to open a file."""
    fork = os.fork()
    if fork == 0:
        status = 1
        with contextlib.suppress(BaseException):
            confine(code)
            try:
                os.open(os.devnull, os.O_RDONLY)
            except PermissionError:
                status = 0
        os._exit(status)
    return os.waitpid(fork, 0)[1] == 0


def _load(libraries: Iterable[str]) -> None:
    for name in libraries:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    if (pillow := sys.modules.get("PIL.Image")) is not None:
        pillow.init()  # it would load its formats when it is first used


def _limit(parent: int, limits: Limits) -> None:
    """A fork ends with its parent, writes no byte to a file, and takes no more than it may."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    now = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + limits.memory, now + limits.memory))
    resource.setrlimit(resource.RLIMIT_CPU, (limits.seconds, limits.seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(limits.seconds)
