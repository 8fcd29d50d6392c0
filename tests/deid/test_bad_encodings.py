"""Files that break the encoding rules of PS3.5: a clean output or a reason that names no value."""

from __future__ import annotations

import importlib.resources
import json
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optional import need
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from enclave.deid.job import JobSpec, run_job
from enclave.deid.reasons import REASONS
from enclave.deid.recipe import Recipe, build_recipe

NAME = "Zanaryquist"
NUMBER = "M-4711-2288"
HEADERS = build_recipe({"options": ["retain_modified_dates", "clean_descriptors", "retain_patient_characteristics"]})
PACKAGES = {"pydicom-data": "data_store", "deid-data": "deid_data"}  # distribution → its module


def element(group: int, number: int, vr: bytes, value: bytes, *, length: int | None = None) -> bytes:
    """One element, explicit VR little endian, as wrong as asked for."""
    size = len(value) if length is None else length
    if vr in (b"OB", b"OW", b"UN", b"SQ", b"UT"):
        return struct.pack("<HH2sHL", group, number, vr, 0, size) + value
    return struct.pack("<HH2sH", group, number, vr, size & 0xFFFF) + value


def plain(syntax: UID = ExplicitVRLittleEndian, **more: Any) -> bytes:
    """A small, right file of one patient."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.88.11")
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3.4")
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    ds.PatientID, ds.PatientName, ds.Modality = NUMBER, f"{NAME}^Ida", "SR"
    ds.StudyDate, ds.PatientBirthDate = "20200102", "19700304"
    ds.StudyDescription = "CT CHEST"
    for keyword, value in more.items():
        setattr(ds, keyword, value)
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def dataset_start(data: bytes) -> int:
    return data.index(b"\x08\x00\x16\x00")


def insert(piece: bytes, before: bytes = b"\x10\x00\x10\x00") -> bytes:
    """``plain`` with bytes of one element more."""
    data = plain()
    at = data.index(before)
    return data[:at] + piece + data[at:]


def wrong_vr(old: bytes, new: bytes) -> bytes:
    """``plain`` where one element says another VR than it should."""
    data = plain()
    at = data.index(old)
    return data[: at + 4] + new + data[at + 6 :]


def broken_charset(name: bytes) -> bytes:
    start = element(0x0008, 0x0005, b"CS", name)
    data = plain()
    at = dataset_start(data)
    text = NAME.encode() + b"^\xff\xfe\xe9\x1b$B\x1b"
    data = data[:at] + start + data[at:]
    old = element(0x0010, 0x0010, b"PN", f"{NAME}^Ida ".encode() if len(NAME) % 2 == 0 else f"{NAME}^Ida".encode())
    where = data.index(b"\x10\x00\x10\x00PN")
    length = struct.unpack_from("<H", data, where + 6)[0]
    text += b" " * (len(text) % 2)
    del old
    return data[:where] + element(0x0010, 0x0010, b"PN", text) + data[where + 8 + length :]


def early_deflate_end() -> bytes:
    data = plain(DeflatedExplicitVRLittleEndian)
    return data[:-12]


def nested_bomb() -> bytes:
    """A deflated dataset whose first element claims far more than there is."""
    head = plain(DeflatedExplicitVRLittleEndian)
    start = head.index(b"1.2.840.10008.1.2.1.99") + 22
    meta_end = head.index(b"\x02\x00\x12\x00") if b"\x02\x00\x12\x00" in head[start:] else start
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = packer.compress(element(8, 0x16, b"UN", b"", length=0xFFFFFFF0) + bytes(1 << 20)) + packer.flush()
    return head[: max(start, meta_end)] + body


BAD: dict[str, Callable[[], bytes]] = {
    "implicit without meta": lambda: (d := plain(ImplicitVRLittleEndian))[dataset_start(d) :],
    "explicit without meta": lambda: (d := plain())[dataset_start(d) :],
    "no prefix": lambda: plain().replace(b"DICM", b"XXXX", 1),
    "no preamble": lambda: plain()[128:],
    "implicit said to be explicit": lambda: plain(ImplicitVRLittleEndian).replace(
        b"1.2.840.10008.1.2\0", b"1.2.840.10008.1.2.1\0"[:18], 1
    ),
    "name as date": lambda: wrong_vr(b"\x10\x00\x10\x00PN", b"DA"),
    "name as numbers": lambda: wrong_vr(b"\x10\x00\x10\x00PN", b"US"),
    "name as bytes": lambda: wrong_vr(b"\x10\x00\x10\x00PN", b"AT"),
    "id as float": lambda: wrong_vr(b"\x10\x00\x20\x00LO", b"FD"),
    "uid as text": lambda: wrong_vr(b"\x20\x00\x0d\x00UI", b"LO"),
    "VR NONE": lambda: insert(b"\x09\x00\x10\x10NO" + struct.pack("<H", 12) + NAME.encode() + b" "),
    "VR of zeros": lambda: insert(b"\x09\x00\x10\x10\0\0" + struct.pack("<H", 12) + NAME.encode() + b" "),
    "VR in small letters": lambda: insert(b"\x09\x00\x10\x10lo" + struct.pack("<H", 12) + NAME.encode() + b" "),
    "odd length": lambda: insert(element(0x0008, 0x1040, b"LO", NAME.encode())),
    "odd number length": lambda: insert(element(0x0009, 0x1002, b"US", b"abc")),
    "group 0000": lambda: (
        (d := plain())[: dataset_start(d)] + element(0, 0x0600, b"AE", NAME.encode() + b" ") + d[dataset_start(d) :]
    ),
    "group 0002 in the dataset": lambda: insert(element(2, 0x0016, b"AE", NAME.encode() + b" ")),
    "unknown character set": lambda: broken_charset(b"ISO_IR 999"),
    "broken utf-8": lambda: broken_charset(b"ISO_IR 192"),
    "broken iso 2022": lambda: broken_charset(b"\\ISO 2022 IR 87 "),
    "character set of garbage": lambda: broken_charset(b"\xff\xfe\\\\\\\\" + b"\0" * 4),
    "undefined length of garbage": lambda: insert(element(0x0008, 0x1110, b"SQ", NAME.encode() * 9, length=0xFFFFFFFF)),
    "undefined length without end": lambda: (
        plain() + element(0x0040, 0xA730, b"SQ", b"\xfe\xff\0\xe0\xff\xff\xff\xff", length=0xFFFFFFFF)
    ),
    "undefined length unknown": lambda: insert(element(0x0009, 0x1003, b"UN", NAME.encode() * 9, length=0xFFFFFFFF)),
    "length beyond the end": lambda: plain() + element(0x0040, 0xA160, b"UT", NAME.encode(), length=0x7FFFFFFF),
    "a head cut off": lambda: plain() + b"\x40\x00\x60\xa1U",
    "zeros behind": lambda: plain() + bytes(1000),
    "text behind": lambda: plain() + f"exported for {NAME} ".encode() * 20,
    "the same twice": lambda: plain() + element(0x0010, 0x0010, b"PN", f"{NAME}^Ida2".encode()),
    "dates of zeros": lambda: plain(StudyDate="00000000", PatientBirthDate="00000000", ContentDate="0000"),
    "odd dates": lambda: plain(StudyDate="2020.01.02", ContentDate="20201399", AcquisitionDate="        "),
    "deflate that ends early": early_deflate_end,
    "deflate with a claim": nested_bomb,
    "meta of garbage": lambda: bytes(128) + b"DICM" + b"\x02\x00\x10\x00UI\xff\xff" + plain()[140:],
    "meta length wrong": lambda: plain().replace(b"\x02\0\0\0UL\x04\0", b"\x02\0\0\0UL\xff\xff", 1),
}


def run(source: Path, output: Path, keyring: Any, recipe: Recipe = HEADERS) -> Any:
    return run_job(JobSpec(inputs=[source], output=output, recipe=recipe, keyring=keyring))


def left_in(folder: Path) -> str:
    return (
        b"\n".join(
            str(path.relative_to(folder)).encode() + (path.read_bytes() if path.is_file() else b"")
            for path in sorted(folder.rglob("*"))
        )
        .decode("latin-1")
        .lower()
    )


@pytest.mark.parametrize("name", sorted(BAD))
def test_a_file_that_breaks_the_rules_is_clean_or_held_back(
    name: str, keyring: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / f"{NAME}.dcm").write_bytes(BAD[name]())
    (tmp_path / "in" / "good.dcm").write_bytes(plain().replace(b"1.2.3.4", b"1.2.3.5"))
    report = run(tmp_path / "in", tmp_path / "out", keyring).report
    assert report["files_in"] == 2
    assert 1 <= report["files_out"] == 2 - report["quarantined"]
    assert set(report["reasons"]) <= set(REASONS) - {"failed"}
    words = capfd.readouterr()
    seen = left_in(tmp_path / "out") + (words.out + words.err + json.dumps(report)).lower()
    assert NAME.lower() not in seen
    assert NUMBER.lower() not in seen
    for path in (tmp_path / "out").rglob("*.dcm"):
        clean = pydicom.dcmread(path)
        assert str(clean.PatientID).startswith("P-")
        assert [str(one.value) for one in clean.iterall() if one.VR != "SQ"]


def test_dates_of_zeros_do_not_keep_a_file_back(keyring: Any, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_bytes(BAD["dates of zeros"]())
    assert run(tmp_path / "in", tmp_path / "out", keyring).report["files_out"] == 1
    (path,) = (tmp_path / "out").rglob("*.dcm")
    assert not pydicom.dcmread(path).StudyDate


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_the_files_of_public_packages_all_go_through(package: str, keyring: Any, tmp_path: Path) -> None:
    need(package)
    folder = importlib.resources.files(PACKAGES[package])
    report = run(Path(str(folder)), tmp_path / "out", keyring).report
    assert report["files_in"] == report["files_out"] + report["quarantined"] > 1
    assert "failed" not in report["reasons"]


# ── fuzzing over the structure of real files ────────────────────────────────


@pytest.fixture(scope="session")
def structures() -> list[bytes]:
    """Small real files that pydicom ships: sequences, private blocks, all endians, compressed pixels, overlays."""
    folder = Path(str(pydicom.data.__file__)).parent / "test_files"
    found = [path.read_bytes() for path in sorted(folder.glob("*.dcm")) if path.stat().st_size < 40_000]
    assert len(found) >= 20
    return found


Edit = tuple[str, int, bytes]
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["write", "insert", "delete", "vr", "length", "repeat", "undefined"]),
        st.integers(0, 1 << 20),
        st.binary(min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=6,
)


def heads(data: bytes) -> list[int]:
    """Where something that looks like the head of an explicit element stands."""
    return [at - 4 for at in range(136, len(data) - 4) if data[at : at + 2].isalpha() and data[at : at + 2].isupper()]


def damage(data: bytes, edits: list[Edit]) -> bytes:
    changed = bytearray(data)
    for kind, where, piece in edits:
        places = heads(bytes(changed[:8000])) or [0]
        at = places[where % len(places)] if kind in ("vr", "length", "undefined", "repeat") else where % len(changed)
        if kind == "write":
            changed[at : at + len(piece)] = piece
        elif kind == "insert":
            changed[at:at] = piece
        elif kind == "delete":
            del changed[at : at + len(piece) * 5]
        elif kind == "vr":
            changed[at + 4 : at + 6] = (piece * 2)[:2]
        elif kind == "length":
            changed[at + 6 : at + 8] = (piece * 2)[:2]
        elif kind == "undefined":
            changed[at + 4 : at + 12] = b"SQ\0\0\xff\xff\xff\xff"
        else:
            changed[at:at] = changed[at : at + 200]
        changed = changed or bytearray(b"\0")
    return bytes(changed)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(which=st.integers(0, 1000), edits=EDITS)
def test_damage_to_the_structure_of_real_files_gives_a_clean_file_or_a_reason(
    which: int, edits: list[Edit], structures: list[bytes], keyring: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "in").mkdir()
    (folder / "in" / "a").write_bytes(damage(structures[which % len(structures)], edits))
    report = run(folder / "in", folder / "out", keyring).report
    assert report["files_out"] + report["quarantined"] == 1
    assert "failed" not in report["reasons"]
    for path in (folder / "out").rglob("*.dcm"):
        clean = pydicom.dcmread(path, stop_before_pixels=True)
        assert str(clean.PatientID).startswith("P-")
