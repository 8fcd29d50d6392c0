"""Clients that append one event after the other, each waiting for its receipt, and what they saw."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from enclave.audit.event import Event
from enclave.core.clock import format_time
from enclave.runtime.clock import SystemClock

Append = Callable[[Event], object]
_CLOCK = SystemClock()


@dataclass(frozen=True, slots=True)
class Seen:
    """Durable events per second and milliseconds that a client waited for one of them."""

    per_s: float
    p50_ms: float
    p99_ms: float


def event_of(client: int, step: int) -> Event:
    """What a tap writes before a cell runs, about 450 bytes as a record."""
    return Event(
        id=os.urandom(16).hex(),
        time=format_time(_CLOCK.now()),
        kind="cell.execute",
        actor=f"person-{client:03d}",
        role="researcher",
        outcome="intent",
        project="benchmark",
        session="5" * 32,
        kernel=f"{client:032x}",
        cell=f"{step:032x}",
        detail={"code_hash": "ab" * 32, "message_type": "execute_request", "channel": "shell", "silent": False},
    )


def loop(append: Append, client: int, *, until: float) -> list[float]:
    """Appends until the monotonic time ``until``; returns the seconds of each append."""
    waits: list[float] = []
    began = time.monotonic()
    while began < until:
        append(event_of(client, len(waits)))
        ended = time.monotonic()
        waits.append(ended - began)
        began = ended
    return waits


def in_threads(make: Callable[[int], Append], clients: int, *, seconds: float) -> Seen:
    """All clients as threads of this process; ``make`` gives each its own way in."""
    ways = [make(client) for client in range(clients)]
    waits: list[list[float]] = [[] for _ in ways]
    start = threading.Barrier(clients + 1)

    def run(client: int) -> None:
        start.wait()
        waits[client] = loop(ways[client], client, until=time.monotonic() + seconds)

    threads = [threading.Thread(target=run, args=(client,)) for client in range(clients)]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.monotonic()
    for thread in threads:
        thread.join()
    return seen([one for client in waits for one in client], time.monotonic() - began)


def in_processes(contender: str, place: str, clients: int, *, seconds: float) -> Seen:
    """Each client as a process of its own; all start together when the last one is ready."""
    argv = [sys.executable, "-m", "benchmarks.audit.client", contender, place]
    running = [
        subprocess.Popen([*argv, str(client), str(seconds)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for client in range(clients)
    ]
    for child in running:
        _line(child)
    for child in running:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    waits: list[float] = []
    for child in running:
        waits += json.loads(_line(child))
        child.wait()
    return seen(waits, seconds)


def _line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        raise RuntimeError("a client of the benchmark ended early")
    return line


def seen(waits: Sequence[float], elapsed: float) -> Seen:
    """The figures of one round."""
    cuts = statistics.quantiles(waits, n=100) if len(waits) > 1 else [*waits] * 99
    return Seen(round(len(waits) / elapsed, 1), round(cuts[49] * 1000, 3), round(cuts[98] * 1000, 3))


def median(rounds: Sequence[Seen]) -> dict[str, Any]:
    """The median of each figure."""
    return {name: statistics.median(getattr(one, name) for one in rounds) for name in Seen.__slots__}
