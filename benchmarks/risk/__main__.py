"""``python -m benchmarks.risk``: risk measures beside pycanon and anjana, paired in one run; prints JSON.

Each call is a process of its own that loads the table first and times one call. The two sides take turns, so that a
busy moment of the machine hits both. What does not end within ``--limit`` seconds is counted as having taken them.
"""

from __future__ import annotations

import argparse
import csv
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
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.risk.people import SENSITIVE, hierarchies, people
from enclave.risk.engine import read_table

ROOT = Path(__file__).parents[2]
PARTS = ("pairs", "append", "search", "adult", "curve")
ADULT = [(5, 0.01), (5, 0.04), (10, 0.01), (10, 0.05), (20, 0.05), (100, 0.05)]  # k, share that may be left out
Trees = dict[str, list[tuple[str, ...]]]
RELEASED = {"age": 2, "zip": 1, "education": 1, "marital": 1}  # levels as a release would have them


def main() -> None:
    """Prints the figures; progress goes to stderr."""
    parser = argparse.ArgumentParser(prog="benchmarks.risk")
    parser.add_argument("--rows", default="30000,100000,1000000")
    parser.add_argument("--curve", default="100000,1000000,10000000")
    parser.add_argument("--search-rows", type=int, default=1_000_000)
    parser.add_argument("--adult", default=os.environ.get("ENCLAVE_SHARED_DATA", ""), help="the folder of adult/")
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
        if "adult" in parts and given.adult:
            report["adult"] = bench.adult(Path(given.adult) / "adult")
        if "curve" in parts:
            report["curve"] = bench.curve([int(n) for n in given.curve.split(",")])
    report["load_at_end"] = os.getloadavg()[0]
    json.dump(report, sys.stdout, indent=2)
    print()


class _Bench:
    def __init__(self, folder: Path, other: str, *, limit_s: float, seed: int) -> None:
        self._folder, self._other, self._limit_s, self._seed = folder, other, limit_s, seed
        self._config = self._settings(hierarchies(), k=10, limit=0.05)

    def _settings(self, trees: Trees, *, k: int, limit: float) -> Path:
        path = self._folder / f"config-{len(trees)}-{k}-{limit:.9f}.json"
        asked = {"qis": list(trees), "sensitive": SENSITIVE, "hierarchies": trees, "k": k, "suppression_limit": limit}
        path.write_text(json.dumps(asked), "utf-8")
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
        """k = 10, at most 5 % left out, from the raw table; keeping the rest, by local recoding, and with fewer."""
        table, trees = self._table(count, node={}), hierarchies()
        found = self._anonymised(table, trees, self._config, k=10, tasks=("rest", "local"))
        own, other = found["enclave"], found["anjana"]
        found |= {part: other[name] / own[name] for part, name in (("ratio", "seconds"), ("cpu_ratio", "cpu_seconds"))}
        if other["ended"] and other["result"]["suppressed"]:
            fewer = self._settings(trees, k=10, limit=(other["result"]["suppressed"] - 1) / count)
            found["enclave_with_fewer_left_out"] = self._own("anonymise", table, settings=fewer)
        return {"rows": count, **found}

    def adult(self, folder: Path) -> dict[str, Any]:
        """The public Adult table, all nine columns identifying, by sizes of class and what may be left out."""
        trees = {
            path.stem.removeprefix("adult_hierarchy_"): [tuple(row) for row in csv.reader(lines, delimiter=";") if row]
            for path in sorted((folder / "adult_hierarchies").glob("*.csv"))
            for lines in (path.read_text("utf-8").splitlines(),)
        }
        table = self._folder / "adult.parquet"
        pq.write_table(read_table(folder / "adult.csv"), table)
        found = {}
        for k, limit in ADULT:
            settings = self._settings(trees, k=k, limit=limit)
            found[f"k {k}, {limit}"] = self._anonymised(table, trees, settings, k=k, tasks=("rest",), rounds=1)
        return found

    def _anonymised(
        self, table: Path, trees: Trees, settings: Path, *, k: int, tasks: tuple[str, ...], rounds: int = 3
    ) -> dict[str, Any]:
        found = {"enclave": self._own("anonymise", table, settings=settings, rounds=rounds)}
        found["anjana"] = self._contender("anonymise", table, settings=settings)
        if found["anjana"]["ended"]:
            found["anjana"]["entropy"] = _entropy(table, trees, found["anjana"]["result"]["node"], k=k)
        more = {f"enclave_{task}": self._own(task, table, settings=settings, rounds=rounds) for task in tasks}
        return found | more

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

    def _own(self, task: str, table: Path, *, settings: Path | None = None, rounds: int = 3) -> dict[str, Any]:
        argv = [sys.executable, "-m", "benchmarks.risk.own", task, str(table), str(settings or self._config)]
        times = 1 if task == "full" else rounds
        found = [self._run(argv, f"enclave {task} {table.stem}") for _ in range(times)]
        return sorted(found, key=lambda one: one["seconds"])[len(found) // 2]

    def _contender(self, task: str, table: Path, *, settings: Path | None = None) -> dict[str, Any]:
        script = str(Path(__file__).with_name("contender.py"))
        argv = [self._other, script, task, str(table), str(settings or self._config)]
        return self._run(argv, f"other {task} {table.stem}")

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


def _entropy(path: Path, trees: Trees, node: dict[str, int], *, k: int) -> dict[str, float]:
    """Of a node, plainly: Σ over cells of −log2(count(v) / count(its group)), and with what is left out as ``*``."""
    raw = pq.read_table(path, columns=list(trees))
    general = pa.table({name: _raised(raw.column(name), trees[name], node[name]) for name in trees})
    rows = pa.array(range(raw.num_rows))
    sizes = general.append_column("row", rows).group_by(list(trees)).aggregate([("row", "list"), ("row", "count")])
    small = sizes.filter(pc.less(sizes.column("row_count"), k)).column("row_list").combine_chunks().flatten()
    cost, lost = 0.0, 0.0
    for name in trees:
        cost += _bits(raw.column(name)) - _bits(general.column(name))
        counts = {one["values"]: one["counts"] for one in general.column(name).value_counts().to_pylist()}
        lost += sum(-math.log2(counts[v] / raw.num_rows) for v in general.column(name).take(small).to_pylist())
    return {"of_node": cost, "with_left_out": cost + lost}


def _raised(column: Any, tree: list[tuple[str, ...]], level: int) -> Any:
    above = {row[0]: row[level] for row in tree}
    coded = column.combine_chunks().dictionary_encode()
    return pa.array([above[value] for value in coded.dictionary.to_pylist()]).take(coded.indices)


def _bits(column: Any) -> float:
    """Σ over cells of −log2(count(v) / rows)."""
    counts = [one["counts"] for one in column.value_counts().to_pylist()]
    return -sum(count * math.log2(count / len(column)) for count in counts)


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
