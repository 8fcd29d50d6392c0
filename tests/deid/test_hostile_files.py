"""Broken and hostile input: a clean output or a reason that names no value; never a traceback, never a silent skip."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from dicom_objects import CANARY, CT, all_bytes, encoded, image, instance
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian

from enclave.deid import check as check_module
from enclave.deid.check import check_output
from enclave.deid.job import JobSpec, run_job
from enclave.deid.reasons import REASONS, Quarantined
from enclave.deid.recipe import Recipe, build_recipe


def nested(depth: int) -> Dataset:
    inner = Dataset()
    inner.PatientName = f"{CANARY}^Ida"
    for _ in range(depth):
        outer = Dataset()
        outer.add_new(0x0040A730, "SQ", Sequence([inner]))
        inner = outer
    ds = instance()
    ds.add_new(0x0040A730, "SQ", Sequence([inner]))
    return ds


def truncated() -> bytes:
    return encoded(image())[:-40]


def bomb() -> bytes:
    whole = encoded(instance(syntax=DeflatedExplicitVRLittleEndian))
    start = whole.index(b"1.2.840.10008.1.2.1.99") + 22
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    chunk = bytes(1 << 22)
    return whole[:start] + b"".join(packer.compress(chunk) for _ in range(140)) + packer.flush()


HELD: dict[str, tuple[Callable[[], bytes], str]] = {
    "zero bytes": (lambda: b"", "empty"),
    "words": (lambda: f"Report on {CANARY}".encode() * 30, "not_dicom"),
    "picture": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(300), "not_dicom"),
    "too short": (lambda: b"\x08\x00", "not_dicom"),
    "no instance uid": (lambda: encoded(instance(sop="1.2")).replace(b"\x08\x00\x18\x00UI", b"\x09\x00\x18\x00UI"), ""),
    "private class": (lambda: encoded(instance(SOPClassUID="1.3.12.2.1107.5.9.1")), "private_sop_class"),
    "two instance uids": (lambda: encoded(instance(SOPInstanceUID=["1.2.3.4", "1.2.3.5"])), "not_an_instance"),
    "class in a name": (
        lambda: encoded(instance()).replace(b"\x08\x00\x16\x00UI", b"\x08\x00\x16\x00PN"),
        "unreadable",
    ),
    "class with a record number": (lambda: encoded(instance(SOPClassUID=f"{CT}.48151623")), "private_sop_class"),
    "document": (lambda: encoded(instance(EncapsulatedDocument=b"%PDF " + CANARY.encode() + b" ")), ""),
    "truncated pixels": (truncated, "truncated"),
    "deep": (lambda: encoded(nested(60)), "nesting"),
    "private syntax": (lambda: encoded(instance()).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.113619.5.2\0\0"), ""),
}


def run(source: Path, output: Path, keyring: Any, recipe: Recipe | None = None) -> Any:
    return run_job(JobSpec(inputs=[source], output=output, recipe=recipe or Recipe(), keyring=keyring))


@pytest.mark.parametrize("name", sorted(HELD))
def test_a_file_that_cannot_be_cleaned_is_held_back_with_a_reason_and_no_value(
    name: str, keyring: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make, reason = HELD[name]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / f"{CANARY}.dcm").write_bytes(make())
    report = run(tmp_path / "in", tmp_path / "out", keyring).report
    assert (report["files_in"], report["files_out"], report["quarantined"]) == (1, 0, 1)
    (found,) = report["reasons"]
    assert found == (reason or found)
    assert found in REASONS
    assert found != "failed"
    captured = capfd.readouterr()
    for text in (
        all_bytes(tmp_path / "out"),
        captured.err.encode(),
        captured.out.encode(),
        json.dumps(report).encode(),
    ):
        assert CANARY.lower() not in text.decode("latin-1").lower()


def test_a_deflate_bomb_is_held_back_before_it_is_inflated(keyring: Any, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.dcm").write_bytes(bomb())
    assert run(tmp_path / "in", tmp_path / "out", keyring).report["reasons"] == {"too_large": 1}


def test_links_and_odd_entries_are_counted_and_not_followed(keyring: Any, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.dcm").write_bytes(encoded(instance()))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file.dcm").symlink_to(tmp_path / "elsewhere" / "a.dcm")
    (tmp_path / "in" / "folder").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "in" / "pipe")
    report = run(tmp_path / "in", tmp_path / "out", keyring).report
    assert report["files_in"] == 3
    assert report["reasons"] == {"symlink": 3}


def test_paths_in_uids_and_ids_do_not_leave_the_output(keyring: Any, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number, text in enumerate(("../../../escape", "/etc/x", "..", "a/b")):
        ds = instance(sop="1.2.3.9", StudyInstanceUID=text, SeriesInstanceUID=text, PatientID=text)
        ds.SOPInstanceUID = f"1.2.3.9.{number}"
        (tmp_path / "in" / f"{number}.dcm").write_bytes(encoded(ds))
    recipe = build_recipe({"options": ["retain_uids", "clean_descriptors"]})
    report = run(tmp_path / "in", tmp_path / "out", keyring, recipe).report
    assert report["files_out"] == 4
    assert all(len(p.relative_to(tmp_path / "out").parts) == 5 for p in (tmp_path / "out").rglob("*.dcm"))
    assert not list(tmp_path.glob("escape*"))


def test_two_contents_under_one_uid_do_not_overwrite_each_other(keyring: Any, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, title in (("a", "CHEST"), ("b", "ABDOMEN"), ("c", "CHEST")):
        (tmp_path / "in" / f"{name}.dcm").write_bytes(encoded(instance(StudyDescription=title)))
    report = run(tmp_path / "in", tmp_path / "out", keyring).report
    assert report["reasons"] == {"duplicate_sop_uid": 1, "duplicate_identical": 1}
    assert report["files_out"] == 1


def test_two_patients_with_one_sop_uid_are_each_checked_against_their_own_file(keyring: Any, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        ds = instance(PatientID=f"{CANARY}-{name}", StudyDate="20200101")
        (tmp_path / "in" / f"{name}.dcm").write_bytes(encoded(ds))
    report = run(tmp_path / "in", tmp_path / "out", keyring).report
    assert report["reasons"] == {"duplicate_sop_uid": 1}
    for order in (["a.dcm", "b.dcm"], ["b.dcm", "a.dcm"]):  # whichever of them is read first
        against = [tmp_path / "in" / name for name in order]
        found = check_output(tmp_path / "out", against=against, keyring=keyring, recipe=Recipe())
        assert [one["id"] for one in found["checks"] if not one["ok"]] == []


def test_a_record_number_behind_the_root_of_the_standard_is_replaced(keyring: Any, tmp_path: Path) -> None:
    root, number = "1.2.840.10008.5.1", "48151623"
    ds = instance(PatientID=number, StudyInstanceUID=f"{root}.{number}", SynchronizationFrameOfReferenceUID=f"{root}.7")
    ds.RelatedGeneralSOPClassUID = f"{root}.{number}"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.dcm").write_bytes(encoded(ds))
    assert run(tmp_path / "in", tmp_path / "out", keyring).report["files_out"] == 1
    (path,) = (tmp_path / "out").rglob("*.dcm")
    assert number.encode() not in path.read_bytes() + str(path).encode()
    assert pydicom.dcmread(path).StudyInstanceUID.startswith("2.25.")
    assert check_output(tmp_path / "out", against=[tmp_path / "in"], keyring=keyring, recipe=Recipe())["ok"]


def test_the_check_tells_origins_that_only_one_of_two_readers_can_read(
    keyring: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.dcm").write_bytes(encoded(instance()))
    run(tmp_path / "in", tmp_path / "out", keyring)
    read = check_module.read_dataset

    def stubborn(source: Any) -> Any:
        if b"ENCLAVE" not in source.head(1 << 12):
            raise Quarantined("unreadable")
        return read(source)

    monkeypatch.setattr(check_module, "read_dataset", stubborn)
    assert check_output(tmp_path / "out", against=[tmp_path / "in"], keyring=keyring, recipe=Recipe())["ok"]


def test_a_file_without_preamble_and_meta_is_read(keyring: Any, tmp_path: Path) -> None:
    whole = encoded(instance(StudyDescription=f"CT CHEST {CANARY}"))
    start = whole.index(b"\x08\x00\x16\x00")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bare").write_bytes(whole[start:])
    report = run(tmp_path / "in", tmp_path / "out", keyring).report
    assert report["files_out"] == 1
    (path,) = (tmp_path / "out").rglob("*.dcm")
    assert pydicom.dcmread(path).StudyDescription == "CT CHEST"
    assert CANARY.encode() not in all_bytes(tmp_path / "out")


HIDING = {
    "unlisted text": lambda ds: ds.add_new(0x00281055, "LO", CANARY),
    "code string": lambda ds: ds.add_new(0x00180022, "CS", CANARY.upper()),
    "several values": lambda ds: ds.add_new(0x00280010, "LO", ["CHEST", CANARY, "HEAD"]),
    "private text": lambda ds: ds.private_block(0x0011, "X", create=True).add_new(1, "LO", CANARY),
    "safe private creator": lambda ds: ds.private_block(0x0019, "GEMS_ACQU_01", create=True).add_new(
        0x9E, "LO", CANARY
    ),
    "creator name": lambda ds: ds.private_block(0x0011, CANARY, create=True).add_new(1, "DS", "1"),
    "unknown bytes": lambda ds: ds.add_new(0x00281101, "OB", CANARY.encode() + b" "),
    "overlay": lambda ds: ds.add_new(0x60000022, "LO", CANARY),
    "curve": lambda ds: ds.add_new(0x50000022, "LO", CANARY),
    "date": lambda ds: ds.add_new(0x00080020, "DA", CANARY[:8]),
    "age": lambda ds: ds.add_new(0x00101010, "AS", CANARY[:4]),
    "uid": lambda ds: ds.add_new(0x00081155, "UI", CANARY),
    "url": lambda ds: ds.add_new(0x00081190, "UR", f"http://x/{CANARY}"),
    "ae": lambda ds: ds.add_new(0x00080054, "AE", CANARY),
    "code meaning": lambda ds: ds.add_new(0x00081032, "SQ", Sequence([code_item()])),
    "trailing padding": lambda ds: ds.add_new(0xFFFCFFFC, "OB", CANARY.encode() + b" "),
    "icon": lambda ds: ds.add_new(0x00880200, "SQ", Sequence([instance()])),
    "attribute group": lambda ds: ds.add_new(0x00080000, "UL", 4),
}


def test_words_in_a_numeric_attribute_go(keyring: Any, tmp_path: Path) -> None:
    whole = encoded(instance(InstanceNumber="1234567890", SliceThickness="0.12345678"))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.dcm").write_bytes(
        whole.replace(b"0.12345678", b"Zanaryquis").replace(b"1234567890", b"Zanaryquis")
    )
    assert run(tmp_path / "in", tmp_path / "out", keyring).report["files_out"] == 1
    assert b"Zanaryquis" not in all_bytes(tmp_path / "out")


def code_item() -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = CANARY[:16], "99LOCAL", f"Known to {CANARY}"
    return item


@pytest.mark.parametrize("place", sorted(HIDING))
def test_an_identifier_is_gone_from_every_hiding_place(place: str, keyring: Any, tmp_path: Path) -> None:
    ds = instance()
    HIDING[place](ds)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.dcm").write_bytes(encoded(ds))
    report = run(tmp_path / "in", tmp_path / "out", keyring).report
    assert report["files_out"] == 1, report["reasons"]
    assert CANARY[:8].lower() not in all_bytes(tmp_path / "out").decode("latin-1").lower()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    edits=st.lists(st.tuples(st.integers(0, 3000), st.binary(min_size=1, max_size=6)), max_size=8),
    cut=st.integers(0, 900),
)
def test_any_damage_gives_a_clean_file_or_a_reason(
    edits: list[tuple[int, bytes]], cut: int, keyring: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = bytearray(encoded(image()))
    for at, piece in edits:
        data[at % len(data) : at % len(data) + len(piece)] = piece
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "in").mkdir()
    (folder / "in" / "a.dcm").write_bytes(bytes(data[: len(data) - cut % len(data)]))
    report = run(folder / "in", folder / "out", keyring).report
    assert report["files_out"] + report["quarantined"] == 1
    assert "failed" not in report["reasons"]


@pytest.mark.slow
@pytest.mark.row("S13.5")
def test_real_files_of_public_collections_all_go_through(real_files: Path, keyring: Any, tmp_path: Path) -> None:
    recipe = build_recipe({"options": ["retain_modified_dates", "clean_descriptors", "retain_safe_private"]})
    job = run(real_files, tmp_path / "out", keyring, recipe)
    assert job.report["files_in"] == job.report["files_out"] + job.report["quarantined"]
    assert "failed" not in job.report["reasons"]
    found = check_output(tmp_path / "out", against=[real_files], keyring=keyring, recipe=recipe)
    assert found["ok"], [check for check in found["checks"] if not check["ok"]]


def test_a_word_in_a_coded_string_that_nobody_defined_goes_and_defined_terms_stay(keyring: Any, tmp_path: Path) -> None:
    ds = image()
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL", "NURSEQUIST"]
    ds.add_new(0x00185100, "CS", "HFS")
    ds.add_new(0x00180022, "CS", "NURSEQUIST")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.dcm").write_bytes(encoded(ds))
    assert run(tmp_path / "in", tmp_path / "out", keyring).report["files_out"] == 1
    (path,) = (tmp_path / "out").rglob("*.dcm")
    clean = pydicom.dcmread(path)
    assert list(clean.ImageType) == ["ORIGINAL", "PRIMARY", "AXIAL", "REMOVED"]
    assert clean.PatientPosition == "HFS"
    assert not clean[0x00180022].value
