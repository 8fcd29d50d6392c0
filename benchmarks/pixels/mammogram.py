"""A mammogram larger than any real one, with burned-in lines, through ``enclave deid run``: time, memory, what went.

``python -m benchmarks.pixels --mammogram 20000``. The image is written row by row, so that its making needs no memory.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from benchmarks.pixels.images import Array

_PATCH = 1024  # pixels of texture, repeated
_STRIP = 512
_AIR, _TISSUE, _LEVEL = 40, 1400, 4000
_LINES = ("BRANLUND^ANNELORA", "MRN 4711082", "DOB 12.03.1951", "Valdoria General Hospital", "R CC")
_POINTS = (14, 20, 28, 36)
Box = tuple[int, int, int, int]


def run(side: int) -> dict[str, Any]:
    """Figures of one run; the command is a process of its own, whose peak of memory is that of the largest child."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        boxes = write(folder / "in" / "mg.dcm", side=side)
        command = [sys.executable, "-m", "enclave.cli.main"]
        key, report = folder / "key", folder / "report.json"
        subprocess.run([*command, "deid", "key", "new", str(key)], check=True, stdout=subprocess.DEVNULL)
        start = time.perf_counter()
        done = subprocess.run(
            [
                *(*command, "deid", "run", str(folder / "in"), "--output", str(folder / "out")),
                *("--key-file", str(key), "--json", str(report)),
            ],
            check=False,
            capture_output=True,
        )
        wall = time.perf_counter() - start
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return {
            "side": side,
            "exit": done.returncode,
            "seconds": round(wall, 1),
            "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
            "peak_rss_mib": used.ru_maxrss // 1024,
            "load": os.getloadavg(),
            **_told(report),
            **_judged(folder, boxes),
        }


def write(path: Path, *, side: int) -> list[Box]:
    """An original mammogram of twelve bits with lines at its edges and in the tissue; the boxes of their ink."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.1.2")
    meta.MediaStorageSOPInstanceUID = UID("1.2.826.0.1.3680043.10.4711.20.1")
    made = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    made.StudyInstanceUID, made.SeriesInstanceUID = (
        "1.2.826.0.1.3680043.10.4711.20.2",
        "1.2.826.0.1.3680043.10.4711.20.3",
    )
    made.PatientID, made.Modality, made.Rows, made.Columns = "P-1", "MG", side, side
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PixelRepresentation = 1, "MONOCHROME2", 0
    made.BitsAllocated, made.BitsStored, made.HighBit = 16, 12, 11
    made.PixelData = b"\0\0"
    made.save_as(path, enforce_file_format=True)
    head = path.read_bytes()[:-6]
    lines = _lines(side)
    with path.open("wb") as file:
        file.write(head)
        file.write((2 * side * side).to_bytes(4, "little"))
        for top in range(0, side, _STRIP):
            file.write(_strip(side, top, min(_STRIP, side - top), lines).tobytes())
    return [box for box, _ in lines]


def _strip(side: int, top: int, rows: int, lines: list[tuple[Box, Array]]) -> Array:
    """Rows of the image: a half ellipse of tissue at the left, constant air, and what of the lines is in them."""
    noise = np.random.default_rng(7)
    patch = noise.normal(0, 60, (_PATCH, _PATCH)).astype(np.float32)
    for cells in (8, 32, 128):
        coarse = Image.fromarray(noise.normal(0, 1, (cells, cells)).astype(np.float32))
        patch += 250 / cells**0.3 * np.asarray(coarse.resize((_PATCH, _PATCH), Image.Resampling.BICUBIC))
    y = (np.arange(top, top + rows, dtype=np.float32)[:, None] - side / 2) / (0.45 * side)
    x = np.arange(side, dtype=np.float32)[None, :] / (0.6 * side)
    inside = x * x + y * y <= 1
    texture = patch[np.arange(top, top + rows) % _PATCH][:, np.arange(side) % _PATCH]
    values = np.where(inside, np.clip(_TISSUE + texture, 100, 3500), _AIR).astype("<u2")
    for (x0, y0, x1, y1), ink in lines:
        first, last = max(y0, top), min(y1, top + rows)
        if first < last:
            values[first - top : last - top, x0:x1][ink[first - y0 : last - y0]] = _LEVEL
    return values


def _lines(side: int) -> list[tuple[Box, Array]]:
    """Lines of several sizes on air and on tissue, and their ink."""
    found = []
    for number, (across, down) in enumerate(
        ((0.72, 0.03), (0.7, 0.5), (0.8, 0.93), (0.1, 0.4), (0.2, 0.6), (0.35, 0.5))
    ):
        text, face = _LINES[number % 4], ImageFont.load_default(_POINTS[number % 4])
        left, upper, right, lower = (round(edge) for edge in face.getbbox(text))
        page = Image.new("L", (right - left, lower - upper), 0)
        ImageDraw.Draw(page).text((-left, -upper), text, fill=255, font=face)
        x0, y0 = round(across * side), round(down * side)
        found.append(((x0, y0, x0 + page.width, y0 + page.height), np.asarray(page) > 127))
    return found


def _told(report: Path) -> dict[str, Any]:
    found = json.loads(report.read_text("utf-8")) if report.exists() else {}
    return {name: found.get(name) for name in ("reasons", "redacted_boxes", "stage_seconds")}


def _judged(folder: Path, boxes: list[Box]) -> dict[str, Any]:
    """Which lines are gone, and whether anything beside the recorded boxes differs."""
    written = [path for path in (folder / "out").rglob("*.dcm") if "quarantine" not in path.parts]
    if not written:
        return {"left": False}
    before, after = (_pixels(path) for path in (folder / "in" / "mg.dcm", written[0]))
    gone = 0
    changed = 0
    for x0, y0, x1, y1 in boxes:
        part = np.asarray(after[y0:y1, x0:x1])
        gone += int((part[np.asarray(before[y0:y1, x0:x1]) == _LEVEL] != _LEVEL).mean() >= 0.97)
    for top in range(0, len(before), _STRIP):
        changed += int((np.asarray(before[top : top + _STRIP]) != np.asarray(after[top : top + _STRIP])).sum())
    return {"left": True, "lines": len(boxes), "gone": gone, "changed_share": changed / before.size}


def _pixels(path: Path) -> Any:
    """The samples as they stand in the file, not read."""
    with path.open("rb") as file:
        head = pydicom.dcmread(file, stop_before_pixels=True)
        start = path.stat().st_size - 2 * head.Rows * head.Columns
    return np.memmap(path, "<u2", "r", start, (head.Rows, head.Columns))
