"""Templates of devices add lines that a detector missed, and spare detection only where all layouts are the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from pyarrow import parquet
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from enclave.deid import templates
from enclave.deid.check import check_output
from enclave.deid.job import JobSpec, run_job
from enclave.deid.keyring import Keyring
from enclave.deid.recipe import Recipe
from enclave.deid.templates import Layout, Template, device_of, evidence_of, learn, with_lines
from enclave.deid.tree import Node
from enclave.deid.worker import SPARED
from enclave.detectors.pixel_text.boxes import Box

NAME, DATE = Box(10, 10, 90, 24), Box(10, 30, 70, 44)
SIZE = 128


def layouts(count: int, *boxes: Box, start: int = 0) -> list[Layout]:
    return [Layout(start + number, "device", "state", "pixels", boxes) for number in range(count)]


def test_a_line_that_nearly_all_images_have_is_stable() -> None:
    found = learn([*layouts(8, NAME, DATE), *layouts(1, NAME, start=8)])
    assert found["device"].lines == (NAME, DATE)


def test_a_line_of_few_images_is_no_part_of_a_template() -> None:
    assert learn([*layouts(2, DATE), *layouts(8, NAME, start=2)])["device"].lines == (NAME,)


def test_four_images_teach_nothing() -> None:
    assert learn(layouts(4, NAME)) == {}


def test_names_of_other_lengths_are_one_line_as_long_as_the_longest() -> None:
    longer = NAME._replace(x1=130)
    assert learn([*layouts(5, NAME), *layouts(5, longer, start=5)])["device"].lines == (longer,)


def test_a_template_only_adds_boxes() -> None:
    assert with_lines([DATE], Template((NAME,))) == (DATE, NAME)


def test_a_line_that_is_covered_is_not_added_again() -> None:
    assert with_lines([NAME], Template((NAME,))) == (NAME,)


def test_fifty_layouts_that_are_the_same_spare_detection() -> None:
    assert learn(layouts(50, NAME, DATE))["device"].spares


@pytest.mark.parametrize(
    "odd",
    [(NAME,), (NAME, DATE, Box(100, 100, 150, 114)), (NAME._replace(x1=130), DATE)],
    ids=["a line less", "a line more", "a longer line"],
)
def test_one_other_layout_in_the_audit_keeps_detection(odd: tuple[Box, ...]) -> None:
    assert not learn([*layouts(50, NAME, DATE), *layouts(1, *odd, start=50)])["device"].spares


def test_forty_nine_layouts_do_not_spare_detection() -> None:
    assert not learn(layouts(49, NAME))["device"].spares


def test_one_image_that_could_not_be_looked_at_keeps_detection() -> None:
    found = learn(layouts(50, NAME), unseen={"device"})["device"]
    assert (found.lines, found.spares) == ((NAME,), False)
    assert learn(layouts(50, NAME), unseen={"other"})["device"].spares
    assert learn(layouts(4, NAME), unseen={"device"}) == {}


def test_every_tenth_of_the_other_images_is_audited() -> None:
    looked_at = evidence_of(dict.fromkeys(range(250), "device"))
    assert len(looked_at) == 50 + 20


def test_images_of_no_stated_device_have_no_template() -> None:
    node = Node(("ascii",))
    node[0x00080070] = ("LO", "Maker")
    assert (device_of(node), evidence_of(dict.fromkeys(range(99), ""))) == ("", [])


def image(*lines: str) -> np.ndarray:
    page = Image.fromarray(np.random.default_rng(3).integers(20, 44, (SIZE, SIZE)).astype(np.uint8))
    for number, line in enumerate(lines):
        ImageDraw.Draw(page).text((8, 8 + 40 * number), line, fill=250, font=ImageFont.load_default(16))
    return np.asarray(page)


def write(path: Path, number: int, pixels: np.ndarray, *, model: str = "Scan 9") -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = UID("1.2.840.10008.5.1.4.1.1.6.1"), ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = UID(f"1.2.826.0.1.3680043.10.4711.8.{number}")
    made = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    made.StudyInstanceUID, made.SeriesInstanceUID = "1.2.826.0.1.3680043.10.4711.8", "1.2.826.0.1.3680043.10.4711.9"
    made.PatientName, made.PatientID, made.Modality = "Branlund^Anne", "MRN4810488", "US"
    made.Manufacturer, made.ManufacturerModelName, made.StudyDate = "Maker", model, "20230512"
    made.Rows = made.Columns = SIZE
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    made.add_new(0x7FE00010, "OB", pixels.tobytes())
    made.save_as(path / f"{number:03d}.dcm", enforce_file_format=True)


def run(folder: Path, keyring: Keyring, *, jobs: int = 1) -> tuple[dict, list[list[dict]]]:
    spec = JobSpec(inputs=[folder / "in"], output=folder / "out", recipe=Recipe(), keyring=keyring, jobs=jobs)
    report = run_job(spec).report
    rows = parquet.read_table(folder / "out" / "provenance.parquet").to_pylist()
    return report, [json.loads(row["redactions"]) for row in rows]


@pytest.mark.slow
@pytest.mark.row("S13.3")
def test_an_image_without_the_line_of_its_device_is_blanked_there_too(tmp_path: Path, keyring: Keyring) -> None:
    (tmp_path / "in").mkdir()
    for number in range(6):
        write(tmp_path / "in", number, image("Branlund Anne"))
    write(tmp_path / "in", 6, image())
    _, redactions = run(tmp_path, keyring, jobs=2)
    assert all(any("box" in one for one in image_) for image_ in redactions)


@pytest.mark.slow
def test_an_image_of_another_model_is_left_as_it_is(tmp_path: Path, keyring: Keyring) -> None:
    (tmp_path / "in").mkdir()
    for number in range(5):
        write(tmp_path / "in", number, image("Branlund Anne"))
    write(tmp_path / "in", 5, image(), model="Other")
    _, redactions = run(tmp_path, keyring)
    assert sum(not any("box" in one for one in image_) for image_ in redactions) == 1


@pytest.mark.slow
def test_a_spared_image_says_so_and_its_output_passes_the_check(
    tmp_path: Path, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(templates, "EVIDENCE", 5)
    (tmp_path / "in").mkdir()
    for number in range(8):
        write(tmp_path / "in", number, image("Branlund Anne"))
    report, redactions = run(tmp_path, keyring)
    spared = [image_ for image_ in redactions if any(one["reason"] == SPARED for one in image_)]
    checked = check_output(tmp_path / "out", against=[tmp_path / "in"], keyring=keyring, recipe=Recipe())
    assert spared
    assert all(any("box" in one for one in image_) for image_ in spared)
    assert report["templates"]["spared"] == len(spared)
    assert checked["ok"]


@pytest.mark.slow
def test_no_image_is_spared_where_the_look_at_one_of_its_device_failed(
    tmp_path: Path, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(templates, "EVIDENCE", 5)
    monkeypatch.setattr(templates, "AUDIT_STEP", 2)
    (tmp_path / "in").mkdir()
    for number in range(8):
        write(tmp_path / "in", number, image("Branlund Anne"))
    path = tmp_path / "in" / "006.dcm"
    path.write_bytes(path.read_bytes()[:-900])  # of those that are audited
    report, _ = run(tmp_path, keyring)
    assert (report["templates"]["sparing"], report["templates"]["spared"]) == (0, 0)
    assert report["quarantined"] == 1


@pytest.mark.slow
def test_text_beside_the_lines_brings_detection_back(
    tmp_path: Path, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(templates, "EVIDENCE", 5)
    (tmp_path / "in").mkdir()
    for number in range(8):
        lines = ("Branlund Anne", "MRN 4810488") if number == 1 else ("Branlund Anne",)
        write(tmp_path / "in", number, image(*lines))
    _, redactions = run(tmp_path, keyring)
    lowest = [max(one["box"][3] for one in image_ if "box" in one) for image_ in redactions]
    assert sorted(edge > SIZE // 4 for edge in lowest) == [False] * 7 + [True]  # only one image has a second line
