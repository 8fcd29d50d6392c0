"""``python -m benchmarks.kernels``: the product's kernels against plain ipykernel, paired in one run; prints JSON.

Rounds go through all kinds one after the other, so that a busy moment of the machine hits all of them alike.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import platform
import statistics
import sys
import time
from importlib.metadata import version
from typing import Any

from benchmarks.kernels.enclaves import Enclave, Plain, close, enclave, plain, pss_mb, tap_pids

Kind = Plain | Enclave
PARTS = ("cells", "starts", "output", "prints", "interrupt", "idle")
PAUSE_S = 3.0  # before each start, of either kind: nobody starts one kernel after the other without a breath
STREAM = "import sys\nfor _ in range(100): sys.stdout.write('x' * 1048575 + '\\n'); sys.stdout.flush()"
DISPLAY = "for _ in range(100): display({'text/plain': 'x' * 1048576}, raw=True)"
PRINTS = "for i in range(20000): print(i)"
FLUSHED = "for i in range(20000): print(i, flush=True)"
LOOP = "while True: print('x' * 100)"


def main() -> None:
    """Prints the figures; progress goes to stderr."""
    parser = argparse.ArgumentParser(prog="benchmarks.kernels")
    parser.add_argument("--cells", type=int, default=200)
    parser.add_argument("--starts", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=3, help="of 100 MB and of 20,000 prints")
    parser.add_argument("--idle", type=int, default=32, help="idle kernels at once")
    parser.add_argument("--only", default=",".join(PARTS))
    given = parser.parse_args()
    parts = given.only.split(",")
    report: dict[str, Any] = {"machine": _machine()}
    with plain() as bare, enclave("receipt") as real:
        if "cells" in parts:
            with enclave("no receipt", instant_ledger=True) as instant:
                report["cells"] = _cells((bare, instant, real), given.cells)
        if "starts" in parts:
            report["starts"] = _starts((bare, real), given.starts)
        if "output" in parts:
            report["stream"] = _output((bare, real), STREAM, given.rounds)
            report["display"] = _output((bare, real), DISPLAY, given.rounds)
        if "prints" in parts:
            report["prints"] = _output((bare, real), PRINTS, given.rounds)
            report["flushed prints"] = _output((real,), FLUSHED, given.rounds)
        if "interrupt" in parts:
            report["interrupt"] = _interrupts((bare, real), 15)
        if "idle" in parts:
            report["idle"] = _idle(real, given.idle)
    json.dump(report, sys.stdout, indent=2)
    print()


def _cells(kinds: tuple[Kind, ...], cells: int) -> dict[str, Any]:
    with contextlib.ExitStack() as stack:
        clients = {kind.name: _open(stack, kind) for kind in kinds}
        for client in clients.values():
            for _ in range(20):
                _timed(client, "pass")
        turns: dict[str, list[float]] = {name: [] for name in clients}
        for _ in range(cells):
            for name, client in clients.items():
                time.sleep(0.02)  # what a tap does after a cell is over by then, as it is between two cells of a person
                turns[name].append(_timed(client, "pass"))
        rows: dict[str, list[float]] = {}
        for name, client in clients.items():
            rows[name] = [_timed(client, "pass") for _ in range(cells)]
        _say("cells")
    return {"in turns": _added(turns), "one after the other": _added(rows)}


def _added(seconds: dict[str, list[float]]) -> dict[str, Any]:
    base = statistics.median(seconds["plain"])
    return {
        name: {
            "p50_ms": round(1000 * statistics.median(found), 2),
            "p90_ms": round(1000 * statistics.quantiles(found, n=10)[8], 2),
            "added_p50_ms": round(1000 * (statistics.median(found) - base), 2),
        }
        for name, found in seconds.items()
    }


def _starts(kinds: tuple[Kind, ...], starts: int) -> dict[str, Any]:
    seconds: dict[str, list[float]] = {kind.name: [] for kind in kinds}
    for turn in range(starts + 1):
        for kind in kinds:
            time.sleep(PAUSE_S)
            began = time.perf_counter()
            manager, client = kind.start()
            if turn:  # the first only warms the caches
                seconds[kind.name].append(time.perf_counter() - began)
            close(manager, client)
        _say(f"start {turn}")
    return _ratios(seconds)


def _output(kinds: tuple[Kind, ...], code: str, rounds: int) -> dict[str, Any]:
    seconds: dict[str, list[float]] = {kind.name: [] for kind in kinds}
    sizes: dict[str, int] = {}
    for turn in range(rounds):
        for kind in kinds:
            with contextlib.ExitStack() as stack:
                client = _open(stack, kind)
                _timed(client, "pass")
                seen = _Seen()
                began = time.perf_counter()
                client.execute_interactive(code, timeout=300, output_hook=seen)
                seconds[kind.name].append(time.perf_counter() - began)
                sizes[kind.name] = seen.size
        _say(f"output {turn}")
    return _ratios(seconds) | {"shown": sizes}


def _interrupts(kinds: tuple[Kind, ...], times: int) -> dict[str, Any]:
    """From the interrupt to the answer, while the cell prints without end and every core is busy."""
    hogs = [multiprocessing.Process(target=_burn, daemon=True) for _ in range(os.cpu_count() or 1)]
    for hog in hogs:
        hog.start()
    seconds: dict[str, list[float]] = {kind.name: [] for kind in kinds}
    try:
        for kind in kinds:
            with contextlib.ExitStack() as stack:
                manager, client = kind.start()
                stack.callback(close, manager, client)
                for _ in range(times):
                    sent = client.execute(LOOP)
                    time.sleep(0.3)
                    began = time.perf_counter()
                    manager.interrupt_kernel()
                    while client.get_shell_msg(timeout=60)["parent_header"].get("msg_id") != sent:
                        pass
                    seconds[kind.name].append(time.perf_counter() - began)
                    while client.get_iopub_msg(timeout=60)["content"].get("execution_state") != "idle":
                        pass
    finally:
        for hog in hogs:
            hog.kill()
    return {
        name: {"p50_s": round(statistics.median(found), 3), "max_s": round(max(found), 3)}
        for name, found in seconds.items()
    }


def _idle(kind: Enclave, number: int) -> dict[str, Any]:
    with contextlib.ExitStack() as stack:
        for count in range(number):
            client = _open(stack, kind)
            _timed(client, "pass")
            if count % 8 == 7:
                _say(f"{count + 1} kernels")
        sizes = [pss_mb(pid) for pid in tap_pids(kind.launcher_pid)]
    return {"taps": len(sizes), "pss_mb_median": round(statistics.median(sizes), 1), "pss_mb_max": round(max(sizes), 1)}


def _ratios(seconds: dict[str, list[float]]) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: {"p50_s": round(statistics.median(each), 3), "n": len(each)} for name, each in seconds.items()
    }
    if {"plain", "receipt"} <= seconds.keys():
        pairs = zip(seconds["receipt"], seconds["plain"], strict=True)
        found["ratio_of_pairs"] = round(statistics.median(a / b for a, b in pairs), 3)
    return found


class _Seen:
    """Counts the characters that a cell showed."""

    def __init__(self) -> None:
        self.size = 0

    def __call__(self, message: dict[str, Any]) -> None:
        content = message["content"]
        self.size += len(content.get("text", "")) + len(content.get("data", {}).get("text/plain", ""))


def _open(stack: contextlib.ExitStack, kind: Kind) -> Any:
    manager, client = kind.start()
    stack.callback(close, manager, client)
    return client


def _timed(client: Any, code: str) -> float:
    began = time.perf_counter()
    client.execute_interactive(code, timeout=60, output_hook=_nothing)
    return time.perf_counter() - began


def _nothing(_: Any) -> None:
    """Shows nothing."""


def _burn() -> None:
    while True:
        pass


def _say(words: str) -> None:
    print(words, file=sys.stderr)


def _machine() -> dict[str, Any]:
    return {
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "pyzmq": version("pyzmq"),
        "jupyter_client": version("jupyter_client"),
    }


if __name__ == "__main__":
    main()
