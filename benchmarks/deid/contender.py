"""Runs one tool over a cohort in a process of its own: ``… -m benchmarks.deid.contender NAME SOURCE OUTPUT [JOBS]``.

Prints one JSON line. Time is counted from the first file to the last, after one file and one document to warm up: for
all tools alike.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def main(name: str, source: Path, output: Path, jobs: str = "1") -> None:
    """Runs ``name`` and prints ``wall, cpu, files, failed`` and what the tool itself reports.

    ``jobs`` is a number of processes, or ``dask`` and one of workers: those run before the clock does.
    """
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as warm:  # imports and tables are loaded by first files, for all tools alike
        first = Path(warm) / "in"
        first.mkdir()
        files = sorted(source.rglob("*.dcm"))
        shutil.copy(files[0], first / "first.dcm")
        if documents := [path for path in files if b"%PDF" in path.read_bytes()]:  # what reads sentences is loaded
            shutil.copy(max(documents, key=lambda path: path.stat().st_size), first / "document.dcm")
        (Path(warm) / "out").mkdir()
        _TOOLS[name](first, Path(warm) / "out", 1)()
    with _cluster(jobs) as scheduler:
        work = (
            _enclave(source, output, 1, scheduler=scheduler) if scheduler else _TOOLS[name](source, output, int(jobs))
        )
        wall, cpu = time.perf_counter(), _cpu()
        found = work()
        print(json.dumps({"wall": time.perf_counter() - wall, "cpu": _cpu() - cpu, **found}))


@contextlib.contextmanager
def _cluster(jobs: str) -> Iterator[str]:
    if not jobs.startswith("dask"):
        yield ""
        return
    from distributed import LocalCluster

    workers = int(jobs.removeprefix("dask"))
    with LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster:
        cluster.wait_for_workers(workers)
        yield cluster.scheduler_address


def _cpu() -> float:
    """Processor seconds of this process, of children that ended, and of all that still run below it."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in spent) + _cpu_below(os.getpid())


def _cpu_below(pid: int) -> float:
    """Of the processes below ``pid``, with their own that ended: a pool's workers are children of another process."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()  # from the state on: proc(5) counts it as the third
            parents[int(path.parent.name)] = int(fields[1])
            ticks[int(path.parent.name)] = sum(map(int, fields[11:15]))
    below = {pid}
    while more := {child for child, parent in parents.items() if parent in below} - below:
        below |= more
    return sum(ticks[child] for child in below - {pid}) / os.sysconf("SC_CLK_TCK")


def _each(source: Path, work: Callable[[Path], None]) -> dict[str, Any]:
    failed, files = 0, sorted(path for path in source.rglob("*") if path.is_file())
    for path in files:
        try:
            work(path)
        except Exception:  # noqa: BLE001 - a tool that cannot do a file is counted, not stopped
            failed += 1
    return {"files": len(files), "failed": failed}


def _enclave(source: Path, output: Path, jobs: int, *, scheduler: str = "") -> Callable[[], dict[str, Any]]:
    from enclave.core.secret import Secret
    from enclave.deid.job import JobSpec, run_job
    from enclave.deid.keyring import derive_keyring
    from enclave.deid.profile import DEFAULT_OPTIONS, PIXEL_OPTIONS
    from enclave.deid.recipe import build_recipe

    recipe = build_recipe({"options": [one for one in DEFAULT_OPTIONS if one not in PIXEL_OPTIONS]})
    spec = JobSpec(
        inputs=[source],
        output=output,
        recipe=recipe,
        keyring=derive_keyring(Secret(bytes(range(32)))),
        jobs=jobs,
        scheduler=scheduler,
    )

    def work() -> dict[str, Any]:
        report = run_job(spec).report
        return {"files": report["files_in"], "failed": report["quarantined"], "report": report}

    return work


def _dicognito(source: Path, output: Path, _jobs: int) -> Callable[[], dict[str, Any]]:
    import pydicom
    from dicognito.anonymizer import Anonymizer

    anonymizer = Anonymizer(seed="benchmark")

    def one(path: Path) -> None:
        with pydicom.dcmread(path) as dataset:
            anonymizer.anonymize(dataset)
            dataset.save_as(output / f"{dataset.SOPInstanceUID}.dcm")

    return lambda: _each(source, one)


def _dicom_anonymizer(source: Path, output: Path, _jobs: int) -> Callable[[], dict[str, Any]]:
    from dicomanonymizer.simpledicomanonymizer import anonymize_dicom_file

    return lambda: _each(source, lambda path: anonymize_dicom_file(str(path), str(output / path.name)))


def _deid(source: Path, output: Path, _jobs: int) -> Callable[[], dict[str, Any]]:
    from deid.config import DeidRecipe
    from deid.dicom import replace_identifiers

    recipe = DeidRecipe()

    def one(path: Path) -> None:
        replace_identifiers(
            [str(path)], deid=recipe, save=True, overwrite=True, output_folder=str(output), remove_private=True
        )

    return lambda: _each(source, one)


_TOOLS = {"enclave": _enclave, "dicognito": _dicognito, "dicom-anonymizer": _dicom_anonymizer, "deid": _deid}

if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:])
