"""``python -m benchmarks.audit``: the ledger against two databases; prints one JSON object, progress on stderr."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.audit import contenders
from benchmarks.audit.faults import kill_rounds
from benchmarks.audit.load import Seen, in_processes, in_threads, median
from benchmarks.audit.queries import measure

_TURN = Callable[[Path, int, float], Seen]


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(prog="benchmarks.audit")
    parser.add_argument("--clients", default="1,8,32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of one round of one contender")
    parser.add_argument("--only", default="", help="contenders, separated by semicolons")
    parser.add_argument("--folder", type=Path, help="a disk to measure on; default: the one of temporary files")
    parser.add_argument("--events", type=int, default=1_000_000, help="in the query store; 0 leaves it out")
    parser.add_argument("--kills", type=int, default=100, help="of the daemon under load; 0 leaves it out")
    parser.add_argument("--seed", type=int, default=20261122)
    given = parser.parse_args()
    report: dict[str, Any] = {"machine": _machine()}
    if given.rounds:
        report["append"] = _appends(given)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        if given.events:
            report["query"] = measure(Path(folder) / "year", events=given.events, seed=given.seed, rounds=3)
        if given.kills:
            report["faults"] = kill_rounds(Path(folder) / "faults", rounds=given.kills)
    json.dump(report, sys.stdout, indent=2)
    print()


def _appends(given: argparse.Namespace) -> dict[str, Any]:
    """Each round runs every contender once, so that a busy moment of the machine hits all of them alike."""
    names = [name for name in TURNS if not given.only or name in given.only.split(";")]
    found: dict[str, Any] = {}
    for clients in map(int, given.clients.split(",")):
        rounds: dict[str, list[Seen]] = defaultdict(list)
        for _ in range(given.rounds):
            for name in names:
                with tempfile.TemporaryDirectory(dir=given.folder) as folder:
                    one = TURNS[name](Path(folder), clients, given.seconds)
                rounds[name].append(one)
                print(f"{clients} clients, {name}: {one}", file=sys.stderr)
        found[str(clients)] = {name: median(seen) | _ratio(name, rounds) for name, seen in rounds.items()}
    return found


def _ratio(name: str, rounds: dict[str, list[Seen]]) -> dict[str, float]:
    """Against SQLite of the same round and of the same kind of clients."""
    pair = "sqlite, processes" if name.endswith("processes") else "sqlite, threads"
    if pair not in rounds:
        return {}
    both = zip(rounds[name], rounds[pair], strict=True)
    return {"sqlite_1": round(statistics.median(ours.per_s / theirs.per_s for ours, theirs in both), 2)}


def _threads(opened: Any) -> _TURN:
    def turn(folder: Path, clients: int, seconds: float) -> Seen:
        with opened(folder) as ways:
            return in_threads(ways, clients, seconds=seconds)

    return turn


def _socket(folder: Path, clients: int, seconds: float) -> Seen:
    # A client here is one busy process, not a person: what a person may write is measured by tests.
    home = contenders.make_home(folder / "home", settings=contenders.NO_QUOTA)
    with contenders.daemon(home):
        return in_processes("enclave", str(home.socket("auditd")), clients, seconds=seconds)


def _socket_threads(folder: Path, clients: int, seconds: float) -> Seen:
    home = contenders.make_home(folder / "home", settings=contenders.NO_QUOTA)
    with contenders.daemon(home):
        return in_threads(
            lambda _client: contenders.way_of("enclave", str(home.socket("auditd"))), clients, seconds=seconds
        )


def _sqlite_processes(folder: Path, clients: int, seconds: float) -> Seen:
    path = folder / "records.sqlite"
    contenders.sqlite_way(path)
    return in_processes("sqlite", str(path), clients, seconds=seconds)


TURNS: dict[str, _TURN] = {
    "enclave, threads": _threads(contenders.ledger),
    "sqlite, threads": _threads(contenders.sqlite),
    "duckdb, threads": _threads(contenders.duckdb_direct),
    "enclave, socket threads": _socket_threads,
    "enclave, processes": _socket,
    "sqlite, processes": _sqlite_processes,
}


def _machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "load": [round(one, 2) for one in os.getloadavg()],
        "python": platform.python_version(),
        "duckdb": version("duckdb"),
        "sqlite": sqlite3.sqlite_version,
    }


if __name__ == "__main__":
    main()
