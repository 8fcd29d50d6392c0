"""Faces over whole studies: every series of a frame of reference, in place, and each reason to hold one back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from head_dicom import MR, write_series
from head_phantom import Phantom, make_head
from pydicom.uid import JPEG2000Lossless, generate_uid

from enclave.deid.faces.apply import without_face
from enclave.deid.faces.image_facts import ImageFacts, image_facts
from enclave.deid.faces.order import FaceOrder, parse_place
from enclave.deid.faces.region import FaceRegion
from enclave.deid.faces.study import order_faces
from enclave.deid.faces.volume import Volume
from enclave.deid.reading import read_instance
from enclave.deid.reasons import Quarantined
from enclave.deid.source import open_source

STUDY, FRAME = generate_uid(), generate_uid()


@pytest.fixture(scope="module")
def head() -> Phantom:
    return make_head(spacing=(2.0, 2.0, 3.0))


def ordered(paths: list[Path]) -> dict[Path, FaceOrder]:
    facts: dict[int, ImageFacts] = {}
    for index, path in enumerate(paths):
        with open_source(path) as source:
            facts[index] = image_facts(read_instance(source).tree)
    return {paths[index]: order for index, order in order_faces(facts, paths=dict(enumerate(paths))).orders.items()}


def the_one(orders: dict[Path, FaceOrder], paths: list[Path]) -> FaceOrder:
    found = {orders[path] for path in paths}
    assert len(found) == 1
    return found.pop()


def pixels_after(path: Path, order: FaceOrder) -> tuple[Any, Any]:
    """Stored values before and after."""
    with open_source(path) as source:
        instance = read_instance(source)
        changed, count = without_face(instance, image_facts(instance.tree), order.planes)
        element = instance.pixels[0]
        before, after = (one.source.data or b"" for one in (instance, changed))
    assert len(before) == len(after)
    assert before[: element.start] == after[: element.start]
    assert before[element.end :] == after[element.end :]
    one, other = (np.frombuffer(data, "<u2", element.size // 2, element.start) for data in (before, after))
    assert int((one != other).sum()) <= count
    return one, other


@pytest.mark.row("S13.4")
def test_every_series_of_the_frame_loses_the_face_in_place(tmp_path: Path, head: Phantom) -> None:
    write: Callable[..., list[Path]] = write_series
    axial = write(tmp_path / "a", head.volume, study=STUDY, frame=FRAME)
    sagittal = write(tmp_path / "s", head.volume, study=STUDY, frame=FRAME, orientation="sagittal", every=24)
    thick = write(tmp_path / "t", head.volume, study=STUDY, frame=FRAME, every=3)
    orders = ordered(axial + sagittal + thick)
    order = the_one(orders, axial)
    assert (order.rule, order.held) == ("surface", "")
    assert the_one(orders, sagittal) == FaceOrder("sagittal_plane", planes=order.planes, numbers=order.numbers)
    assert the_one(orders, thick).rule == "no_surface"
    gone = np.zeros(head.volume.values.shape, dtype=bool)
    for number, path in enumerate(axial):
        before, after = (v.reshape(gone.shape[1], gone.shape[0]).T for v in pixels_after(path, order))
        gone[:, :, number] = before != after
        assert set(after[before != after]) <= {24}  # -1000 HU
    assert not (gone & head.brain).any()
    assert (gone & head.face).sum() / head.face.sum() >= 0.8
    assert parse_place(order.place) == order.planes
    region = FaceRegion(order.planes).mask(gone.shape, head.volume.affine)
    assert not (gone & ~region).any()
    middle = sagittal[len(sagittal) // 2]
    before, after = pixels_after(middle, order)
    assert (before != after).sum() > 100


def test_numbers_say_what_was_measured(tmp_path: Path, head: Phantom) -> None:
    numbers = dict(
        the_one(ordered(paths := write_series(tmp_path / "a", head.volume, study="1", frame="2")), paths).numbers
    )
    assert numbers["brain_lost"] == 0
    assert 900 < numbers["brain_cc"] < 2200
    assert numbers["face_gone"] >= 0.8
    assert 0.02 <= numbers["removed_share"] <= 0.25


@pytest.mark.parametrize(
    ("change", "held"),
    [
        ({"ImagePositionPatient": None}, "no_geometry"),
        ({"PixelSpacing": None}, "no_geometry"),
        ({"Modality": "PT"}, "no_reference"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "no_geometry"),
        ({"RescaleIntercept": "0"}, "brain_not_found"),
    ],
)
def test_a_head_whose_face_cannot_be_found_is_held(
    tmp_path: Path, head: Phantom, change: dict[str, Any], held: str
) -> None:
    paths = write_series(tmp_path / "a", head.volume, study=STUDY, frame=FRAME, **change)
    assert the_one(ordered(paths), paths).held == held


def test_compressed_images_are_held(tmp_path: Path, head: Phantom) -> None:
    paths = write_series(tmp_path / "a", head.volume, study=STUDY, frame=FRAME)
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
        dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51not a picture"])
        dataset["PixelData"].VR = "OB"
        dataset.save_as(path, enforce_file_format=True)
    order = the_one(ordered(paths), paths)
    assert order.held == "undecodable"
    assert order.planes == ()


def test_a_stack_that_lacks_a_slice_in_the_middle_is_held(tmp_path: Path, head: Phantom) -> None:
    paths = write_series(tmp_path / "a", head.volume, study=STUDY, frame=FRAME)
    rest = paths[:40] + paths[41:]
    assert the_one(ordered(rest), rest).held == "undecodable"


def test_a_head_that_moved_within_its_frame_is_held(tmp_path: Path, head: Phantom) -> None:
    first = write_series(tmp_path / "a", head.volume, study=STUDY, frame=FRAME)
    affine = head.volume.affine.copy()
    affine[:3, 3] += [0, -12, 0]
    second = write_series(tmp_path / "b", Volume(head.volume.values, affine), study=STUDY, frame=FRAME, every=2)
    orders = ordered(first + second)
    assert the_one(orders, first).held == ""
    assert the_one(orders, second).held == "moved"


def test_another_frame_of_reference_takes_no_region_over(tmp_path: Path, head: Phantom) -> None:
    axial = write_series(tmp_path / "a", head.volume, study=STUDY, frame=FRAME)
    planes = write_series(
        tmp_path / "s", head.volume, study=STUDY, frame=generate_uid(), orientation="sagittal", every=24
    )
    assert the_one(ordered(axial + planes), planes).held == "no_reference"


def test_a_head_stored_in_two_short_series_is_recognisable(tmp_path: Path, head: Phantom) -> None:
    middle = head.volume.values.shape[2] // 2
    lower = write_series(tmp_path / "a", head.volume, study=STUDY, frame=FRAME, slices=slice(None, middle))
    upper = write_series(tmp_path / "b", head.volume, study=STUDY, frame=FRAME, slices=slice(middle, None))
    short = slice(middle, middle + 20)
    alone = write_series(tmp_path / "c", head.volume, study="1.2", frame="1.2.3", slices=short)
    orders = ordered(lower + upper + alone)
    assert the_one(orders, lower).held
    assert the_one(orders, upper).held
    assert the_one(orders, alone) == FaceOrder("no_surface")


def test_mr_without_the_extra_is_held(tmp_path: Path, head: Phantom, monkeypatch: pytest.MonkeyPatch) -> None:
    from enclave.deid.faces import network

    monkeypatch.setattr(network, "FOLDER", tmp_path)
    network.clear()
    paths = write_series(tmp_path / "a", head.volume, study=STUDY, frame=FRAME, Modality="MR", SOPClassUID=MR)
    assert the_one(ordered(paths), paths).held == "no_method"


def test_an_image_of_many_frames_is_refused_and_left_as_it_is(tmp_path: Path, head: Phantom) -> None:
    (path, *_) = write_series(tmp_path / "a", head.volume, study=STUDY, frame=FRAME, slices=slice(0, 1))
    order = FaceOrder("surface", planes=((0.0, 0.0, 1.0, -1e6),))
    dataset = pydicom.dcmread(path)
    dataset.NumberOfFrames = 2
    dataset.PixelData = dataset.PixelData * 2
    dataset.save_as(path, enforce_file_format=True)
    with open_source(path) as source:
        instance = read_instance(source)
        with pytest.raises(Quarantined, match="recognizable_features"):
            without_face(instance, image_facts(instance.tree), order.planes)
