"""Faces in a whole run: out of the pixels, into provenance and report, checked again; held where a person must look."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from head_dicom import write_series
from head_phantom import Phantom, make_head
from pyarrow import parquet
from pydicom.uid import generate_uid
from scipy import ndimage

from enclave.core.errors import InvalidError
from enclave.deid.check import check_output
from enclave.deid.job import JobResult, JobSpec, run_job
from enclave.deid.keyring import Keyring
from enclave.deid.profile import DEFAULT_OPTIONS
from enclave.deid.recipe import build_recipe

OPTIONS = [option for option in DEFAULT_OPTIONS if option != "clean_pixel_data"]  # text is tested elsewhere
RECIPE = build_recipe({"options": OPTIONS})
STUDY, FRAME = generate_uid(), generate_uid()


@pytest.fixture(scope="module")
def head() -> Phantom:
    return make_head(spacing=(2.0, 2.0, 3.0))


@pytest.fixture(scope="module")
def ran(head: Phantom, keyring: Keyring, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, JobResult]:
    """A head CT, its thick copy, and a chest, cleaned."""
    folder = tmp_path_factory.mktemp("faces")
    write_series(folder / "in" / "a", head.volume, study=STUDY, frame=FRAME)
    write_series(folder / "in" / "b", head.volume, study=STUDY, frame=FRAME, every=3)
    chest = {"BodyPartExamined": "CHEST", "StudyDescription": "CT CHEST", "SeriesDescription": "LUNG"}
    write_series(folder / "in" / "c", head.volume, study=generate_uid(), frame=generate_uid(), every=20, **chest)
    spec = JobSpec(inputs=[folder / "in"], output=folder / "out", recipe=RECIPE, keyring=keyring)
    return folder / "in", folder / "out", run_job(spec)


def rows(output: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = parquet.read_table(output / "provenance.parquet").to_pylist()
    return found


@pytest.mark.row("S13.4")
def test_a_run_takes_faces_out_and_says_so(ran: tuple[Path, Path, JobResult], head: Phantom) -> None:
    source, output, result = ran
    slices = len(list((source / "a").iterdir()))
    report = result.report
    assert report["quarantined"] == 0
    assert report["faces"]["removed"] == slices
    assert report["faces"]["held"] == {}
    assert report["faces"]["not_recognisable"] == {"no_surface": len(list((source / "b").iterdir()))}
    (stack,) = report["faces"]["stacks"]
    assert (stack["modality"], stack["images"], stack["brain_lost"]) == ("CT", slices, 0.0)
    assert json.loads(json.dumps(report["faces"])) == report["faces"]
    changed = 0
    for row in rows(output):
        reasons = {entry["reason"] for entry in json.loads(row["redactions"])}
        image = pydicom.dcmread(output / row["output"])
        codes = [item.CodeValue for item in image.DeidentificationMethodCodeSequence]
        assert ("113102" in codes) is ("face" in reasons)
        assert ("RecognizableVisualFeatures" in image) is ("face" in reasons)
        changed += "face" in reasons
        if "face" in reasons:
            k = round((image.ImagePositionPatient[2] - head.volume.affine[2, 3]) / 3.0)
            after = image.pixel_array.T.astype(int) - 1024
            before = head.volume.values[:, :, k]
            assert (after[head.brain[:, :, k]] == before[head.brain[:, :, k]]).all()
            assert set(after[after != before]) <= {-1000}
    assert changed == slices


@pytest.mark.row("S13.4")
def test_a_run_shows_each_head_from_the_front_before_and_after(ran: tuple[Path, Path, JobResult]) -> None:
    _, output, result = ran
    ((folder, head),) = result.faces.items()
    before, after = head.before, head.after
    assert head.numbers["brain_lost"] <= 0.0005
    assert 900 <= head.numbers["brain_cc"] <= 2200
    assert head.numbers["face_gone"] >= 0.8
    assert list((output / folder).glob("*.dcm"))
    lower = np.s_[before.shape[0] // 2 :]
    assert before.dtype == after.dtype == np.uint8
    assert after[lower].mean() < 0.8 * before[lower].mean()  # what is near is bright, and the face was near


def test_provenance_holds_the_hash_of_the_file_as_it_was(ran: tuple[Path, Path, JobResult]) -> None:
    import hashlib

    source, output, _ = ran
    known = {hashlib.sha256(path.read_bytes()).hexdigest() for path in source.rglob("*.dcm")}
    assert {row["input_sha256"] for row in rows(output)} == known


def test_the_check_finds_a_pixel_that_is_changed_beside_a_face_or_left_in_it(
    ran: tuple[Path, Path, JobResult], keyring: Keyring, tmp_path: Path
) -> None:
    import shutil

    source, output, _ = ran
    assert check_output(output, against=[source], keyring=keyring, recipe=RECIPE)["ok"]
    copy = tmp_path / "out"
    shutil.copytree(output, copy)
    faces = [row["output"] for row in rows(copy) if '"face"' in row["redactions"]]
    for number, (name, where) in enumerate(((faces[0], (70, 50)), (faces[1], (5, 50)))):
        image = pydicom.dcmread(copy / name)
        pixels = image.pixel_array.copy()
        pixels[where] += 1
        image.PixelData = pixels.tobytes()
        image.save_as(copy / name)
        found = check_output(copy, against=[source], keyring=keyring, recipe=RECIPE)
        assert {check["id"]: check["count"] for check in found["checks"]}["pixels"] == number + 1


@pytest.mark.row("S13.4")
def test_a_head_whose_face_is_not_found_is_held_with_the_rule_that_held_it(
    head: Phantom, keyring: Keyring, tmp_path: Path
) -> None:
    write_series(tmp_path / "in" / "a", head.volume, study=STUDY, frame=FRAME, RescaleIntercept="0")
    spec = JobSpec(inputs=[tmp_path / "in"], output=tmp_path / "out", recipe=RECIPE, keyring=keyring)
    report = run_job(spec).report
    assert report["reasons"] == {"recognizable_features": report["files_in"]}
    assert report["faces"]["held"] == {"brain_not_found": report["files_in"]}
    verdicts = [json.loads(path.read_text()) for path in (tmp_path / "out" / "quarantine").glob("*.json")]
    assert {verdict["at"] for verdict in verdicts} == {"face: brain_not_found"}
    assert not list((tmp_path / "out").rglob("*.dcm"))


@pytest.mark.row("S13.4")
def test_the_strong_setting_leaves_nothing_but_the_brain(head: Phantom, keyring: Keyring, tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "a", head.volume, study=STUDY, frame=FRAME)
    recipe = build_recipe({"options": OPTIONS, "faces": {"removal": "skull"}})
    result = run_job(JobSpec(inputs=[tmp_path / "in"], output=tmp_path / "out", recipe=recipe, keyring=keyring))
    far = ndimage.distance_transform_edt(~head.brain, sampling=(2.0, 2.0, 3.0)) > 25.0  # the hull bridges hollows
    for path in (tmp_path / "out").rglob("*.dcm"):
        image = pydicom.dcmread(path)
        k = round((image.ImagePositionPatient[2] - head.volume.affine[2, 3]) / 3.0)
        after, before = image.pixel_array.T.astype(int) - 1024, head.volume.values[:, :, k]
        assert (after[head.brain[:, :, k]] == before[head.brain[:, :, k]]).all()
        assert set(after[far[:, :, k]].tolist()) <= {-1000}
    (stack,) = result.report["faces"]["stacks"]
    assert (stack["brain_lost"], result.report["faces"]["stripped"]) == (0.0, result.report["files_in"])
    assert check_output(tmp_path / "out", against=[tmp_path / "in"], keyring=keyring, recipe=recipe)["ok"]


def test_a_removal_that_is_not_known_is_refused() -> None:
    with pytest.raises(InvalidError, match=r"faces\.removal"):
        build_recipe({"faces": {"removal": "ears"}})


def test_without_the_option_pixels_are_left_and_counted(head: Phantom, keyring: Keyring, tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "a", head.volume, study=STUDY, frame=FRAME, every=10)
    recipe = build_recipe({"options": [option for option in OPTIONS if option != "clean_recognizable_features"]})
    spec = JobSpec(inputs=[tmp_path / "in"], output=tmp_path / "out", recipe=recipe, keyring=keyring)
    report = run_job(spec).report
    assert report["pixels_not_cleaned"] == report["files_in"]
    assert report["faces"]["removed"] == 0
    images = [pydicom.dcmread(path) for path in (tmp_path / "out").rglob("*.dcm")]
    before = [pydicom.dcmread(path) for path in (tmp_path / "in").rglob("*.dcm")]
    assert {image.PixelData for image in images} == {image.PixelData for image in before}
    assert not any("RecognizableVisualFeatures" in image for image in images)
