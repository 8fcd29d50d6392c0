"""A process that does one dangerous piece of work after the other, each in a fork of its own with limits.

Forked from a process that has loaded everything and seen nothing, so that one takes milliseconds. A fork has limits of
memory and time, and a filter that leaves it memory, time, and what it holds open: it opens no file, starts nothing and
reaches nobody. What it does to itself harms neither the asking process nor the next piece of work, and it ends when
nobody waits for its answer any more. Where the kernel does not put the filter on, the process says so and ends before
it has taken anything.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from enclave.core.errors import UnavailableError
from enclave.runtime.call_filter import DECODER, assemble, confine, load_call_list, program

MAX_REQUEST = 4096
READY, UNCONFINED = b"ready", b"unconfined"  # said once: whether forks are confined
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
    """Says whether forks are confined; if so, serves requests of the socket ``sys.argv[1]`` until its other end is
    closed.

    ``libraries`` are loaded once: a fork can load nothing.
    """
    asked = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    own = os.getpid()
    _load(libraries)
    code = _code_that_holds()
    asked.send(READY if code else UNCONFINED)
    if not code:
        return
    forks: dict[int, int] = {}  # by the pipe whose other end the one who asked holds open as long as they wait
    while (request := _next_request(asked, forks)) is not None:
        data, (value, answer, wanted) = request
        fork = os.fork()
        if fork == 0:
            status = 1
            with contextlib.suppress(BaseException):
                _limit(own, limits)
                asked.close()
                for pipe in (*forks, wanted):
                    os.close(pipe)
                confine(code)
                work()(json.loads(data), value=value, answer=answer)
                status = 0
            os._exit(status)
        forks[wanted] = fork
        os.close(value)
        os.close(answer)


def _next_request(asked: socket.socket, forks: dict[int, int]) -> tuple[bytes, list[int]] | None:
    """What is asked next; before it is told, each fork whose answer nobody waits for any more is ended.

    None when the other end is closed.
    """
    while True:
        waiting = select.poll()
        waiting.register(asked, select.POLLIN)
        for wanted in forks:
            waiting.register(wanted, 0)  # tells of its other end's closing alone
        ready = [fd for fd, _ in waiting.poll()]
        for wanted in forks.keys() & ready:
            fork = forks.pop(wanted)
            os.kill(fork, signal.SIGKILL)  # nobody has waited for it, so the number is still its own
            os.waitpid(fork, 0)
            os.close(wanted)
        if asked.fileno() in ready:
            data, fds, _, _ = socket.recv_fds(asked, MAX_REQUEST, 3)
            return (data, fds) if data and len(fds) == 3 else None


def _code_that_holds() -> bytes:
    """The filter of the forks; nothing where there is none or it does not hold."""
    try:
        code = filter_code()
    except UnavailableError:
        return b""
    return code if holds(code) else b""


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
