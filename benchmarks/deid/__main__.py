"""``python -m benchmarks.deid``: makes a cohort, runs all contenders in turns, scores them, prints one JSON object.

With ``--scaling`` also the product alone over long series: processes and a Dask cluster.

Run it with the interpreter of ``.venv-bench`` (``requirements/bench.txt``); the product runs with that of ``.venv``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pyarrow import parquet

from benchmarks.deid.cohort import make_cohort
from benchmarks.deid.scaling import contend, run_scaling, stage_seconds
from benchmarks.deid.score import score
from benchmarks.deid.truth import Truth

_OTHERS = ("dicognito", "dicom-anonymizer", "deid")


def main() -> None:
    """Prints the figures; progress goes to stderr."""
    parser = argparse.ArgumentParser(prog="benchmarks.deid")
    parser.add_argument("--seed", type=int, default=20261122)
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scaling", type=int, default=0, metavar="FILES", help="series of so many files, too")
    parser.add_argument("--narrated", action="store_true", help="reports have sentences, for the language model")
    parser.add_argument("--jobs", default="1,2,dask2", help="how --scaling runs: processes, dask and workers")
    parser.add_argument("--folder", type=Path, help="keep cohort and outputs here")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        source = folder / "in"
        truth = make_cohort(source, seed=given.seed, files=given.files, narrated=given.narrated)
        truth.save(folder / "truth.json")
        runs = _run_rounds(source, folder, rounds=given.rounds)
        found = {name: _score(name, folder / f"{name}-0", truth, source) for name in ("enclave", *_OTHERS)}
        report = _report(given, truth, runs, found)
        if given.scaling:
            jobs = given.jobs.split(",")
            report["scaling"] = run_scaling(
                folder, files=given.scaling, jobs=jobs, seed=given.seed, rounds=given.rounds
            )
        json.dump(report, sys.stdout, indent=2)
        print()


def _run_rounds(source: Path, folder: Path, *, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Each round runs every contender once, so that a busy moment hits all of them alike."""
    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for turn in range(rounds):
        for name in ("enclave", *_OTHERS):
            runs[name].append(contend(name, source, folder / f"{name}-{turn}"))
        for name in (*_OTHERS, "enclave") if turn else ():
            shutil.rmtree(folder / f"{name}-{turn}")
    return runs


def _score(name: str, output: Path, truth: Truth, source: Path) -> dict[str, Any]:
    print(f"score {name}", file=sys.stderr)
    origin = {}
    if (output / "provenance.parquet").exists():
        rows = parquet.read_table(output / "provenance.parquet").to_pylist()
        origin = {row["input_sha256"]: row["output"] for row in rows}
    return score(output, truth=truth, source=source, provenance=origin).summary()


def _report(
    given: argparse.Namespace, truth: Truth, runs: dict[str, list[dict[str, Any]]], found: dict[str, Any]
) -> dict[str, Any]:
    base = runs["dicognito"]
    speed = {
        name: {
            "wall_s": round(statistics.median(run["wall"] for run in many), 3),
            "cpu_s": round(statistics.median(run["cpu"] for run in many), 3),
            "failed": many[0]["failed"],
            "speed_by_wall": _ratio(base, many, "wall"),
            "speed_by_cpu": _ratio(base, many, "cpu"),
        }
        for name, many in runs.items()
    }
    return {
        "seed": given.seed,
        "files": given.files,
        "patients": len(truth.patients),
        "planted": truth.planted,
        "speed": speed,
        "rounds": {name: [round(run["cpu"], 3) for run in many] for name, many in runs.items()},
        "stage_seconds": stage_seconds(runs["enclave"]),
        "scores": found,
        "quarantined": runs["enclave"][0]["report"]["reasons"],
        "readable_quarantined": found["enclave"]["files_missing"],
        "machine": {"cpus": os.cpu_count(), "load": os.getloadavg(), "python": platform.python_version()},
        "versions": {name: version(name) for name in ("dicognito", "dicom-anonymizer", "deid", "pydicom")},
    }


def _ratio(base: list[dict[str, Any]], many: list[dict[str, Any]], key: str) -> float:
    """How many times faster than dicognito: the median over the rounds of the ratio in each round."""
    return round(statistics.median(one[key] / other[key] for one, other in zip(base, many, strict=True)), 2)


if __name__ == "__main__":
    main()
