"""Pixels that nobody can look at are held back with a reason; no header makes the job fail or text pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG2MPML,
    UID,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from enclave.deid.job import JobSpec, run_job
from enclave.deid.keyring import Keyring
from enclave.deid.looking import frames_of, look_at, passes_gate
from enclave.deid.pixel_data import check_pixels, trim
from enclave.deid.reading import read_instance
from enclave.deid.reasons import REASONS, Quarantined
from enclave.deid.recipe import Recipe
from enclave.deid.source import open_source
from enclave.detectors.pixel_text.boxes import Box
from enclave.detectors.pixel_text.network import Array, Candidate

SIDE = 32
LOOKED_AT = {
    "pixels_crowded",
    "pixels_irregular",
    "pixels_undecodable",
    "pixels_too_large",
    "truncated",
    "unreadable",
    "pixel_text_disagreement",
}


def image(data: bytes, *, syntax: UID = ExplicitVRLittleEndian, **attributes: Any) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = UID("1.2.840.10008.5.1.4.1.1.7"), syntax
    meta.MediaStorageSOPInstanceUID = UID("1.2.826.0.1.3680043.10.4711.5.1")
    made = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    made.StudyInstanceUID, made.SeriesInstanceUID = "1.2.826.0.1.3680043.10.4711.5.2", "1.2.826.0.1.3680043.10.4711.5.3"
    made.PatientID, made.PatientName, made.Modality = "MRN4810488", "Branlund^Anne", "OT"
    made.Rows = made.Columns = SIDE
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    for name, value in attributes.items():
        setattr(made, name, value)
    made.add_new(0x7FE00010, "OB", encapsulate([data]) if syntax.is_compressed else data + b"\0" * (len(data) % 2))
    if syntax.is_compressed:
        made["PixelData"].is_undefined_length = True
    return made


def texture(count: int = SIDE * SIDE) -> bytes:
    return np.random.default_rng(1).integers(0, 255, count, dtype=np.uint8).tobytes()


def reasons(folder: Path, made: FileDataset, keyring: Keyring) -> dict[str, int]:
    (folder / "in").mkdir(exist_ok=True)
    made.save_as(folder / "in" / "a.dcm", enforce_file_format=True)
    spec = JobSpec(inputs=[folder / "in"], output=folder / "out", recipe=Recipe(), keyring=keyring)
    return dict(run_job(spec).report["reasons"])


@pytest.mark.row("S13.3")
@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        ({"SamplesPerPixel": 3}, "truncated"),
        ({"Rows": 65_535, "Columns": 65_535}, "truncated"),
        ({"Rows": 0}, "pixels_irregular"),
        ({"BitsAllocated": 12, "BitsStored": 12, "HighBit": 11, "Rows": 16}, "pixels_irregular"),
        ({"BitsStored": 9}, "pixels_irregular"),
        ({"HighBit": 3}, "pixels_irregular"),
        ({"PhotometricInterpretation": "RGB"}, "pixels_irregular"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "pixels_irregular"),
        ({"PhotometricInterpretation": "ARGB"}, "pixels_irregular"),
    ],
    ids=str,
)  # fmt: skip
def test_a_header_that_lies_holds_the_image_back(
    lie: dict[str, Any], reason: str, tmp_path: Path, keyring: Keyring
) -> None:
    assert reasons(tmp_path, image(texture(), **lie), keyring) == {reason: 1}


@pytest.mark.row("S13.3")
@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize(("bits", "stored"), [(32, 32), (32, 20), (64, 64), (64, 40)])
def test_text_in_wide_integers_is_blanked(
    bits: int, stored: int, signed: int, tmp_path: Path, keyring: Keyring
) -> None:
    page = Image.new("L", (256, 128), 0)
    ImageDraw.Draw(page).text((20, 40), "BRANLUND 4711", fill=255, font=ImageFont.load_default(20))
    ground = np.random.default_rng(5).normal(70, 4, (128, 256))
    values = np.where(np.asarray(page) > 127, 120, ground).astype(f"<u{bits // 8}") << (stored - 8)
    wide = {"BitsAllocated": bits, "BitsStored": stored, "HighBit": stored - 1, "PixelRepresentation": signed}
    made = image(values.tobytes(), Rows=128, Columns=256, **wide)
    assert reasons(tmp_path, made, keyring) == {}
    (written,) = (tmp_path / "out").rglob("*.dcm")
    left = np.frombuffer(pydicom.dcmread(written).PixelData, values.dtype).reshape(values.shape)
    ink = np.asarray(page) > 127
    assert (left[ink] != values[ink]).all()
    assert (left == values).mean() > 0.7


def test_what_stands_behind_the_image_does_not_leave(tmp_path: Path, keyring: Keyring) -> None:
    assert reasons(tmp_path, image(texture(), Rows=SIDE // 2 - 3), keyring) == {}
    (left,) = (tmp_path / "out" / "dicom").rglob("*.dcm")
    assert len(pydicom.dcmread(left).PixelData) == SIDE * (SIDE // 2 - 3)


def test_frames_that_nobody_declared_do_not_pass(tmp_path: Path, keyring: Keyring) -> None:
    assert reasons(tmp_path, image(texture(3 * SIDE * SIDE)), keyring) == {"pixels_irregular": 1}


@pytest.mark.parametrize(
    "syntax",
    [JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, HTJ2KLossless, RLELossless, MPEG2MPML],
    ids=lambda syntax: syntax.name,
)  # fmt: skip
def test_what_no_decoder_takes_is_held_back(syntax: UID, tmp_path: Path, keyring: Keyring) -> None:
    assert reasons(tmp_path, image(texture(), syntax=syntax), keyring) == {"pixels_undecodable": 1}
    for verdict in (tmp_path / "out" / "quarantine").iterdir():
        assert b"Branlund" not in verdict.read_bytes()


def test_a_frame_too_large_to_be_looked_at_is_held_back_before_it_is_decoded(tmp_path: Path, keyring: Keyring) -> None:
    made = image(texture(), syntax=JPEG2000Lossless, Rows=60_000, Columns=60_000)
    assert reasons(tmp_path, made, keyring) == {"pixels_too_large": 1}


class Blind:
    """A network that sees nothing."""

    def find(self, picture: Array) -> list[Candidate]:
        return []

    def read(self, crops: Any) -> list[tuple[str, float]]:
        return []


def test_an_image_in_which_only_the_second_method_sees_text_is_held_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image, ImageDraw, ImageFont

    page = Image.new("L", (200, 60), 20)
    ImageDraw.Draw(page).text((10, 15), "BRANLUND 4810488", fill=240, font=ImageFont.load_default(18))
    path = tmp_path / "a.dcm"
    image(page.tobytes(), Rows=60, Columns=200).save_as(path, enforce_file_format=True)
    monkeypatch.setattr("enclave.deid.looking.open_network", Blind)
    with open_source(path) as source:
        instance = read_instance(source)
        with pytest.raises(Quarantined) as verdict:
            look_at(instance, instance.pixels, identifies=lambda _: False, thoroughly=True)
    assert verdict.value.reason == "pixel_text_disagreement"


def test_an_image_with_more_letters_than_text_passes_no_gate_and_is_held_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = 700
    hooks = np.full((side, side), 30, np.uint8)
    for y in range(0, side - 7, 7):
        for number, x in enumerate(range(0, side - 5, 5)):
            hooks[y : y + 6, x] = hooks[y + 5, x : x + 3] = round(80 + 175 * abs(number % 40 - 20) / 20)
    path = tmp_path / "a.dcm"
    made = image(hooks.tobytes(), Rows=side, Columns=side, Modality="CT", ImageType=["ORIGINAL", "PRIMARY", "AXIAL"])
    made.save_as(path, enforce_file_format=True)
    monkeypatch.setattr("enclave.deid.looking.open_network", Blind)
    everything_but = [Box(0, 0, side, side - 30)]
    with open_source(path) as source:
        instance = read_instance(source)
        frames = frames_of(instance, instance.pixels)
        assert not passes_gate(frames, instance.tree)
        assert not passes_gate(frames, instance.tree, beside=everything_but)
        for thoroughly in (False, True):
            with pytest.raises(Quarantined) as verdict:
                look_at(
                    instance, instance.pixels, identifies=lambda _: False, thoroughly=thoroughly, only=everything_but
                )
            assert verdict.value.reason == "pixels_crowded"


COLOURS = ["MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "HSV", ""]
NUMBERS = st.one_of(st.integers(0, 40), st.sampled_from([255, 4096, 65_535]))


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    rows=NUMBERS, columns=NUMBERS, frames=st.integers(-1, 5), samples=st.integers(0, 4),
    bits=st.sampled_from([0, 1, 8, 12, 16, 24, 32, 64]), stored=st.integers(0, 65), high=st.integers(0, 64),
    signed=st.integers(0, 2), planar=st.integers(0, 2), size=st.integers(1, 4000),
    colours=st.sampled_from(COLOURS),
    compressed=st.sampled_from([None, RLELossless, JPEG2000Lossless, JPEGLSLossless]),
)  # fmt: skip
def test_any_header_over_any_bytes_gives_frames_of_its_form_or_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compressed: UID | None, size: int, **header: Any
) -> None:
    names = {"bits": "BitsAllocated", "stored": "BitsStored", "high": "HighBit", "signed": "PixelRepresentation"}
    names |= {"planar": "PlanarConfiguration", "colours": "PhotometricInterpretation", "frames": "NumberOfFrames"}
    names |= {"samples": "SamplesPerPixel", "rows": "Rows", "columns": "Columns"}
    attributes = {names[name]: value for name, value in header.items()}
    path = tmp_path / "a.dcm"
    image(texture(size), syntax=compressed or ExplicitVRLittleEndian, **attributes).save_as(
        path, enforce_file_format=True
    )
    monkeypatch.setattr("enclave.deid.looking.open_network", Blind)
    with open_source(path) as source:
        try:
            instance = read_instance(source)
            check_pixels(instance.tree, instance.pixels, syntax=instance.syntax)
            elements = trim(instance.tree, instance.pixels)
            frames, _ = look_at(instance, elements, identifies=lambda _: False, thoroughly=True)
        except Quarantined as verdict:
            assert verdict.reason in REASONS
            assert verdict.reason in LOOKED_AT
        else:
            assert len(list(frames)) == frames.form.frames


@pytest.mark.slow
def test_a_cine_of_ten_thousand_frames_is_looked_at_as_one(tmp_path: Path, keyring: Keyring) -> None:
    data = texture() * 9_999 + bytes(SIDE * SIDE)
    assert reasons(tmp_path, image(data, NumberOfFrames=10_000), keyring) in ({}, {"pixel_text_disagreement": 1})
