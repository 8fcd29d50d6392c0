"""Text among binary numbers goes, whatever stands before it: an attribute has so many numbers, and numbers no words."""

from __future__ import annotations

import functools
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_objects import CT, all_bytes, encoded, image
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from pydicom._dicom_dict import DicomDictionary
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from enclave.deid.arrays import KEPT_ARRAYS
from enclave.deid.check import check_output
from enclave.deid.instance import TOO_MANY_VALUES
from enclave.deid.job import JobSpec, run_job
from enclave.deid.multiplicity import NUMBER_SIZES, has_too_many, most_values, parse_multiplicity
from enclave.deid.places import Places
from enclave.deid.profile import Profile
from enclave.deid.recipe import build_recipe
from enclave.deid.table import table_rows
from enclave.deid.text_in_bytes import ARRAY_RUN, NUMBERS_RUN, holds_text

HEADERS = build_recipe({"options": ["retain_modified_dates", "clean_descriptors"]})
TEXT = b"\0\0\1\0" + b"Oswinthal Brekkeby was seen on 1961-02-03 by Dr Marv"
NUMBER_TAGS = sorted(
    tag
    for tag, entry in DicomDictionary.items()
    if entry[0].partition(" ")[0] in NUMBER_SIZES and tag >> 16 > 7 and tag not in KEPT_ARRAYS
)


@functools.cache
def wanted() -> frozenset[int]:
    """Those that the IOD wants in an item of this sequence: with a text in one of them no file leaves."""
    place = Places(Profile(table_rows(), options=HEADERS.options)).top(CT).within(0x00081140)
    return frozenset(tag for tag in NUMBER_TAGS if place[tag, vr_of(tag)].needed)


def put(ds: Dataset, tag: int, vr: str, value: bytes) -> None:
    """The bytes as they are, whatever pydicom thinks of them."""
    ds._dict[Tag(tag)] = RawDataElement(Tag(tag), vr, len(value), value, 0, False, True)


def vr_of(tag: int) -> str:
    return DicomDictionary[tag][0].partition(" ")[0]


def run(folder: Path, ds: Dataset, keyring: Any) -> tuple[Dataset | None, dict[str, int]]:
    (folder / "in").mkdir()
    (folder / "in" / "one.dcm").write_bytes(encoded(ds))
    job = run_job(JobSpec(inputs=[folder / "in"], output=folder / "out", recipe=HEADERS, keyring=keyring))
    assert b"Brekkeby" not in all_bytes(folder / "out")
    made = list((folder / "out").rglob("*.dcm"))
    return (pydicom.dcmread(made[0]) if made else None), dict(job.report["reasons"])


def test_no_attribute_of_binary_numbers_lets_a_text_leave(keyring: Any, tmp_path: Path) -> None:
    """All of the standard at once, in an item where the IOD wants hardly any of them."""
    ds, item = image(), Dataset()
    for tag in set(NUMBER_TAGS) - wanted():
        put(item, tag, vr_of(tag), TEXT)
    ds.ReferencedImageSequence = Sequence([item])
    clean, reasons = run(tmp_path, ds, keyring)
    assert reasons == {}
    assert clean is not None
    assert len(NUMBER_TAGS) > 900
    assert len(wanted()) < 40
    assert clean.PixelData == ds.PixelData
    (row,) = parquet.read_table(tmp_path / "out" / "provenance.parquet").to_pylist()
    assert {"tag": "00189087", "reason": TOO_MANY_VALUES} in json.loads(row["redactions"])
    assert check_output(tmp_path / "out", against=[tmp_path / "in"], keyring=keyring, recipe=HEADERS)["ok"]


def test_as_many_numbers_as_the_standard_says_stay_in_each_attribute(keyring: Any, tmp_path: Path) -> None:
    before, item = image(), Dataset()
    for tag in NUMBER_TAGS:
        vr = vr_of(tag)
        put(item, tag, vr, struct.pack("<B", 3).ljust(NUMBER_SIZES[vr], b"\0") * (most_values(tag) or 40))
    before.ReferencedImageSequence = Sequence([item])
    clean, _ = run(tmp_path, before, keyring)
    assert clean is not None
    kept = {int(tag) for tag in clean.ReferencedImageSequence[0].keys()}  # noqa: SIM118 - elements would be decoded
    gone = set(NUMBER_TAGS) - kept
    (row,) = parquet.read_table(tmp_path / "out" / "provenance.parquet").to_pylist()
    reasons = {one["tag"]: one["reason"] for one in json.loads(row["redactions"])}
    assert not [tag for tag in gone if f"{tag:08x}" in reasons]  # only the table takes them out
    assert len(gone) < len(NUMBER_TAGS) / 20


@pytest.mark.parametrize("tag", [0x00280101, 0x00280102])
def test_an_object_in_whose_mandatory_number_a_text_stands_is_held_back(tag: int, keyring: Any, tmp_path: Path) -> None:
    ds = image()
    put(ds, tag, "US", TEXT)
    assert run(tmp_path, ds, keyring) == (None, {"identifier_in_mandatory": 1})


@pytest.mark.parametrize(
    ("text", "most"), [("1", 1), ("3", 3), ("1-3", 3), ("1-n", None), ("2-2n", None), ("6-n", None)]
)
def test_a_multiplicity_states_a_limit_or_none(text: str, most: int | None) -> None:
    assert parse_multiplicity(text) == most


@given(st.text(alphabet="0123456789-n or", max_size=8))
def test_any_multiplicity_is_read_or_stands_for_one_value(text: str) -> None:
    most = parse_multiplicity(text)
    assert most is None or most >= 0
    assert (most is None) <= text.endswith("n")


def test_each_attribute_of_the_dictionary_has_a_limit_or_an_open_multiplicity() -> None:
    for tag, entry in DicomDictionary.items():
        assert (most_values(tag) is None) == entry[1].endswith("n")
        assert most_values(tag) is None or str(most_values(tag)) == entry[1].rpartition("-")[2]


@given(st.sampled_from(NUMBER_TAGS), st.integers(0, 40))
def test_there_are_too_many_numbers_from_the_limit_on(tag: int, count: int) -> None:
    most, vr = most_values(tag), vr_of(tag)
    assert has_too_many(tag, (vr, bytes(count * NUMBER_SIZES[vr]))) is (most is not None and count > most)


@pytest.mark.parametrize("tag", [0x00180000, 0x0018FFF1, 0x50FF0001])
def test_what_no_dictionary_knows_has_one_value(tag: int) -> None:
    assert most_values(tag) == 1


# ── numbers are no text ─────────────────────────────────────────────────────

SEED, MANY = 20261201, 400_000


def arrays() -> dict[str, bytes]:
    random = np.random.default_rng(SEED)
    return {
        "single": random.normal(0, 100, MANY).astype("<f4").tobytes(),
        "unit": random.random(MANY).astype("<f4").tobytes(),
        "double": random.normal(0, 100, MANY).astype("<f8").tobytes(),
        "twelve bits": random.integers(0, 4096, MANY).astype("<u2").tobytes(),
        "short": random.integers(0, 65_536, MANY).astype("<u2").tobytes(),
        "signed": random.normal(0, 3000, MANY).astype("<i2").tobytes(),
        "long": random.integers(0, 2**31, MANY).astype("<u4").tobytes(),
        "counting": np.arange(MANY).astype("<u4").tobytes(),
        "ramp of bytes": bytes(range(256)) * 8,
        "ramp of words": (np.arange(256) * 257).astype("<u2").tobytes() * 2,
        "falling": (65_535 - np.arange(65_536)).astype("<u2").tobytes(),
        "constant": b"A" * 4096,
        "spaces": b" " * 4096,
    }


@pytest.mark.parametrize("name", arrays(), ids=str)
def test_in_an_array_of_numbers_no_text_is_seen(name: str) -> None:
    assert not holds_text(arrays()[name], run=ARRAY_RUN)


@given(st.lists(st.floats(-1e6, 1e6, width=32), max_size=32), st.sampled_from(["f", "d"]))
def test_in_a_few_numbers_no_text_is_seen(numbers: list[float], form: str) -> None:
    assert not holds_text(struct.pack(f"<{len(numbers)}{form}", *numbers), run=NUMBERS_RUN)


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_a_text_is_found_whatever_stands_around_it(before: bytes, after: bytes) -> None:
    assert holds_text(before + TEXT[4:] + after, run=NUMBERS_RUN)
