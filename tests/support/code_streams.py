"""Compressed images of a few kinds, with words where their kind can hold some; the people in them do not exist."""

from __future__ import annotations

import io
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import generate_frames
from pydicom.pixels import set_pixel_data
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
)

from enclave.deid.job import JobSpec, run_job
from enclave.deid.keyring import Keyring
from enclave.deid.recipe import build_recipe

HEADERS = build_recipe({"options": ["retain_modified_dates", "clean_descriptors"]})
SIZE = 64
PATIENT, STRANGER = "Zanaryquist^Ida", b"seen by Oswinthal Brekkeby"  # no attribute names the second
SECRET = PATIENT.encode() + b"; " + STRANGER
Array = np.ndarray[Any, Any]


def picture() -> Array:
    axis = np.linspace(0, 9, SIZE)
    return ((np.sin(axis)[:, None] * np.cos(axis)[None, :] + 1) * 120).astype(np.uint8)


def native() -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.7.2")
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3.4")
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    ds.PatientID, ds.PatientName, ds.Modality = "M-4711-22", PATIENT, "OT"
    set_pixel_data(ds, picture(), "MONOCHROME2", 8)
    return ds


def baseline() -> tuple[UID, bytes]:
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, "jpeg", quality=85)
    return JPEGBaseline8Bit, buffer.getvalue()


def lossless() -> tuple[UID, bytes]:
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, native(), enforce_file_format=True)
    return JPEGLosslessSV1, transcoded(buffer.getvalue())


def transcoded(data: bytes) -> bytes:
    """The code stream that GDCM makes; it reads and writes files only."""
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before", Path(folder) / "after"
        before.write_bytes(data)
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(before))
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFileName(str(after))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return next(generate_frames(pydicom.dcmread(after).PixelData, number_of_frames=1))


def compressed(syntax: UID) -> tuple[UID, bytes]:
    ds = native()
    ds.compress(syntax, generate_instance_uid=False)
    return syntax, next(generate_frames(ds.PixelData, number_of_frames=1))


def jpeg_ls() -> tuple[UID, bytes]:
    return compressed(JPEGLSLossless)


def jpeg_2000() -> tuple[UID, bytes]:
    return compressed(JPEG2000Lossless)


KINDS: tuple[Callable[[], tuple[UID, bytes]], ...] = (baseline, lossless, jpeg_ls, jpeg_2000)


def segment(marker: int, body: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body


def with_words(stream: bytes, words: bytes = SECRET, *, behind: bool = True) -> bytes:
    """The stream with ``words`` wherever one of its kind can hold them, ``behind`` its end too."""
    if stream.startswith(b"\xff\x4f"):
        size = 4 + int.from_bytes(stream[4:6], "big")
        tile = stream.index(b"\xff\x90\x00\x0a")
        comment = segment(0x64, b"\0\1" + words)
        head = bytearray(stream[tile : tile + 12])
        if length := int.from_bytes(head[6:10], "big"):
            head[6:10] = struct.pack(">L", length + len(comment))
        made = stream[:size] + segment(0x64, b"\0\0" + words) + stream[size:tile] + bytes(head) + comment
        made += stream[tile + 12 :]
    else:
        more = segment(0xFE, words) + segment(0xE1, b"Exif\0\0" + words) + segment(0xE0, b"JFXX\0\x10" + words)
        made = stream[:2] + segment(0xFE, words) + stream[2:]
        at = made.index(b"\xff\xda")
        made = made[:at] + more + b"\xff" + made[at:]
    made = made.rstrip(b"\0") + (words if behind else b"")
    return made + b"\0" * (len(made) % 2)


def holding(syntax: UID, value: bytes, *, frames: int = 1) -> Dataset:
    ds = native()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.NumberOfFrames = frames
    ds.PixelData = value
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    return ds


def run(folder: Path, ds: Dataset, keyring: Keyring) -> Any:
    (folder / "in").mkdir()
    pydicom.dcmwrite(folder / "in" / "a.dcm", ds, enforce_file_format=True)
    return run_job(JobSpec(inputs=[folder / "in"], output=folder / "out", recipe=HEADERS, keyring=keyring))


def only(folder: Path) -> pydicom.FileDataset:
    (path,) = (folder / "out").rglob("*.dcm")
    return pydicom.dcmread(path)


def in_runs(*segments: bytes, count: int | None = None, unused: bytes = b"") -> bytes:
    """One frame in run lengths (PS3.5 annex G) of segments that are coded already."""
    offsets, at = [], 64
    for one in segments:
        offsets.append(at)
        at += len(one)
    head = struct.pack("<L", len(segments) if count is None else count)
    head += struct.pack(f"<{len(offsets)}L", *offsets) + unused
    return head.ljust(64, b"\0") + b"".join(segments)
