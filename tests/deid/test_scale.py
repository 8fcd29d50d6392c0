"""Files of any size in bounded memory: pixel bytes pass undecoded, whatever their form, and are proven the same."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from code_streams import in_runs
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG4HP41,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from enclave.deid import source as source_module
from enclave.deid.check import check_output
from enclave.deid.comments import WRITTEN_OVER
from enclave.deid.job import JobSpec, run_job
from enclave.deid.quiet import quiet_parsing
from enclave.deid.reading import read_instance
from enclave.deid.recipe import Recipe, build_recipe
from enclave.deid.source import open_source
from enclave.keys.files import new_symmetric

HEADERS = build_recipe({"options": ["retain_modified_dates", "clean_descriptors"]})
NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
LIMIT_BYTES = 1_500_000_000
NAME = "Zanaryquist"
RUNS = (b"\x7f" + bytes(range(128)) + b"\x81\1", b"\x81\1\x81\0", b"\x7f" + bytes(range(128, 256)) + b"\x80\x81\3")


def image(syntax: UID, *, pixels: bytes, sop: str = "1.2.3.4", rows: int = 16, frames: int = 1) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.2")
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(sop)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    ds.PatientID, ds.PatientName, ds.Modality = "M-4711-22", f"{NAME}^Ida", "CT"
    ds.Rows, ds.Columns, ds.NumberOfFrames = rows, 16, frames
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    ds.add_new(0x7FE00010, "OB", pixels)
    ds["PixelData"].is_undefined_length = syntax.is_encapsulated
    return ds


def encoded(ds: Dataset) -> bytes:
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def run(folder: Path, data: bytes, keyring: Any, recipe: Recipe = HEADERS) -> Any:
    (folder / "in").mkdir()
    (folder / "in" / "a").write_bytes(data)
    return run_job(JobSpec(inputs=[folder / "in"], output=folder / "out", recipe=recipe, keyring=keyring))


def only(folder: Path) -> pydicom.FileDataset:
    (path,) = (folder / "out").rglob("*.dcm")
    return pydicom.dcmread(path)


@pytest.fixture(params=["whole", "in pieces"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of reading a file, on small ones."""
    if request.param == "in pieces":
        monkeypatch.setattr(source_module, "SMALL_BYTES", 64)
        monkeypatch.setattr(source_module, "PIECE_BYTES", 37)
    return str(request.param)


@pytest.mark.parametrize("syntax", NATIVE, ids=lambda uid: uid.name)
@pytest.mark.parametrize("rows", [16, 15])
def test_native_pixel_bytes_are_copied_exactly(syntax: UID, rows: int, way: str, keyring: Any, tmp_path: Path) -> None:
    pixels = bytes((i * 7) % 256 for i in range(rows * 16 * 3))
    ds = image(syntax, pixels=pixels, rows=rows, frames=3)
    ds.add_new(0x7FE11001, "OB", b"hidden behind the pixels")
    ds.add_new(0xFFFCFFFC, "OB", NAME.encode() + b" ")
    job = run(tmp_path, encoded(ds), keyring)
    assert job.report["files_out"] == 1, job.report["reasons"]
    clean = only(tmp_path)
    assert clean.PixelData == pixels
    assert clean.file_meta.TransferSyntaxUID == syntax
    assert 0x7FE11001 not in clean
    assert 0xFFFCFFFC not in clean
    (done,) = job.outcomes
    assert done.pixel_sha256 == hashlib.sha256(pixels).hexdigest()
    assert done.input_sha256 == hashlib.sha256((tmp_path / "in" / "a").read_bytes()).hexdigest()
    assert done.output_sha256 == hashlib.sha256((tmp_path / "out" / done.path).read_bytes()).hexdigest()
    assert check_output(tmp_path / "out", against=[tmp_path / "in"], keyring=keyring, recipe=HEADERS)["ok"]


@pytest.mark.parametrize("syntax", [MPEG4HP41, RLELossless], ids=lambda uid: uid.name)
@pytest.mark.parametrize("table", [True, False], ids=["offsets", "no offsets"])
def test_compressed_pixel_bytes_are_copied_exactly(
    syntax: UID, table: bool, way: str, keyring: Any, tmp_path: Path
) -> None:
    frames = [bytes(range(200)), b"\1" * 77, bytes(300)]
    if syntax == RLELossless:  # 256 samples: as they are, in two runs, in both
        frames = [in_runs(one) for one in RUNS]
    value = encapsulate(frames, has_bot=table)
    ds = image(syntax, pixels=value, frames=3)
    ds.add_new(0x7FE11001, "OB", b"hidden behind the pixels")
    job = run(tmp_path, encoded(ds), keyring)
    assert job.report["files_out"] == 1, job.report["reasons"]
    clean = only(tmp_path)
    assert clean.PixelData == value
    assert clean["PixelData"].is_undefined_length
    assert 0x7FE11001 not in clean
    assert check_output(tmp_path / "out", against=[tmp_path / "in"], keyring=keyring, recipe=HEADERS)["ok"]


def test_a_name_inside_of_compressed_pixel_data_holds_the_file_back(way: str, keyring: Any, tmp_path: Path) -> None:
    samples = NAME.encode().ljust(128, b"\xfe")
    frame = in_runs(b"\x7f" + samples + b"\x81\0")
    job = run(tmp_path, encoded(image(RLELossless, pixels=encapsulate([frame]))), keyring)
    assert job.report["reasons"] == {"residual_identifier": 1}
    assert NAME.encode() not in b"".join(p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert not list((tmp_path / "out").rglob("*.part"))


def test_bytes_behind_the_last_frame_go_and_the_image_stays(way: str, keyring: Any, tmp_path: Path) -> None:
    pixels = bytes(range(256))
    job = run(tmp_path, encoded(image(ExplicitVRLittleEndian, pixels=pixels + b"Room 7 behind the image. ")), keyring)
    assert job.report["files_out"] == 1
    assert only(tmp_path).PixelData == pixels
    assert job.report["redactions"]["bytes behind the image"] == 1
    assert check_output(tmp_path / "out", against=[tmp_path / "in"], keyring=keyring, recipe=HEADERS)["ok"]


def test_a_frame_count_that_is_too_small_loses_no_frame(keyring: Any, tmp_path: Path) -> None:
    pixels = bytes(range(256)) * 3
    run(tmp_path, encoded(image(ExplicitVRLittleEndian, pixels=pixels)), keyring)
    assert only(tmp_path).PixelData == pixels


@pytest.mark.parametrize(
    ("cut", "reason"), [(8, "truncated"), (9, "truncated"), (120, "truncated"), (700, "truncated")]
)
def test_compressed_pixel_data_without_their_end_are_held_back(
    cut: int, reason: str, way: str, keyring: Any, tmp_path: Path
) -> None:
    data = encoded(image(JPEGLSLossless, pixels=encapsulate([bytes(200), bytes(300), bytes(400)])))
    assert run(tmp_path, data[:-cut], keyring).report["reasons"] == {reason: 1}


def test_pixel_data_in_the_wrong_form_for_their_syntax_are_held_back(keyring: Any, tmp_path: Path) -> None:
    data = encoded(image(JPEGLSLossless, pixels=encapsulate([bytes(256)])))
    wrong = data.replace(b"1.2.840.10008.1.2.4.80", b"1.2.840.10008.1.2.1\0\0\0")
    assert run(tmp_path, wrong, keyring).report["reasons"] == {"unreadable": 1}


def test_the_whole_of_a_large_header_is_refused_whatever_length_it_claims(
    monkeypatch: pytest.MonkeyPatch, keyring: Any, tmp_path: Path
) -> None:
    monkeypatch.setattr(source_module, "SMALL_BYTES", 64)
    monkeypatch.setattr(source_module, "MAX_HEADER_BYTES", 100_000)
    ds = image(ExplicitVRLittleEndian, pixels=bytes(256))
    ds.add_new(0x00204000, "LT", "")
    data = encoded(ds)
    at = data.index(b"\x20\x00\x00\x40LT")
    endless = data[:at] + b"\x20\x00\x11\x11SQ\0\0" + struct.pack("<L", 0xFFFFFFFF) + b"\xfe\xff\0\xe0" + bytes(200_000)
    assert set(run(tmp_path, endless, keyring).report["reasons"]) <= {"too_large", "unreadable"}


def test_pixel_bytes_of_all_real_files_are_copied_exactly(
    real_files: Path, keyring: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "SMALL_BYTES", 4096)
    job = run_job(JobSpec(inputs=[real_files], output=tmp_path / "out", recipe=HEADERS, keyring=keyring))
    by_hash = {hashlib.sha256(p.read_bytes()).hexdigest(): p for p in real_files.rglob("*") if p.is_file()}
    syntaxes, cleaned = set(), 0
    for done in job.outcomes:
        if not done.has_pixels or not done.path:
            continue
        with quiet_parsing():
            old = pydicom.dcmread(by_hash[done.input_sha256], force=True)
            new = pydicom.dcmread(tmp_path / "out" / done.path)
            tag = next(tag for tag in (0x7FE00010, 0x7FE00008, 0x7FE00009) if tag in old)
            if any(reason == WRITTEN_OVER for _, reason in done.redactions):
                assert len(new[tag].value) == len(old[tag].value)
                with contextlib.suppress(RuntimeError):  # of the original: nobody decodes twelve bits
                    original = old.pixel_array
                    assert np.array_equal(new.pixel_array, original)
                    cleaned += 1
            else:
                assert new[tag].value == old[tag].value + b"\0" * (len(old[tag].value) % 2)
            syntaxes.add(str(new.file_meta.TransferSyntaxUID))
    assert len(syntaxes) >= 10
    assert cleaned >= 8
    assert "code_stream" not in job.report["reasons"]


def sparse_native(path: Path, *, frames: int) -> int:
    """A multi-frame file of 8 MiB a frame whose frames but the last few bytes take no space on the disk."""
    ds = image(ExplicitVRLittleEndian, pixels=b"\0\0")
    ds.Rows = ds.Columns = 2048
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.NumberOfFrames = 15, frames
    size = 2048 * 2048 * 2 * frames
    data = encoded(ds)[:-6] + struct.pack("<L", size)
    with path.open("wb") as file:
        file.write(data)
        file.truncate(len(data) + size)
        file.seek(-8, os.SEEK_END)
        file.write(b"lastline")
    return size


# A process counts the memory of the one that started it as its own, so a small one starts it.
MEASURE = """
import os, sys
_, status, used = os.wait4(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ), 0)
print(used.ru_maxrss, flush=True)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.slow
def test_a_file_larger_than_memory_allows_passes_in_bounded_memory(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    size = sparse_native(tmp_path / "in" / "large.dcm", frames=270)
    assert size > 2_200_000_000
    new_symmetric(tmp_path / "key")
    (tmp_path / "r.toml").write_text('options = ["retain_modified_dates", "clean_descriptors"]\n')
    last = ("--key-file", tmp_path / "key", "--recipe", tmp_path / "r.toml", "--json", tmp_path / "report")
    for first in (
        ("run", tmp_path / "in", "--output", tmp_path / "out"),
        ("check", tmp_path / "out", "--against", tmp_path / "in"),
    ):
        command = [sys.executable, "-m", "enclave.cli.main", "deid", *map(str, (*first, *last))]
        done = subprocess.run([sys.executable, "-c", MEASURE, *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-500:]
        assert int(done.stdout.splitlines()[-1]) * 1024 < LIMIT_BYTES
    assert json.loads((tmp_path / "report").read_text())["ok"]
    (made,) = (tmp_path / "out").rglob("*.dcm")
    with quiet_parsing(), open_source(made) as source:
        (element,) = read_instance(source).pixels
        assert element.size == size
        source.content.seek(element.end - 8)
        assert source.content.read(8) == b"lastline"
