"""``python -m benchmarks.risk``: risk measures beside pycanon and anjana, paired in one run; prints JSON.

Each call is a process of its own that loads the table first and times one call. The two sides take turns, so that a
busy moment of the machine hits both. What does not end within ``--limit`` seconds is counted as having taken them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.risk.people import QIS, SENSITIVE, hierarchies, people

ROOT = Path(__file__).parents[2]
PARTS = ("pairs", "append", "search", "curve")
RELEASED = {"age": 2, "zip": 1, "education": 1, "marital": 1}  # levels as a release would have them


def main() -> None:
    """Prints the figures; progress goes to stderr."""
    parser = argparse.ArgumentParser(prog="benchmarks.risk")
    parser.add_argument("--rows", default="30000,100000,1000000")
    parser.add_argument("--curve", default="100000,1000000,10000000")
    parser.add_argument("--search-rows", type=int, default=1_000_000)
    parser.add_argument("--limit", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=20261122)
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--other-python", default=str(ROOT / ".venv-bench-risk" / "bin" / "python"))
    given = parser.parse_args()
    parts = given.only.split(",")
    report: dict[str, Any] = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": _machine()}
    with tempfile.TemporaryDirectory() as folder:
        bench = _Bench(Path(folder), given.other_python, limit_s=given.limit, seed=given.seed)
        if "pairs" in parts:
            report["pairs"] = bench.pairs([int(n) for n in given.rows.split(",")])
        if "append" in parts:
            report["append"] = bench.append(given.search_rows)
        if "search" in parts:
            report["search"] = bench.search(given.search_rows)
        if "curve" in parts:
            report["curve"] = bench.curve([int(n) for n in given.curve.split(",")])
    report["load_at_end"] = os.getloadavg()[0]
    json.dump(report, sys.stdout, indent=2)
    print()


class _Bench:
    def __init__(self, folder: Path, other: str, *, limit_s: float, seed: int) -> None:
        self._folder, self._other, self._limit_s, self._seed = folder, other, limit_s, seed
        self._config = self._settings(0.05)

    def _settings(self, limit: float) -> Path:
        path = self._folder / f"config-{limit:.9f}.json"
        trees = hierarchies()
        settings = {"qis": QIS, "sensitive": SENSITIVE, "hierarchies": trees, "k": 10, "suppression_limit": limit}
        path.write_text(json.dumps(settings), "utf-8")
        return path

    def pairs(self, counts: list[int]) -> dict[str, Any]:
        """k, l and t of a table as it would be released, one level up in most columns, at each size."""
        rows: dict[str, Any] = {}
        ratios, in_cpu = [], []
        for count in counts:
            table = self._table(count, node=RELEASED)
            for task in ("k", "l", "t"):
                own, other = self._own(task, table), self._contender(task, table)
                ratio, cpu = (other[part] / own[part] for part in ("seconds", "cpu_seconds"))
                rows[f"{task} of {count}"] = {"enclave": own, "pycanon": other, "ratio": ratio, "cpu_ratio": cpu}
                ratios.append(ratio)
                in_cpu.append(cpu)
        return {
            "measured": rows,
            "geometric_mean": _geometric(ratios),
            "lowest": min(ratios),
            "geometric_mean_cpu": _geometric(in_cpu),
            "lowest_cpu": min(in_cpu),
        }

    def search(self, count: int) -> dict[str, Any]:
        """k = 10, at most 5 % left out, from the raw table; then by local recoding, and with fewer than the other."""
        table = self._table(count, node={})
        own, other = self._own("anonymise", table), self._contender("anonymise", table)
        ratio, cpu = (other[part] / own[part] for part in ("seconds", "cpu_seconds"))
        found = {"rows": count, "enclave": own, "anjana": other, "ratio": ratio, "cpu_ratio": cpu}
        found["enclave_by_local_recoding"] = self._own("local", table)
        if other["ended"]:
            found["non_uniform_entropy_of_anjanas_node"] = _entropy(table, other["result"]["node"])
        if other["ended"] and other["result"]["suppressed"]:
            fewer = self._settings((other["result"]["suppressed"] - 1) / count)
            found["enclave_with_fewer_left_out"] = self._own("anonymise", table, settings=fewer)
        return found

    def append(self, count: int) -> dict[str, Any]:
        """Whether 1,000 new subjects break k = 11, l = 2 and t = 0.9999 of a table that was counted before."""
        return {"rows": count, "enclave": self._own("append", self._table(count, node=RELEASED))}

    def curve(self, counts: list[int]) -> dict[str, Any]:
        """The full assessment by subject, with memory; and cost per n·log2(n), the first size being 1."""
        found = {count: self._own("full", self._table(count, node={})) for count in counts}
        per = {count: one["cpu_seconds"] / (count * math.log2(count)) for count, one in found.items()}
        first = per[counts[0]]
        return {"measured": found, "per_n_log_n": {count: value / first for count, value in per.items()}}

    def _table(self, count: int, *, node: dict[str, int]) -> Path:
        path = self._folder / f"{count}-{len(node)}.parquet"
        if not path.exists():
            table = people(count, seed=self._seed)
            for name, level in node.items():
                raised = {row[0]: row[level] for row in hierarchies()[name]}
                column = table.column(name).combine_chunks().dictionary_encode()
                labels = pa.array([raised[value] for value in column.dictionary.to_pylist()])
                table = table.set_column(table.column_names.index(name), name, labels.take(column.indices))
            pq.write_table(table, path)
        return path

    def _own(self, task: str, table: Path, *, settings: Path | None = None) -> dict[str, Any]:
        argv = [sys.executable, "-m", "benchmarks.risk.own", task, str(table), str(settings or self._config)]
        rounds = [self._run(argv, f"enclave {task} {table.stem}") for _ in range(3 if task != "full" else 1)]
        return sorted(rounds, key=lambda one: one["seconds"])[len(rounds) // 2]

    def _contender(self, task: str, table: Path) -> dict[str, Any]:
        script = str(Path(__file__).with_name("contender.py"))
        return self._run([self._other, script, task, str(table), str(self._config)], f"other {task} {table.stem}")

    def _run(self, argv: list[str], name: str) -> dict[str, Any]:
        before = _children_cpu()
        try:
            done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=self._limit_s, check=False)
        except subprocess.TimeoutExpired:
            found: dict[str, Any] = {"seconds": self._limit_s, "ended": False}
            found["cpu_seconds"] = _children_cpu() - before
        else:
            if done.returncode:
                raise SystemExit(f"{name}: {done.stderr[-2000:]}")
            found = {**json.loads(done.stdout.splitlines()[-1]), "ended": True}
        print(f"{name}: {found['seconds']:.3f} s, {found['cpu_seconds']:.3f} s of processor", file=sys.stderr)
        return found


def _entropy(path: Path, node: dict[str, int]) -> float:
    """What the search minimises, of a node: Σ over cells of −log2(count(v) / count(generalised v)), plainly."""
    table, cost = pq.read_table(path, columns=list(QIS)), 0.0
    for name, level in node.items():
        counts = {str(one["values"]): one["counts"] for one in table.column(name).value_counts().to_pylist()}
        general = {row[0]: row[level] for row in hierarchies()[name]}
        together: dict[str, int] = {}
        for value, count in counts.items():
            together[general[value]] = together.get(general[value], 0) + count
        cost -= sum(count * math.log2(count / together[general[value]]) for value, count in counts.items())
    return cost


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _geometric(values: list[float]) -> float:
    return math.exp(statistics.fmean(math.log(value) for value in values))


def _machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load_at_start": os.getloadavg()[0],
        "duckdb": version("duckdb"),
        "numpy": version("numpy"),
    }


if __name__ == "__main__":
    main()
