"""A reviewer sees what was blanked and what is left, marked as of a review; what cannot be shown is said."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_objects import encoded, instance
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from enclave.deid.job import JobResult, SeenHead
from enclave.deid.provenance import write_provenance
from enclave.deid.trace import REVIEW
from enclave.deid.worker import Outcome
from enclave.detectors.pixel_text.boxes import Box
from enclave.intake.material import ReviewMaterial
from enclave.intake.pictures import picture_of
from enclave.intake.review import frontal_of
from enclave.keys.box import open_box
from enclave.keys.files import new_symmetric
from enclave.keys.uri import file_uri
from enclave.wire.messages.intake import ReviewItem

BOX = Box(10, 12, 50, 22)


def write(path: Path, *, blank: bool, frames: int = 1) -> Path:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = UID("1.2.840.10008.5.1.4.1.1.7"), ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = UID("1.2.826.0.1.3680043.10.4711.4.1")
    made = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    made.Rows, made.Columns, made.SamplesPerPixel, made.PhotometricInterpretation = 64, 96, 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    made.NumberOfFrames = frames
    pixels = np.full((64, 96), 40, np.uint8)
    pixels[BOX.y0 : BOX.y1, BOX.x0 : BOX.x1] = 0 if blank else 250
    pixels[40:60, 60:90] = 120
    made.PixelData = pixels.tobytes() * frames
    made.save_as(path, enforce_file_format=True)
    return path


def opened(item: ReviewItem) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    assert item.kind == "picture"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(item.picture))))


@pytest.mark.row("S13.6")
def test_before_and_after_stand_side_by_side_with_their_boxes(tmp_path: Path) -> None:
    before, after = write(tmp_path / "in.dcm", blank=False), write(tmp_path / "out.dcm", blank=True)
    shown = opened(picture_of(after, before=before, boxes=[BOX], mark="REVIEW 12345678"))
    assert shown.shape == (64, 2 * 96 + 4)
    inside = np.s_[BOX.y0 + 1 : BOX.y1 - 1, BOX.x0 + 1 : BOX.x1 - 1]
    assert shown[:, :96][inside].min() > 150
    assert shown[:, 100:][inside].max() < 60
    assert shown[BOX.y0 - 1, 100 + BOX.x0 : 100 + BOX.x1].min() > 200


def test_every_picture_is_marked_and_the_image_stays_to_be_seen(tmp_path: Path) -> None:
    after = write(tmp_path / "out.dcm", blank=True, frames=3)
    one, other = (opened(picture_of(after, before=None, boxes=(), mark=mark)).astype(int) for mark in ("REVIEW A", " "))
    assert one.shape == (64, 96)
    assert (one != other).any()
    assert np.abs(one - other).max() < 90


def test_one_odd_pixel_makes_no_picture_black_and_a_box_is_seen_on_bright_ground(tmp_path: Path) -> None:
    path = write(tmp_path / "out.dcm", blank=False)
    made = pydicom.dcmread(path)
    pixels = np.full((64, 96), 100, np.uint8)
    pixels[10:30, 10:60] = 110
    pixels[0, 0] = 255
    made.PixelData = pixels.tobytes()
    made.save_as(path)
    shown = opened(picture_of(path, before=None, boxes=[BOX], mark=" ")).astype(int)
    assert shown[20, 70] < 60
    assert shown[25, 30] > 200
    edge = shown[BOX.y0 - 3 : BOX.y0 + 1, 30]
    assert edge.min() < 60
    assert edge.max() > 200


def test_of_a_large_image_the_picture_has_its_boxes_where_they_are(tmp_path: Path) -> None:
    path = write(tmp_path / "out.dcm", blank=False)
    made = pydicom.dcmread(path)
    made.Rows, made.Columns = 3000, 6000
    pixels = np.full((3000, 6000), 50, np.uint8)
    pixels[1000:1600, 3000:5000] = 200
    made.PixelData = pixels.tobytes()
    made.save_as(path)
    shown = opened(picture_of(path, before=None, boxes=[Box(3000, 1000, 5000, 1600)], mark=" ")).astype(int)
    assert shown.shape == (350, 700)
    assert shown[150, 450] > 200
    assert shown[150, 300] < 60
    assert shown[117 - 3 : 117 + 2, 450].min() < 60


def test_what_cannot_be_shown_is_said(tmp_path: Path) -> None:
    (tmp_path / "out.dcm").write_bytes(b"no image")
    assert picture_of(tmp_path / "out.dcm", before=None, boxes=(), mark="").kind == "text"


@pytest.mark.row("S13.4")
def test_a_head_is_shown_from_the_front_before_and_after(tmp_path: Path) -> None:
    box = open_box(file_uri(_key(tmp_path)))
    material = ReviewMaterial(tmp_path / "review", box=box)
    work = tmp_path / "work"
    (work / "dicom").mkdir(parents=True)
    write_provenance(work / "provenance.parquet", outcomes=[], options=())
    before, after = np.full((130, 100), 200, np.uint8), np.zeros((130, 100), np.uint8)
    job = JobResult({}, [], [], faces={"dicom/p/1.2/1.2.3": SeenHead(before, after, {})})
    material.keep("b" * 32, sample=[frontal_of("dicom/p/1.2/1.2.3")], work=work, job=job)
    shown = material.show("b" * 32, "1.2.3/frontal")
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown.picture))))
    assert picture[:100, :280].mean() > 150
    assert picture[:100, 320:].mean() < 30
    sealed = b"".join(path.read_bytes() for path in (tmp_path / "review").rglob("*") if path.is_file())
    assert b"PNG" not in sealed


def test_running_text_of_an_object_is_shown_as_it_leaves_and_nothing_else_of_it(tmp_path: Path) -> None:
    material = ReviewMaterial(tmp_path / "review", box=open_box(file_uri(_key(tmp_path))))
    ds, name = instance(ImageComments="There is a nodule, seen by REMOVED."), "dicom/P/1.2.3/1.2.3.1/1.2.3.4.dcm"
    inner = instance()
    inner.ImageComments, inner.PatientComments = "It was seen before.", "not flagged"
    ds.ReferencedStudySequence = [inner]
    work = tmp_path / "work"
    (work / name).parent.mkdir(parents=True)
    (work / name).write_bytes(encoded(ds))
    done = Outcome(index=0, path=name, redactions=[("00204000", REVIEW)])
    write_provenance(work / "provenance.parquet", outcomes=[done], options=(), long_text="vocabulary")
    material.keep("b" * 32, sample=[f"{name}#text"], work=work, job=JobResult({}, [], []))
    shown = material.show("b" * 32, "1.2.3.4/text")
    assert shown.kind == "text"
    assert set(shown.text.split("\n\n")) == {"There is a nodule, seen by REMOVED.", "It was seen before."}


def _key(folder: Path) -> Path:
    new_symmetric(folder / "box")
    return folder / "box"
