"""What is said of private elements that were met and removed: all an expert needs, and never a value."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pydicom
import pytest
from dicom_objects import CANARY, all_bytes, encoded, instance
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ImplicitVRLittleEndian

from enclave.core.secret import Secret
from enclave.deid import private as private_module
from enclave.deid import reading as reading_module
from enclave.deid import source as source_module
from enclave.deid.job import JobSpec, run_job
from enclave.deid.keyring import derive_keyring
from enclave.deid.private import PrivateElements
from enclave.deid.recipe import Recipe, build_recipe
from enclave.deid.tree import Node

GE, SAFE = "GEMS_PARM_01", "0043,xx39"


def with_block(number: int, *, patient: int, creator: str = GE, **values: Any) -> Dataset:
    """One object with a private block: ``e10="LO:text"`` sets element 10."""
    ds = instance(sop=f"1.2.9.{number}", PatientID=f"{CANARY}-{patient}", PatientName=f"{CANARY}^{patient}")
    block = ds.private_block(0x0043, creator, create=True)
    for name, value in values.items():
        vr, _, text = value.partition(":")
        block.add_new(int(name[1:], 16), vr, text.split("/") if "/" in text else text)
    return ds


def account(files: list[Dataset], tmp_path: Path, *, recipe: Recipe | None = None, jobs: int = 1) -> dict[str, Any]:
    source = tmp_path / "in"
    source.mkdir()
    for number, ds in enumerate(files):
        (source / f"{number:03d}.dcm").write_bytes(encoded(ds))
    keyring = derive_keyring(Secret(bytes(range(32))))
    spec = JobSpec(inputs=[source], output=tmp_path / "out", recipe=recipe or Recipe(), keyring=keyring, jobs=jobs)
    found: dict[str, Any] = run_job(spec).report["private_removed"]
    assert CANARY.lower() not in json.dumps(found).lower()
    assert CANARY.encode() not in all_bytes(tmp_path / "out")
    return found


@pytest.mark.parametrize("jobs", [1, 2])
def test_each_unseen_element_is_listed_with_how_it_looks_and_how_telling_it_is(tmp_path: Path, jobs: int) -> None:
    files = [
        with_block(
            n, patient=n // 2, e10=f"LO:{CANARY}{n // 2}", e11="SH:same", e12="IS:1/2" if n else "IS:1", e39="IS:5"
        )
        for n in range(8)
    ]
    rows = {row["element"]: row for row in account(files, tmp_path, jobs=jobs)["elements"]}
    assert SAFE not in rows
    assert rows["0043,xx10"] == {
        "creator": GE, "creator_known": True, "element": "0043,xx10", "vr": "LO", "files": 8, "patients": 4,
        "values": 4, "own_value_share": 1.0, "vm": [1, 1], "capped": False,
    }  # fmt: skip
    assert (rows["0043,xx11"]["values"], rows["0043,xx11"]["own_value_share"]) == (1, 0.0)
    assert (rows["0043,xx12"]["values"], rows["0043,xx12"]["vm"]) == (2, [1, 2])


def test_the_most_telling_come_first(tmp_path: Path) -> None:
    files = [with_block(n, patient=n, e11="SH:same", e20=f"LO:{n}", e12=f"SH:{n // 2}") for n in range(4)]
    found = account(files, tmp_path)["elements"]
    assert [row["own_value_share"] for row in found] == [1.0, 0.0, 0.0]
    assert found[0]["element"] == "0043,xx20"


def test_a_creator_that_nobody_publishes_is_named_by_a_key_since_it_may_be_anybodys_words(tmp_path: Path) -> None:
    files = [with_block(n, patient=n, creator=f"{CANARY} Clinic", e10="LO:a") for n in range(3)]
    (row,) = account(files, tmp_path)["elements"]
    assert row["creator"].startswith("unknown-")
    assert row["creator_known"] is False
    assert row["files"] == 3


def test_without_the_safe_list_its_elements_are_listed_and_with_the_recipes_own_they_are_not(tmp_path: Path) -> None:
    for name, options, allow, listed in (
        ("a", [], [], {SAFE, "0043,xx10"}),
        ("b", ["retain_safe_private"], [{"creator": GE, "element": "0043,xx10"}], set()),
    ):
        (tmp_path / name).mkdir()
        recipe = build_recipe({"options": options, "private": {"allow": allow}})
        found = account([with_block(1, patient=1, e10="LO:a", e39="IS:5")], tmp_path / name, recipe=recipe)
        assert {row["element"] for row in found["elements"]} == listed


def test_private_elements_of_items_and_of_private_sequences_are_listed(tmp_path: Path) -> None:
    inner, item = Dataset(), Dataset()
    inner.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x77, "LO", CANARY)
    item.private_block(0x0021, "SIEMENS MR SDI 02", create=True).add_new(0x01, "DS", "1.5")
    ds = with_block(1, patient=1)
    ds.private_block(0x0043, GE).add_new(0x70, "SQ", Sequence([inner, Dataset()]))
    ds.SourceImageSequence = Sequence([item])
    rows = {row["element"]: row for row in account([ds], tmp_path)["elements"]}
    assert (rows["0043,xx70"]["vr"], rows["0043,xx70"]["vm"]) == ("SQ", [2, 2])
    assert rows["0019,xx77"]["files"] == 1
    assert rows["0021,xx01"]["vr"] == "DS"


def test_sequences_inside_of_private_sequences_hold_no_file_back(tmp_path: Path) -> None:
    inner, outer = Dataset(), Dataset()
    inner.PatientName = f"{CANARY}^Ida"
    outer.ReferencedImageSequence = Sequence([inner])
    outer.add_new(0x00081140, "SQ", Sequence([inner]))
    files = [with_block(n, patient=n) for n in range(2)]
    for ds in files:
        ds.private_block(0x0043, GE).add_new(0x70, "SQ", Sequence([outer]))
    rows = account(files, tmp_path)["elements"]
    assert [(row["element"], row["files"], row["values"]) for row in rows] == [("0043,xx70", 2, 1)]
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 2


@pytest.mark.parametrize(
    "text", [f"{CANARY}^Ida", "Dr. Quillfeather", "SSN 846-72-4354", "19610917", CANARY.encode("utf-16-le")]
)
def test_words_in_a_kept_private_number_take_the_element_and_not_the_file(tmp_path: Path, text: str | bytes) -> None:
    ds = instance(syntax=ImplicitVRLittleEndian)
    data = text if isinstance(text, bytes) else text.encode()
    ds.private_block(0x2001, "Philips Imaging DD 001", create=True).add_new(0x03, "UN", data.ljust(32))
    ds.private_block(0x2001, "Philips Imaging DD 001").add_new(0x01, "FL", 1.5)
    account([ds], tmp_path)
    (path,) = (tmp_path / "out").rglob("*.dcm")
    block = pydicom.dcmread(path).private_block(0x2001, "Philips Imaging DD 001")
    assert 0x03 not in block
    assert block[0x01].value == 1.5


def test_canaries_are_not_counted(tmp_path: Path) -> None:
    recipe = build_recipe({"canaries": {"count": 2}})
    (row,) = account([with_block(1, patient=1, e10="LO:a")], tmp_path, recipe=recipe)["elements"]
    assert row["files"] == 1


def test_counting_ends_at_its_limits_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_module, "MAX_HASHES", 7)
    monkeypatch.setattr(private_module, "MAX_ELEMENTS", 2)
    files = [with_block(n, patient=n, e10=f"LO:{n}", e11="SH:same", e12="SH:x") for n in range(9)]
    found = account(files, tmp_path)
    rows = {row["element"]: row for row in found["elements"]}
    assert set(rows) == {"0043,xx10", "0043,xx11"}
    assert found["not_counted"] == 9
    assert rows["0043,xx10"]["files"] == 9
    assert rows["0043,xx10"]["values"] < 9
    assert rows["0043,xx10"]["capped"] is True
    assert rows["0043,xx10"]["own_value_share"] is None


def tree(values: list[bytes]) -> Node:
    node = Node(("ascii",))
    node[0x00430010] = ("LO", GE.encode())
    for at, value in enumerate(values):
        node[0x00431001 + at] = ("LO", value)
    return node


FILES = st.lists(st.tuples(st.integers(0, 4), st.lists(st.sampled_from([b"", b"a", b"b", b"c\\d"]), max_size=3)))


@given(FILES, st.integers(0, 10))
def test_parts_of_a_job_add_up_to_the_whole_and_uniqueness_is_what_it_says(files: list[Any], cut: int) -> None:
    whole, first, second = (PrivateElements(b"k" * 16) for _ in range(3))
    for place, (patient, values) in enumerate(files):
        whole.add(tree(values), f"p{patient}")
        (first if place < cut else second).add(tree(values), f"p{patient}")
    first.merge(second)
    assert first.account(kept=()) == whole.account(kept=())
    for row in whole.account(kept=())["elements"]:
        at = int(row["element"][-2:], 16) - 1
        seen: defaultdict[bytes, set[int]] = defaultdict(set)
        met = [(patient, values[at]) for patient, values in files if len(values) > at]
        for patient, value in met:
            if value:
                seen[value].add(patient)
        alone = {next(iter(patients)) for patients in seen.values() if len(patients) == 1}
        assert row["files"] == len(met)
        assert row["values"] == len(seen)
        assert row["patients"] == len({patient for patient, _ in met})
        assert row["own_value_share"] == round(len(alone) / row["patients"], 4)
        counts = [value.count(b"\\") + 1 if value else 0 for _, value in met]
        assert row["vm"] == [min(counts), max(counts)]


def test_a_private_value_too_long_to_be_read_has_a_row_in_the_provenance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "SMALL_BYTES", 64)
    monkeypatch.setattr(reading_module, "_DEFERRED_BYTES", 5_000)
    ds = with_block(1, patient=1, e10="LO:a")
    ds.private_block(0x0043, GE).add_new(0x71, "OB", CANARY.encode() * 1_000)
    rows = {row["element"]: row for row in account([ds], tmp_path)["elements"]}
    assert (rows["0043,xx71"]["vr"], rows["0043,xx71"]["capped"]) == ("OB", True)
    assert rows["0043,xx71"]["own_value_share"] is None
    (redactions,) = parquet.read_table(tmp_path / "out" / "provenance.parquet").column("redactions").to_pylist()
    assert {"tag": "00431071", "reason": "private value too long to be read"} in json.loads(redactions)


def test_a_value_of_the_standard_too_long_to_be_read_holds_the_file_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "SMALL_BYTES", 64)
    monkeypatch.setattr(reading_module, "_DEFERRED_BYTES", 5_000)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "one").write_bytes(encoded(instance(ImageComments=CANARY * 1_000)))
    keyring = derive_keyring(Secret(bytes(range(32))))
    job = run_job(JobSpec(inputs=[tmp_path / "in"], output=tmp_path / "out", recipe=Recipe(), keyring=keyring))
    assert job.report["reasons"] == {"too_large": 1}
