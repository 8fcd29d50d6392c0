"""Text in pixels is blank in what leaves, every other sample is as it was, and the account says where, nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image, ImageDraw, ImageFont
from pyarrow import parquet
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import set_pixel_data
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)
from text_images import SIZE, Array, base, grey, ground, mask, with_bytes

from enclave.deid import looking
from enclave.deid.check import check_output
from enclave.deid.job import JobSpec, run_job
from enclave.deid.keyring import Keyring
from enclave.deid.recipe import Recipe
from enclave.deid.tree import text_at


def mono8() -> FileDataset:
    return with_bytes(base(), grey().tobytes())


def mono1() -> FileDataset:
    return with_bytes(base(PhotometricInterpretation="MONOCHROME1"), (255 - grey()).tobytes())


def ct_signed() -> FileDataset:
    values = np.where(mask(), 1900, ground(low=-900, high=400)).astype("<i2")
    form = {"BitsAllocated": 16, "BitsStored": 16, "HighBit": 15, "PixelRepresentation": 1}
    window = {"WindowCenter": 40, "WindowWidth": 400, "RescaleSlope": 1, "RescaleIntercept": 0}
    return with_bytes(base(modality="CT", **form, **window), values.tobytes(), vr="OW")


def overlay_in_unused_bits() -> FileDataset:
    values = (ground(low=100, high=3000).astype("<u2") & 0x0FFF) | (mask().astype("<u2") << 13)
    return with_bytes(base(BitsAllocated=16, BitsStored=12, HighBit=11), values.tobytes(), vr="OW")


def big_endian() -> FileDataset:
    values = np.where(mask(), 3900, ground(low=100, high=2000)).astype(">u2")
    made = base(modality="DX", syntax=ExplicitVRBigEndian, BitsAllocated=16, BitsStored=12, HighBit=11)
    return with_bytes(made, values.tobytes(), vr="OW")


def thirty_two_bits() -> FileDataset:
    values = np.where(mask(), 4_000_000, ground(low=0, high=900_000)).astype("<u4")
    return with_bytes(base(BitsAllocated=32, BitsStored=32, HighBit=31), values.tobytes(), vr="OW")


def one_bit() -> FileDataset:
    bits = np.packbits(mask().reshape(-1), bitorder="little")
    return with_bytes(base(BitsAllocated=1, BitsStored=1, HighBit=0), bits.tobytes())


def floats() -> FileDataset:
    made = base(BitsAllocated=32, BitsStored=32, HighBit=31)
    made.add_new(0x7FE00008, "OF", np.where(mask(), 9.5, ground() / 30).astype("<f4").tobytes())
    return made


def rgb(*, by_plane: bool = False) -> FileDataset:
    colours = np.repeat(grey()[..., None], 3, axis=2)
    colours[mask()] = (250, 240, 20)
    data = colours.transpose(2, 0, 1) if by_plane else colours
    form = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": int(by_plane)}
    return with_bytes(base(**form), np.ascontiguousarray(data).tobytes())


def rgb_by_plane() -> FileDataset:
    return rgb(by_plane=True)


def rgb_of_one_brightness() -> FileDataset:
    colours = np.full((SIZE, SIZE, 3), (90, 90, 90), np.uint8)
    colours[mask()] = (190, 40, 40)
    form = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    return with_bytes(base(**form), colours.tobytes())


def ybr_422() -> FileDataset:
    bright = grey().reshape(SIZE, SIZE // 2, 2)
    colour = np.full((SIZE, SIZE // 2, 2), 128, np.uint8)
    form = {"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL_422", "PlanarConfiguration": 0}
    return with_bytes(base(**form), np.concatenate([bright, colour], axis=2).tobytes())


def palette(*, hidden: bool = False) -> FileDataset:
    """``hidden``: both indices have one colour, so that only who looks at indices reads the text."""
    made = base(PhotometricInterpretation="PALETTE COLOR")
    values = np.where(mask(), 7, 200).astype(np.uint8) if hidden else grey()
    ramp = (np.full(256, 9) if hidden else np.arange(256)).astype("<u2") * 257
    for colour in ("Red", "Green", "Blue"):
        setattr(made, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(made, f"{colour}PaletteColorLookupTableData", ramp.tobytes())
    return with_bytes(made, values.tobytes())


def palette_that_hides() -> FileDataset:
    return palette(hidden=True)


def cine_with_text_in_one_frame() -> FileDataset:
    still = ground().astype(np.uint8)
    frames = np.stack([still, still, still, still, grey()])
    return with_bytes(base(NumberOfFrames=5), frames.tobytes())


def rle() -> FileDataset:
    made = mono8()
    made.compress(RLELossless, generate_instance_uid=False)
    return made


def jpeg() -> FileDataset:
    import io

    out = io.BytesIO()
    Image.fromarray(np.repeat(grey()[..., None], 3, axis=2)).save(out, "JPEG", quality=95)
    form = {"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL_422", "PlanarConfiguration": 0}
    made = base(syntax=JPEGBaseline8Bit, LossyImageCompression="01", **form)
    made.add_new(0x7FE00010, "OB", encapsulate([out.getvalue()]))
    made["PixelData"].is_undefined_length = True
    return made


def jpeg_2000() -> FileDataset:
    made = base()
    set_pixel_data(made, grey(), "MONOCHROME2", 8)
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID
    made.compress(JPEG2000Lossless, generate_instance_uid=False)
    return made


def deflated() -> FileDataset:
    made = mono8()
    made.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    return made


def implicit() -> FileDataset:
    made = mono8()
    made.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return made


KINDS: tuple[Callable[[], FileDataset], ...] = (
    mono8, mono1, ct_signed, overlay_in_unused_bits, big_endian, thirty_two_bits, one_bit, floats, rgb, rgb_by_plane,
    rgb_of_one_brightness, ybr_422, palette, palette_that_hides, cine_with_text_in_one_frame, rle, jpeg, jpeg_2000,
    deflated, implicit,
)  # fmt: skip


def run(folder: Path, made: FileDataset, keyring: Keyring) -> tuple[dict[str, Any], FileDataset | None]:
    (folder / "in").mkdir(exist_ok=True)
    syntax = made.file_meta.TransferSyntaxUID
    form = {"implicit_vr": syntax.is_implicit_VR, "little_endian": syntax.is_little_endian}
    pydicom.dcmwrite(folder / "in" / "a.dcm", made, **form, enforce_file_format=True)
    spec = JobSpec(inputs=[folder / "in"], output=folder / "out", recipe=Recipe(), keyring=keyring)
    report = run_job(spec).report
    found = sorted((folder / "out" / "dicom").rglob("*.dcm"))
    return report, pydicom.dcmread(found[0]) if found else None


def frames_of(dataset: FileDataset) -> Array:
    """(frames, rows, columns, samples)."""
    values = np.asarray(dataset.pixel_array)
    count, channels = int(dataset.get("NumberOfFrames") or 1), int(dataset.SamplesPerPixel)
    return values.reshape(count, SIZE, SIZE, channels)


@pytest.mark.row("S13.3")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_text_is_blank_and_the_rest_is_as_it_was(
    kind: Callable[[], FileDataset], tmp_path: Path, keyring: Keyring
) -> None:
    made = kind()
    original = frames_of(made)
    report, after = run(tmp_path, made, keyring)
    assert report["reasons"] == {}
    assert after is not None
    assert report["redacted_boxes"] > 0
    (row,) = parquet.read_table(tmp_path / "out" / "provenance.parquet").to_pylist()
    redactions = [one for one in json.loads(row["redactions"]) if one["reason"] == "burned-in text"]
    inside = np.zeros((SIZE, SIZE), bool)
    for one in redactions:
        x0, y0, x1, y1 = one["box"]
        inside[y0:y1, x0:x1] = True
    assert (inside & mask()).sum() >= 0.97 * mask().sum()
    if kind is ybr_422:
        inside |= np.roll(inside, 1, axis=1) | np.roll(inside, -1, axis=1)
    changed = (frames_of(after) != original).any(axis=(0, 3))
    assert not (changed & ~inside).any()
    x0, y0, x1, y1 = redactions[0]["box"]
    assert len(np.unique(frames_of(after)[:, y0:y1, x0:x1].reshape(-1, original.shape[-1]), axis=0)) == 1
    assert after.BurnedInAnnotation == "NO"
    assert "113101" in [str(item.CodeValue) for item in after.DeidentificationMethodCodeSequence]
    assert not after.file_meta.TransferSyntaxUID.is_compressed or kind is deflated
    checked = check_output(tmp_path / "out", against=[tmp_path / "in"], keyring=keyring, recipe=Recipe())
    assert checked["ok"], checked


def test_nothing_that_was_read_is_written_down(
    tmp_path: Path, keyring: Keyring, capfd: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, mono8(), keyring)
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    out, err = capfd.readouterr()
    for word in (b"Branlund", b"4810488", b"BRANLUND"):
        assert word not in written
        assert word.decode() not in out + err


def test_a_change_beside_the_boxes_does_not_pass_the_check(tmp_path: Path, keyring: Keyring) -> None:
    run(tmp_path, mono8(), keyring)
    (path,) = (tmp_path / "out" / "dicom").rglob("*.dcm")
    for row, column in ((190, 190), (20, 20)):
        kept = path.read_bytes()
        changed = pydicom.dcmread(path)
        pixels = np.array(changed.pixel_array)
        pixels[row, column] ^= 1
        changed.PixelData = pixels.tobytes()
        changed.save_as(path)
        checked = check_output(tmp_path / "out", against=[tmp_path / "in"], keyring=keyring, recipe=Recipe())
        assert [one["id"] for one in checked["checks"] if not one["ok"]] == ["pixels"]
        path.write_bytes(kept)


def test_a_marker_stays_and_the_patients_name_does_not(tmp_path: Path, keyring: Keyring) -> None:
    pixels = ground().astype(np.uint8)
    page = Image.fromarray(pixels)
    ImageDraw.Draw(page).text((20, 120), "LEFT", fill=255, font=ImageFont.load_default(20))
    marked = np.asarray(page)
    for name, kept in (("Branlund^Anne", True), ("Left^Anne", False)):
        folder = tmp_path / name[:4]
        folder.mkdir()
        made = with_bytes(base(modality="CR"), marked.tobytes())
        made.PatientName = name
        report, after = run(folder, made, keyring)
        assert report["reasons"] == {}
        assert after is not None
        assert (after.PixelData == made.PixelData) is kept
        assert (report["redacted_boxes"] == 0) is kept


@pytest.mark.slow
def test_text_in_a_slice_of_a_series_is_found_by_the_gate_or_by_the_sample_and_looked_for_once(
    tmp_path: Path, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []
    look = looking.look

    def counted(frames: Any, tree: Any, **more: Any) -> Any:
        looks.append(text_at(tree, 0x00080018))
        return look(frames, tree, **more)

    monkeypatch.setattr(looking, "look", counted)
    (tmp_path / "in").mkdir()
    for number in range(4):
        made = ct_signed()
        made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.2")
        made.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = UID(
            f"1.2.826.0.1.3680043.10.4711.9.{number + 1}"
        )
        made.save_as(tmp_path / "in" / f"{number}.dcm", enforce_file_format=True)
    spec = JobSpec(inputs=[tmp_path / "in"], output=tmp_path / "out", recipe=Recipe(), keyring=keyring)
    report = run_job(spec).report
    assert report["files_out"] == 4
    assert report["redacted_boxes"] >= 4
    assert len(looks) == len(set(looks)) == 4
    text = mask()
    for path in (tmp_path / "out" / "dicom").rglob("*.dcm"):
        pixels = pydicom.dcmread(path).pixel_array
        assert (pixels[text] >= 1900).mean() < 0.03
    again = run_job(replace(spec, output=tmp_path / "two", jobs=2)).report
    assert again["redacted_boxes"] == report["redacted_boxes"]
