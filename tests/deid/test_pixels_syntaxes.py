"""Every compressed syntax that has a decoder: its text is found under the decoders' filter and blank in what leaves."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pyarrow import parquet
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    AllTransferSyntaxes,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from text_images import SIZE, base, deep

from enclave.deid.job import JobSpec, run_job
from enclave.deid.keyring import Keyring
from enclave.deid.recipe import Recipe

DEEP = {"BitsAllocated": 16, "BitsStored": 12, "HighBit": 11}
pytestmark = pytest.mark.slow

INK = 0.75  # of the brightest value
STREAMS = Path(__file__).with_name("streams")
_EIGHT_BITS = b"\xff\xc0\x00\x0b\x08"  # a frame header (SOF0) of one component


def baseline() -> bytes:
    out = io.BytesIO()
    Image.fromarray((deep() >> 4).astype(np.uint8)).save(out, "JPEG", quality=95)
    return out.getvalue()


def by_pydicom(syntax: UID, **how: Any) -> bytes:
    made = base(**DEEP)
    made.add_new(0x7FE00010, "OW", deep().tobytes())
    made.compress(syntax, generate_instance_uid=False, **how)
    (frame,) = pydicom.encaps.generate_frames(made.PixelData, number_of_frames=1)
    return bytes(frame)


def kept(name: str) -> bytes:
    return (STREAMS / f"{name}.bin").read_bytes()


ENCODERS: dict[UID, Callable[[], bytes]] = {
    JPEGBaseline8Bit: baseline,
    JPEGExtended12Bit: baseline,
    JPEGLossless: lambda: kept("jpeg_lossless"),
    JPEGLosslessSV1: lambda: kept("jpeg_lossless_sv1"),
    JPEGLSLossless: lambda: by_pydicom(JPEGLSLossless),
    JPEGLSNearLossless: lambda: by_pydicom(JPEGLSNearLossless, jls_error=4),
    JPEG2000Lossless: lambda: by_pydicom(JPEG2000Lossless),
    JPEG2000: lambda: by_pydicom(JPEG2000, j2k_psnr=[60]),
    HTJ2KLossless: lambda: kept("htj2k_lossless"),
    HTJ2KLosslessRPCL: lambda: kept("htj2k_lossless"),
    HTJ2K: lambda: kept("htj2k"),
    RLELossless: lambda: by_pydicom(RLELossless),
}


def write(path: Path, stream: bytes, *, syntax: UID, number: int = 0) -> FileDataset:
    made = base(syntax=syntax, modality="DX", **({} if _EIGHT_BITS in stream else DEEP))
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = UID(f"1.2.826.0.1.3680043.10.4711.31.{number}")
    made.add_new(0x7FE00010, "OB", encapsulate([stream]))
    made["PixelData"].is_undefined_length = True
    pydicom.dcmwrite(path, made, implicit_vr=False, little_endian=True, enforce_file_format=True)
    return made


@pytest.fixture(scope="module")
def cleaned(tmp_path_factory: pytest.TempPathFactory, keyring: Keyring) -> dict[str, Any]:
    """One job over an image of each syntax: report, and by syntax the input, the output and the boxes."""
    folder = tmp_path_factory.mktemp("syntaxes")
    (folder / "in").mkdir()
    inputs: dict[str, tuple[UID, FileDataset]] = {}
    for number, (syntax, encode) in enumerate(ENCODERS.items()):
        path = folder / "in" / f"{number:02}.dcm"
        made = write(path, encode(), syntax=syntax, number=number)
        inputs[keyring.uid_of(str(made.SOPInstanceUID))] = (syntax, pydicom.dcmread(path))
    job = run_job(JobSpec(inputs=[folder / "in"], output=folder / "out", recipe=Recipe(), keyring=keyring))
    rows = {row["output"]: row for row in parquet.read_table(folder / "out" / "provenance.parquet").to_pylist()}
    found: dict[str, Any] = {"report": job.report}
    for path in (folder / "out" / "dicom").rglob("*.dcm"):
        after = pydicom.dcmread(path)
        syntax, before = inputs[str(after.SOPInstanceUID)]
        redactions = json.loads(rows[path.relative_to(folder / "out").as_posix()]["redactions"])
        boxes = [one["box"] for one in redactions if one["reason"] == "burned-in text"]
        found[syntax] = (before, after, boxes)
    return found


def test_every_syntax_with_a_decoder_is_here() -> None:
    def has_one(syntax: UID) -> bool:
        try:
            return bool(get_decoder(syntax).is_available)
        except NotImplementedError:
            return False

    assert set(ENCODERS) == {syntax for syntax in AllTransferSyntaxes if syntax.is_encapsulated and has_one(syntax)}


def test_none_is_held(cleaned: dict[str, Any]) -> None:
    assert cleaned["report"]["reasons"] == {}


@pytest.mark.row("S13.3")
@pytest.mark.parametrize("syntax", ENCODERS, ids=lambda syntax: syntax.keyword)
def test_the_text_is_blank_and_the_rest_is_as_decoded(cleaned: dict[str, Any], syntax: UID) -> None:
    before, after, boxes = cleaned[syntax]
    inside = np.zeros((SIZE, SIZE), bool)
    for x0, y0, x1, y1 in boxes:
        inside[y0:y1, x0:x1] = True
    original, left = np.asarray(before.pixel_array), np.asarray(after.pixel_array)
    assert not after.file_meta.TransferSyntaxUID.is_compressed
    ink = original >= INK * original.max()
    assert ink.sum() > 500
    assert (inside & ink).sum() >= 0.97 * ink.sum()
    assert np.array_equal(left[~inside], original[~inside])
    assert all(len(np.unique(left[y0:y1, x0:x1])) == 1 for x0, y0, x1, y1 in boxes)


def test_twelve_bits_of_jpeg_extended_which_no_decoder_takes_are_held(tmp_path: Path, keyring: Keyring) -> None:
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "a.dcm", kept("jpeg_extended_12_bits"), syntax=JPEGExtended12Bit)
    job = run_job(JobSpec(inputs=[tmp_path / "in"], output=tmp_path / "out", recipe=Recipe(), keyring=keyring))
    assert job.report["reasons"] == {"pixels_undecodable": 1}
