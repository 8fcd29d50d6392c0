"""How work is cut for several processes, and how those begin: the same bytes whichever way."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave.deid.job import JobSpec, run_job
from enclave.deid.pools import batches

MEBIBYTE = 1 << 20


def tasks_of(sizes: list[int]) -> list[tuple[int, Path, str]]:
    return [(index, Path(f"{index}"), f"{'0' * 64}:{size}:1") for index, size in enumerate(sizes)]


@given(st.lists(st.integers(1, 40 * MEBIBYTE), max_size=300), st.integers(1, 64))
def test_each_file_is_in_one_batch_and_no_batch_grows_beyond_a_few_large_or_many_small_ones(
    sizes: list[int], workers: int
) -> None:
    tasks = tasks_of(sizes)
    cut = list(batches(tasks, workers=workers))
    assert [task for batch in cut for task in batch] == tasks
    assert all(0 < len(batch) <= 32 for batch in cut)
    for batch in cut:
        assert sum(sizes[index] for index, _, _ in batch[:-1]) < 8 * MEBIBYTE


@given(st.integers(1, 4_000), st.integers(1, 16))
def test_many_small_files_make_few_batches_and_the_last_ones_are_small(files: int, workers: int) -> None:
    cut = [len(batch) for batch in batches(tasks_of([50_000] * files), workers=workers)]
    assert len(cut) <= files // 32 + 8 * workers * 6 + 1
    assert max(cut[-workers:]) <= max(1, files // (8 * workers))


@pytest.fixture
def beside(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What stands beside the job in its process: nothing, another thread, a library with threads of its own."""
    over = threading.Event()
    if request.param == "a thread":
        threading.Thread(target=over.wait, daemon=True).start()
    if request.param == "a library with threads":
        monkeypatch.setitem(sys.modules, "onnxruntime", types.ModuleType("onnxruntime"))
    yield request.param
    over.set()


@pytest.mark.parametrize("beside", ["nothing", "a thread", "a library with threads"], indirect=True)
def test_two_processes_give_the_same_bytes_as_one_whatever_stands_beside_the_job(
    beside: str, source: Any, keyring: Any, headers_recipe: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number, path in enumerate(sorted((source[0] / "dicom").rglob("*.dcm"))[:40]):
        (folder / f"{number}.dcm").write_bytes(path.read_bytes())
    recipe = replace(headers_recipe, tables={})
    results = []
    for jobs in (1, 2):
        out = tmp_path / str(jobs)
        run_job(JobSpec(inputs=[folder], output=out, recipe=recipe, keyring=keyring, jobs=jobs))
        results.append({p.relative_to(out).as_posix(): p.read_bytes() for p in (out / "dicom").rglob("*.dcm")})
    assert results[0] == results[1]
    assert len(results[0]) == 40


# Begun as intaked is, with a thread beside; its pool says which models a worker has before it has done anything.
FORKED_WITH_MODELS = """
import json, threading
from pathlib import Path
from enclave.deid.pools import Processes

LOADED = "[m.open_network.cache_info().currsize, n.open_analyzer.cache_info().currsize]"
IN_WORKER = f"exec('import enclave.detectors.pixel_text.network as m, enclave.detectors.model as n') or {LOADED}"
if __name__ == "__main__":
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    pool = Processes(1, models=["enclave.deid.preload_text", "enclave.deid.preload_pixels"])
    with pool._executor(None) as executor:
        loaded = executor.submit(eval, IN_WORKER, {}).result()
    import enclave.deid.preload
    before = len(list(Path("/proc/self/task").iterdir()))
    import enclave.deid.preload_text, enclave.deid.preload_pixels
    print(json.dumps([loaded, len(list(Path("/proc/self/task").iterdir())) - before]))
"""


def test_workers_beside_threads_are_forked_with_the_models_loaded_which_start_no_thread() -> None:
    """A thread of a model would be missing in the fork, with whatever lock it held."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", FORKED_WITH_MODELS], capture_output=True, text=True, timeout=110, check=True
    )
    assert json.loads(done.stdout) == [[1, 1], 0]
