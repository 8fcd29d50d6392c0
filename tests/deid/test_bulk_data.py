"""Bulk data beside the image itself: pixels inside of sequences go, arrays stay when they are what the header says."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pydicom
import pytest
from dicom_objects import all_bytes, encoded, image, instance
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from enclave.deid.arrays import KEPT_ARRAYS, fits
from enclave.deid.check import check_output
from enclave.deid.instance import NESTED_PIXELS
from enclave.deid.job import JobSpec, run_job
from enclave.deid.recipe import build_recipe
from enclave.deid.text_in_bytes import ARRAY_RUN, holds_text
from enclave.deid.tree import Node

HEADERS = build_recipe({"options": ["retain_modified_dates", "clean_descriptors"]})
STRANGER = b"Oswinthal Brekkeby was seen on 1961-02-03 by Dr Marvik "  # whom no attribute names
ECG = "1.2.840.10008.5.1.4.1.1.9.1.1"


def run(folder: Path, ds: Dataset, keyring: Any) -> tuple[Dataset | None, dict[str, int]]:
    """What leaves, and the reasons for which nothing does."""
    (folder / "in").mkdir()
    (folder / "in" / "one.dcm").write_bytes(encoded(ds))
    job = run_job(JobSpec(inputs=[folder / "in"], output=folder / "out", recipe=HEADERS, keyring=keyring))
    assert b"Brekkeby" not in all_bytes(folder / "out")
    made = list((folder / "out").rglob("*.dcm"))
    return (pydicom.dcmread(made[0]) if made else None), dict(job.report["reasons"])


def redactions(folder: Path) -> list[dict[str, str]]:
    (row,) = parquet.read_table(folder / "out" / "provenance.parquet").to_pylist()
    return list(json.loads(row["redactions"]))


def failed(folder: Path, keyring: Any) -> list[str]:
    checks = check_output(folder / "out", against=[folder / "in"], keyring=keyring, recipe=HEADERS)["checks"]
    return [check["id"] for check in checks if not check["ok"]]


def picture_of(value: bytes, *, tag: int = 0x7FE00010, vr: str = "OB") -> Dataset:
    item = Dataset()
    item.ReferencedSOPInstanceUID = "1.2.3"
    item.Rows, item.Columns, item.BitsAllocated = 2, len(value) // 2, 8
    item.add_new(tag, vr, value)
    return item


@pytest.mark.parametrize(
    ("tag", "vr"), [(0x7FE00010, "OB"), (0x7FE00010, "OW"), (0x7FE00008, "OF"), (0x7FE00009, "OD")]
)
@pytest.mark.parametrize("keyword", ["ReferencedImageSequence", "SharedFunctionalGroupsSequence", "IconImageSequence"])
def test_a_picture_inside_a_sequence_never_leaves_and_the_image_does(
    tag: int, vr: str, keyword: str, keyring: Any, tmp_path: Path
) -> None:
    ds = image()
    value = (STRANGER + bytes(range(64)) * 2)[:128]
    setattr(ds, keyword, Sequence([picture_of(value, tag=tag, vr=vr)]))
    clean, reasons = run(tmp_path, ds, keyring)
    assert reasons == {}
    assert clean is not None
    assert clean.PixelData == ds.PixelData
    assert bytes(range(40)) not in all_bytes(tmp_path / "out").replace(clean.PixelData, b"")
    assert failed(tmp_path, keyring) == []
    if keyword != "IconImageSequence":  # which goes as a whole
        assert {"tag": f"{tag:08x}", "reason": NESTED_PIXELS} in redactions(tmp_path)


def test_a_picture_two_sequences_deep_never_leaves(keyring: Any, tmp_path: Path) -> None:
    ds, outer = image(), Dataset()
    outer.ReferencedImageSequence = Sequence([picture_of(STRANGER + b" ")])
    ds.SourceImageSequence = Sequence([outer])
    clean, _ = run(tmp_path, ds, keyring)
    assert clean is not None
    assert clean.PixelData == ds.PixelData


def test_the_check_finds_a_picture_inside_a_sequence(keyring: Any, tmp_path: Path) -> None:
    run(tmp_path, image(), keyring)
    (path,) = (tmp_path / "out").rglob("*.dcm")
    clean = pydicom.dcmread(path)
    item = Dataset()
    item.add_new(0x7FE00010, "OW", bytes(range(64)))
    clean.ReferencedImageSequence = Sequence([item])
    clean.save_as(path)
    assert failed(tmp_path, keyring) == ["nested_pixels"]


# ── lookup tables and waveforms ─────────────────────────────────────────────


def lookup(entries: int, value: bytes, *, tag: int = 0x00283006, descriptor: int = 0x00283002) -> Node:
    node = Node(("utf-8",))
    node[descriptor] = ("US", struct.pack("<HHH", entries % 65_536, 0, 16))
    node[tag] = ("OW", value)
    return node


TABLES = [(0x00281201, 0x00281101), (0x00281202, 0x00281102), (0x00281203, 0x00281103), (0x00283006, 0x00283002)]


@given(st.integers(1, 65_536), st.integers(0, 140_000), st.sampled_from(TABLES))
def test_a_table_fits_when_its_entries_have_one_byte_or_two(entries: int, size: int, tags: tuple[int, int]) -> None:
    tag, descriptor = tags
    for right in (entries + entries % 2, 2 * entries, entries):
        assert fits(tag, lookup(entries, bytes(right), tag=tag, descriptor=descriptor))
    expected = size in {entries, entries + entries % 2, 2 * entries}
    assert fits(tag, lookup(entries, bytes(size), tag=tag, descriptor=descriptor)) is expected


@given(st.integers(0, 12), st.integers(0, 500), st.sampled_from([0, 8, 12, 16, 32]), st.integers(0, 30_000))
def test_a_waveform_fits_when_each_channel_has_its_samples(channels: int, samples: int, bits: int, size: int) -> None:
    node = Node(("utf-8",))
    node[0x003A0005], node[0x003A0010] = ("US", struct.pack("<H", channels)), ("UL", struct.pack("<L", samples))
    node[0x54001004] = ("US", struct.pack("<H", bits))
    whole = channels * samples * bits // 8
    for length in (size, whole, whole + whole % 2, whole + 2):
        node[0x54001010] = ("OW", bytes(length))
        assert fits(0x54001010, node) is (bits % 8 == 0 and length in (whole, whole + whole % 2))


@pytest.mark.parametrize("tag", sorted(KEPT_ARRAYS - {0x00281221, 0x00281222, 0x00281223}))
@pytest.mark.parametrize("damage", [{}, {0x00283002: ("LO", b"256")}, {0x003A0005: ("US", b"1")}])
def test_an_array_of_which_the_header_says_nothing_fits_nowhere(tag: int, damage: dict[int, Any]) -> None:
    node = Node(("utf-8",))
    node.update(damage)
    node[tag] = ("OW", bytes(512))
    assert not fits(tag, node)


def palette(value: bytes, entries: int) -> Dataset:
    ds = image()
    ds.PhotometricInterpretation = "PALETTE COLOR"
    for color in ("Red", "Green", "Blue"):
        setattr(ds, f"{color}PaletteColorLookupTableDescriptor", [entries, 0, 16])
        setattr(ds, f"{color}PaletteColorLookupTableData", value)
    return ds


RAMPS = {
    "eight bits": bytes(range(256)),
    "sixteen bits": b"".join(struct.pack("<H", number * 257) for number in range(256)),
    "falling": b"".join(struct.pack("<H", 65_535 - number * 257) for number in range(256)),
    "steep": bytes(min(255, 4 * number) for number in range(256)),
}


@pytest.mark.parametrize("ramp", RAMPS, ids=str)
def test_the_colours_of_an_image_stay(ramp: str, keyring: Any, tmp_path: Path) -> None:
    ds = palette(RAMPS[ramp], 256)
    clean, reasons = run(tmp_path, ds, keyring)
    assert reasons == {}
    assert clean is not None
    assert clean.RedPaletteColorLookupTableData == RAMPS[ramp]
    assert clean.BluePaletteColorLookupTableDescriptor == [256, 0, 16]


@pytest.mark.parametrize(
    "value", [STRANGER + b" ", bytes(200) + STRANGER + b" ", RAMPS["sixteen bits"] + STRANGER + b" "]
)
@pytest.mark.parametrize("honest", [True, False])
def test_a_text_in_a_table_never_leaves(value: bytes, honest: bool, keyring: Any, tmp_path: Path) -> None:
    ds, item = image(), Dataset()
    item.LUTDescriptor = [len(value) // 2 if honest else 256, 0, 16]
    item.add_new(0x00283006, "OW", value)
    item.ModalityLUTType, item.LUTExplanation = "US", ""
    ds.ModalityLUTSequence = Sequence([item])
    held = run(tmp_path, ds, keyring)
    assert held[0] is None or "LUTData" not in held[0].get("ModalityLUTSequence", [Dataset()])[0]


def test_tables_of_one_content_are_judged_by_their_own_descriptors(keyring: Any, tmp_path: Path) -> None:
    """What became of the same bytes before says nothing."""
    ds = image()
    items = []
    for entries in (256, 12, 256):
        item = Dataset()
        item.LUTDescriptor, item.LUTExplanation = [entries, 0, 16], ""
        item.add_new(0x00283006, "OW", RAMPS["sixteen bits"])
        items.append(item)
    ds.ReferencedImageSequence = Sequence(items)
    clean, _ = run(tmp_path, ds, keyring)
    assert clean is not None
    assert ["LUTData" in item for item in clean.ReferencedImageSequence] == [True, False, True]


def electrocardiogram(value: bytes, *, samples: int) -> Dataset:
    ds = instance(SOPClassUID=ECG, Modality="ECG")
    ds.file_meta.MediaStorageSOPClassUID = UID(ECG)
    group = Dataset()
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples, group.SamplingFrequency = 2, samples, 500
    group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 16, "SS"
    group.add_new(0x54001010, "OW", value)
    ds.WaveformSequence = Sequence([group])
    return ds


CURVE = struct.pack("<400h", *(int(900 * (number % 37 - 18) / 18) for number in range(400)))


def test_a_curve_stays(keyring: Any, tmp_path: Path) -> None:
    clean, reasons = run(tmp_path, electrocardiogram(CURVE, samples=200), keyring)
    assert reasons == {}
    assert clean is not None
    assert clean.WaveformSequence[0].WaveformData == CURVE


@pytest.mark.parametrize(
    ("value", "samples"), [(STRANGER + b" ", 14), (CURVE + STRANGER + b" ", 200), (CURVE + STRANGER + b" ", 214)]
)
def test_an_object_whose_curve_is_a_text_is_held_back(value: bytes, samples: int, keyring: Any, tmp_path: Path) -> None:
    assert run(tmp_path, electrocardiogram(value, samples=samples), keyring) == (None, {"identifier_in_mandatory": 1})


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_a_text_in_an_array_is_found_wherever_it_stands(before: bytes, after: bytes) -> None:
    assert holds_text(before + STRANGER + after, run=ARRAY_RUN)
