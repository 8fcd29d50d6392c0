"""Jobs that are killed, and clusters that lose a worker: nothing lost, nothing done twice, the same bytes."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from optional import need
from PIL import Image, ImageDraw, ImageFont
from pyarrow import parquet

from enclave.core.errors import ConflictError, InvalidError, UnavailableError
from enclave.deid import provenance
from enclave.deid.commit import STAGING
from enclave.deid.job import JobSpec, run_job
from enclave.deid.journal import NAME, Journal
from enclave.deid.recipe import build_recipe
from enclave.keys.files import new_symmetric

KILLS = 7
RADIOGRAPHS = 8


def contents(folder: Path) -> dict[str, bytes]:
    """All that a job leaves but its own memory, by name; what a kill may leave over would show here."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != NAME
    }


def remembered(folder: Path) -> list[dict[str, Any]]:
    path = folder / NAME
    lines = path.read_bytes().split(b"\n")[1:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def journaled(folder: Path) -> list[int]:
    return [fields["index"] for fields in remembered(folder) if "looked" not in fields]


def looked(folder: Path) -> list[int]:
    return [fields["looked"]["index"] for fields in remembered(folder) if "looked" in fields]


@pytest.fixture
def few(source: Any, tmp_path: Path) -> Path:
    """The radiographs of some patients, each of which the text network looks at."""
    folder = tmp_path / "in"
    folder.mkdir()
    for path in sorted((source[0] / "dicom").glob("*/*_CR/*.dcm"))[:RADIOGRAPHS]:
        shutil.copy(path, folder / path.name)
    return folder


@pytest.fixture
def twins(source: Any, tmp_path: Path) -> Path:
    """Some patients of the cohort, some of their files twice, one with other content under its UID."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number, path in enumerate(sorted((source[0] / "dicom").rglob("*.dcm"))[:90]):
        data = path.read_bytes()
        (folder / f"{number:03d}.dcm").write_bytes(data)
        if number % 9 == 0:
            (folder / f"{number:03d}-again.dcm").write_bytes(data)
            (folder / f"{number:03d}-other.dcm").write_bytes(data.replace(b"CT CHEST", b"CT ABDOM"))
    (folder / "broken.dcm").write_bytes(data[:-100])
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_job_killed_at_any_moment_ends_as_if_it_never_was(jobs: int, twins: Path, tmp_path: Path) -> None:
    new_symmetric(tmp_path / "key")
    (tmp_path / "r.toml").write_text(
        'options = ["retain_modified_dates", "clean_descriptors"]\n[canaries]\ncount = 1\n'
    )
    chance = random.Random(jobs)

    def command(output: Path, *more: str) -> list[str]:
        fixed = ("--key-file", tmp_path / "key", "--recipe", tmp_path / "r.toml", "--jobs", jobs)
        arguments = map(str, ("run", twins, "--output", output, *fixed, *more))
        return [sys.executable, "-m", "enclave.cli.main", "deid", *arguments]

    done = subprocess.run(command(tmp_path / "whole"), capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    reached = []
    for _ in range(KILLS):
        child = subprocess.Popen(
            command(tmp_path / "killed", "--resume"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        already = len(journaled(tmp_path / "killed"))
        wanted = already + chance.randrange(0, 22)
        until = time.monotonic() + 60
        while len(journaled(tmp_path / "killed")) <= wanted and child.poll() is None and time.monotonic() < until:
            time.sleep(0.002)
        time.sleep(chance.random() * 0.01)
        child.kill()
        _, words = child.communicate()
        assert child.returncode in (-signal.SIGKILL, 3), words
        reached.append(len(journaled(tmp_path / "killed")))
    assert reached[0] < reached[-1]
    report = tmp_path / "report"
    last = subprocess.run(
        command(tmp_path / "killed", "--resume", "--json", str(report)), capture_output=True, text=True, check=False
    )
    assert last.returncode == 3, last.stderr
    whole, killed = contents(tmp_path / "whole"), contents(tmp_path / "killed")
    assert set(killed) == set(whole)
    assert [name for name in whole if killed[name] != whole[name]] == []
    assert set(Counter(journaled(tmp_path / "killed")).values()) == {1}
    counts = json.loads(report.read_text())
    assert counts["files_in"] == counts["files_out"] + counts["quarantined"] == 90 + 20 + 1
    assert counts["reasons"]["duplicate_identical"] >= 10
    assert counts["reasons"]["duplicate_sop_uid"] > 0
    rows = parquet.read_table(tmp_path / "killed" / "provenance.parquet").to_pylist()
    assert sorted(row["output"] for row in rows) == sorted(name for name in killed if name.startswith("dicom/"))


def test_workers_end_with_the_job_that_was_killed(few: Path, tmp_path: Path) -> None:
    new_symmetric(tmp_path / "key")
    arguments = ("run", few, "--output", tmp_path / "out", "--key-file", tmp_path / "key", "--jobs", "2")
    child = subprocess.Popen(
        [sys.executable, "-m", "enclave.cli.main", "deid", *map(str, arguments)], stderr=subprocess.DEVNULL
    )
    until = time.monotonic() + 60
    while not looked(tmp_path / "out") and time.monotonic() < until:
        time.sleep(0.005)
    family = descendants(child.pid)
    child.kill()
    child.wait()
    assert len(family) >= 2
    until = time.monotonic() + 60
    while any(alive(pid) for pid in family) and time.monotonic() < until:
        time.sleep(0.05)
    assert not [pid for pid in family if alive(pid)]


@pytest.mark.slow
def test_what_a_killed_job_left_is_below_its_output_and_gone_after_the_next_one_which_looks_at_nothing_twice(
    few: Path, tmp_path: Path
) -> None:
    new_symmetric(tmp_path / "key")
    (tmp_path / "r.toml").write_text("[canaries]\ncount = 3\n")
    (tmp_path / "tmp").mkdir()
    arguments = ("run", few, "--output", tmp_path / "out", "--recipe", tmp_path / "r.toml", "--resume")
    command = [sys.executable, "-m", "enclave.cli.main", "deid", *map(str, arguments)]
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    child = subprocess.Popen(
        [*command, "--key-file", str(tmp_path / "key")], stderr=subprocess.DEVNULL, env=environment
    )
    until = time.monotonic() + 60
    while len(looked(tmp_path / "out")) < 2 and time.monotonic() < until:
        time.sleep(0.005)
    child.kill()
    child.wait()
    before = looked(tmp_path / "out")
    assert 2 <= len(before) < RADIOGRAPHS
    assert list((tmp_path / "out" / STAGING).glob("*/canaries/in/dicom/*"))
    assert not list((tmp_path / "tmp").iterdir())
    subprocess.run([*command, "--key-file", str(tmp_path / "key")], capture_output=True, check=True, env=environment)
    assert not (tmp_path / "out" / STAGING).exists()
    assert not list((tmp_path / "tmp").iterdir())
    after = looked(tmp_path / "out")
    assert after[: len(before)] == before
    assert sorted(after) == sorted(journaled(tmp_path / "out")) == list(range(RADIOGRAPHS))


@pytest.mark.slow
def test_an_image_that_changed_since_it_was_looked_at_is_looked_at_again(
    few: Path, keyring: Any, tmp_path: Path
) -> None:
    spec = JobSpec(inputs=[few], output=tmp_path / "out", recipe=build_recipe({}), keyring=keyring)

    def stop(done: int, _total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(replace(spec, looking=stop))
    seen = next(line["looked"] for line in remembered(tmp_path / "out") if line.get("looked", {}).get("boxes"))
    changed = sorted(few.iterdir())[seen["index"]]
    pixels = pydicom.dcmread(changed)
    pixels.PixelData = bytes(len(pixels.PixelData))  # same header, so the job is the same
    pixels.save_as(changed)
    run_job(replace(spec, resume=True))
    assert Counter(looked(tmp_path / "out")) == {**dict.fromkeys(range(RADIOGRAPHS), 1), seen["index"]: 2}
    last = [
        line["looked"]
        for line in remembered(tmp_path / "out")
        if "looked" in line and line["looked"]["index"] == seen["index"]
    ]
    assert last[-1]["boxes"] == []


def with_text(path: Path) -> bytes:
    """Writes a line into the pixels of the file at ``path``; its header, size and time stay. Gives the new pixels."""
    state = path.stat()
    image = pydicom.dcmread(path)
    page = Image.fromarray(np.random.default_rng(5).integers(20, 44, (image.Rows, image.Columns)).astype(np.uint8))
    ImageDraw.Draw(page).text((8, 8), "OSWINTHAL BREKKEBY", fill=250, font=ImageFont.load_default(20))
    pixels = np.asarray(page).astype(np.uint8 if image.BitsAllocated == 8 else np.uint16)
    data = path.read_bytes()
    assert data.count(bytes(image.PixelData)) == 1
    path.write_bytes(data.replace(bytes(image.PixelData), pixels.tobytes()))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert path.stat().st_size == state.st_size
    return pixels.tobytes()


@pytest.fixture
def plain(source: Any, tmp_path: Path) -> Path:
    """Five radiographs of one device without any text in them."""
    folder = tmp_path / "in"
    folder.mkdir()
    image = pydicom.dcmread(next(iter(sorted((source[0] / "dicom").glob("*/*_CR/*.dcm")))))
    image.Rows = image.Columns = 192
    image.Manufacturer, image.ManufacturerModelName = "Maker", "Scan 9"
    grey = np.random.default_rng(5).integers(20, 44, (192, 192))
    image.PixelData = grey.astype(np.uint8 if image.BitsAllocated == 8 else np.uint16).tobytes()
    for number in range(5):
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.3680043.10.4711.7.{number}"
        image.save_as(folder / f"{number}.dcm")
    return folder


def test_pixels_that_changed_under_the_same_header_size_and_time_are_looked_at_when_a_job_goes_on(
    plain: Path, keyring: Any, tmp_path: Path
) -> None:
    spec = JobSpec(inputs=[plain], output=tmp_path / "out", recipe=build_recipe({}), keyring=keyring)

    def stop(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(replace(spec, progress=stop))
    assert sorted(looked(tmp_path / "out")) == list(range(5))
    new = with_text(plain / "2.dcm")
    job = run_job(replace(spec, resume=True))
    assert Counter(looked(tmp_path / "out")) == {0: 1, 1: 1, 2: 2, 3: 1, 4: 1}
    assert job.report["redacted_boxes"] or job.report["quarantined"]
    assert not [path for path in (tmp_path / "out").rglob("*.dcm") if pydicom.dcmread(path).PixelData == new]


@pytest.mark.slow
def test_pixels_that_changed_between_a_look_and_the_cleaning_are_looked_at_again(
    plain: Path, keyring: Any, tmp_path: Path
) -> None:
    new = b""

    def change(done: int, total: int) -> None:
        nonlocal new
        if done == total:
            new = with_text(plain / "2.dcm")

    spec = JobSpec(inputs=[plain], output=tmp_path / "out", recipe=build_recipe({}), keyring=keyring, looking=change)
    job = run_job(spec)
    assert new
    assert job.report["redacted_boxes"] or job.report["quarantined"]
    assert not [path for path in (tmp_path / "out").rglob("*.dcm") if pydicom.dcmread(path).PixelData == new]


@pytest.mark.parametrize("damage", ["in the output", "in the input", "cut off", "a link", "gone"])
def test_a_finished_file_is_kept_only_while_its_bytes_and_those_it_came_from_are_the_same(
    damage: str, twins: Path, keyring: Any, headers_recipe: Any, tmp_path: Path
) -> None:
    recipe = replace(headers_recipe, tables={})
    spec = JobSpec(inputs=[twins], output=tmp_path / "out", recipe=recipe, keyring=keyring, resume=True)
    before = run_job(spec)
    whole = contents(tmp_path / "out")
    name, path = next((name, path) for name, path in before.sources.items() if path.name == "001.dcm")
    (index,) = [one.index for one in before.outcomes if one.path == name]
    damaged = tmp_path / "out" / name
    data, state = damaged.read_bytes(), path.stat()
    if damage == "in the output":
        damaged.write_bytes(data[:-2] + bytes([data[-2] ^ 1, data[-1]]))
    elif damage == "in the input":
        path.write_bytes(path.read_bytes()[:-2] + b"\x7f\x01")
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    elif damage == "cut off":
        damaged.write_bytes(data[:-100])
    elif damage == "a link":
        damaged.rename(tmp_path / "elsewhere.dcm")
        damaged.symlink_to(tmp_path / "elsewhere.dcm")
    else:
        damaged.unlink()
    run_job(spec)
    assert Counter(journaled(tmp_path / "out"))[index] == 2
    assert Counter(journaled(tmp_path / "out")).total() == len(before.outcomes) + 1
    after = contents(tmp_path / "out")
    assert not damaged.is_symlink()
    assert (after[name] == whole[name]) == (damage != "in the input")
    assert after[name][-2:] == (b"\x7f\x01" if damage == "in the input" else whole[name][-2:])


def descendants(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found += [int(stat.parent.name), *descendants(int(stat.parent.name))]
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_two_jobs_cannot_share_a_folder(tmp_path: Path) -> None:
    first = Journal(tmp_path)
    with pytest.raises(ConflictError):
        Journal(tmp_path)
    first.close()
    Journal(tmp_path).close()


def test_a_journal_torn_in_its_first_or_last_line_is_taken_up(tmp_path: Path) -> None:
    first = b'{"job": "d", "software": "s"}\n'
    for torn in (b"", b'{"jo', first + b'{"index', first):
        (tmp_path / NAME).write_bytes(torn)
        journal = Journal(tmp_path)
        journal.begin("d", software="s")
        journal.close()
        assert (tmp_path / NAME).read_bytes() == first


def test_resuming_over_another_input_is_a_conflict(
    twins: Path, keyring: Any, headers_recipe: Any, tmp_path: Path
) -> None:
    recipe = replace(headers_recipe, tables={})
    spec = JobSpec(inputs=[twins], output=tmp_path / "out", recipe=recipe, keyring=keyring, resume=True)
    run_job(spec)
    (twins / "000-again.dcm").unlink()
    with pytest.raises(ConflictError):
        run_job(spec)


@pytest.mark.parametrize("changed", ["enclave", "pypdf", "text network", "language model", "table", "types"])
def test_resuming_after_the_software_changed_is_a_conflict_that_says_so(
    changed: str, twins: Path, keyring: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "few"
    folder.mkdir()
    shutil.copy(twins / "broken.dcm", folder)
    recipe = build_recipe({"long_text": "detectors"})
    spec = JobSpec(inputs=[folder], output=tmp_path / "out", recipe=recipe, keyring=keyring, resume=True)
    run_job(spec)
    run_job(spec)
    before = contents(tmp_path / "out")
    real = provenance.version

    def other(name: str) -> str:
        return "99.0" if name == changed else real(name)

    monkeypatch.setattr(provenance, "version", other)
    for name, place in (
        ("text network", "journal.check_models"),
        ("language model", "provenance.check_model"),
        ("table", "journal.table_edition"),
        ("types", "provenance.types_edition"),
    ):
        if name == changed:
            monkeypatch.setattr(f"enclave.deid.{place}", lambda *_: "0" * 64)
    with pytest.raises(ConflictError) as caught:
        run_job(spec)
    assert caught.value.code == "software_changed"
    assert "model was changed since" in caught.value.message
    assert contents(tmp_path / "out") == before


def test_a_journal_that_says_nothing_of_its_software_is_not_taken_up(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b'{"job": "d"}\n')
    journal = Journal(tmp_path)
    with pytest.raises(ConflictError) as caught:
        journal.begin("d", software="s")
    journal.close()
    assert caught.value.code == "software_changed"


def test_a_file_whose_pixels_changed_between_two_runs_is_made_again(
    twins: Path, keyring: Any, headers_recipe: Any, tmp_path: Path
) -> None:
    recipe = replace(headers_recipe, tables={})
    spec = JobSpec(inputs=[twins], output=tmp_path / "out", recipe=recipe, keyring=keyring, resume=True)
    before = run_job(spec)
    path = twins / "001.dcm"
    data = path.read_bytes()
    time.sleep(0.01)
    path.write_bytes(data[:-2] + b"\x7f\x01")
    again = run_job(spec)
    changed = [
        (old, new)
        for old, new in zip(before.outcomes, again.outcomes, strict=True)
        if old.output_sha256 != new.output_sha256
    ]
    assert len(changed) == 1
    assert changed[0][0].path == changed[0][1].path


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_full_disk_ends_the_job_and_holds_no_file_back_for_it(
    jobs: int, twins: Path, keyring: Any, headers_recipe: Any, tmp_path: Path
) -> None:
    recipe = replace(headers_recipe, tables={})
    spec = JobSpec(inputs=[twins], output=tmp_path / "out", recipe=recipe, keyring=keyring, jobs=jobs, resume=True)
    largest = max(path.stat().st_size for path in twins.iterdir())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest // 2, before[1]))  # as a full disk, for this process's files
    try:
        with pytest.raises(UnavailableError) as caught:
            run_job(replace(spec, jobs=1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.code == "output_full"
    whole = run_job(spec)
    assert whole.report["files_in"] == whole.report["files_out"] + whole.report["quarantined"]
    assert "failed" not in whole.report["reasons"]


# ── Dask ────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_loses_and_doubles_nothing(
    twins: Path, keyring: Any, headers_recipe: Any, tmp_path: Path
) -> None:
    need("dask")
    from distributed import LocalCluster

    recipe = replace(headers_recipe, tables={})
    here = JobSpec(inputs=[twins], output=tmp_path / "here", recipe=recipe, keyring=keyring)
    run_job(here)
    killed: list[int] = []
    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=str(tmp_path / "dask")
    ) as cluster:

        def kill(done: int, _total: int) -> None:
            if done >= 12 and not killed:
                killed.append(next(iter(cluster.workers.values())).pid)
                os.kill(killed[0], signal.SIGKILL)

        there = replace(here, output=tmp_path / "there", scheduler=cluster.scheduler_address, progress=kill)
        result = run_job(there)
    assert killed
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    assert set(Counter(journaled(tmp_path / "there")).values()) == {1}
    assert result.report["files_in"] == result.report["files_out"] + result.report["quarantined"]


def test_a_scheduler_that_is_none_is_an_error_that_says_so(
    twins: Path, keyring: Any, headers_recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("dask")
    monkeypatch.setattr("enclave.deid.cluster._CONNECT_S", 1)
    spec = JobSpec(inputs=[twins], output=tmp_path / "o", recipe=replace(headers_recipe, tables={}), keyring=keyring)
    with pytest.raises(UnavailableError):
        run_job(replace(spec, scheduler="tcp://127.0.0.1:9"))
    with pytest.raises(InvalidError):
        run_job(replace(spec, scheduler="file:///x"))
    assert not (tmp_path / "o").exists()
