"""The product over long series, on one process, several, and a Dask cluster: what each more of them gains."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.deid.series import make_series

_ROOT = Path(__file__).parents[2]


def run_scaling(folder: Path, *, files: int, jobs: list[str], seed: int, rounds: int) -> dict[str, Any]:
    """Figures per way of running, medians over rounds in which each ran once; ``gain`` is by wall clock over the first.

    The start of processes counts; a cluster runs before.
    """
    source = folder / "series"
    make_series(source, seed=seed, files=files)
    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for turn in range(rounds):
        for way in jobs:
            output = folder / f"scaling-{way}-{turn}"
            runs[way].append(contend("enclave", source, output, jobs=way))
            shutil.rmtree(output)
    base = runs[jobs[0]]
    return {
        "files": files,
        **{
            way: {
                "wall_s": round(statistics.median(run["wall"] for run in many), 3),
                "cpu_s": round(statistics.median(run["cpu"] for run in many), 3),
                "files_per_s": round(statistics.median(run["files"] / run["wall"] for run in many), 1),
                "gain": round(
                    statistics.median(one["wall"] / run["wall"] for one, run in zip(base, many, strict=True)), 2
                ),
                "failed": max(run["failed"] for run in many),
                "stage_seconds": stage_seconds(many),
            }
            for way, many in runs.items()
        },
    }


def contend(name: str, source: Path, output: Path, *, jobs: str = "1") -> dict[str, Any]:
    """One run of one tool in a process of its own: what ``contender`` prints."""
    print(f"{name} --jobs {jobs}", file=sys.stderr)
    python = _ROOT / (".venv" if name == "enclave" else ".venv-bench") / "bin" / "python"
    done = subprocess.run(
        [python, "-m", "benchmarks.deid.contender", name, source, output, jobs],
        cwd=_ROOT,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def stage_seconds(runs: list[dict[str, Any]]) -> dict[str, float]:
    """The median of each stage, of all processes together."""
    stages: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        for name, seconds in run["report"]["stage_seconds"].items():
            stages[name].append(seconds)
    return {name: round(statistics.median(values), 3) for name, values in stages.items()}
