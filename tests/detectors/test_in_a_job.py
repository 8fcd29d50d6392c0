"""Long text by detectors in a real run: only where the recipe asks for it, never weaker than deny-list and sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydicom
import pytest

from enclave.core.errors import IntegrityError, InvalidError
from enclave.deid import long_text
from enclave.deid.job import JobSpec, run_job
from enclave.deid.keyring import open_keyring
from enclave.deid.recipe import parse_recipe
from enclave.deid.synthetic.cohort import generate_cohort
from enclave.keys.files import new_symmetric

HEADERS = (
    'options = ["retain_modified_dates", "retain_patient_characteristics", "clean_descriptors", "clean_graphics"]\n'
)
WORDS = "Findings are consistent with Hodgkin lymphoma at L5-S1; T1 FLAIR was repeated, Zwyrnik the owl was amused"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six patients; one file of the first names its own and another patient in running text."""
    folder = tmp_path_factory.mktemp("long") / "in"
    generate_cohort(folder, seed=5, patients=6)
    paths = sorted((folder / "dicom").glob("*/*/*.dcm"))
    chosen = pydicom.dcmread(paths[0])
    others = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
    other = next(one for one in others if one.PatientID != chosen.PatientID)
    own, foreign = str(chosen.PatientName).split("^")[0], str(other.PatientName).split("^")[0]
    chosen.ImageComments = f"{WORDS}. {own.title()} ({chosen.PatientID}) met {foreign.upper()} on 3/14/2019."
    chosen.save_as(paths[0])
    (folder.parent / "names").write_text("\n".join((own, foreign, str(chosen.PatientID))), "utf-8")
    for table in folder.glob("tables/*"):
        table.unlink()
    return folder


def comments(files: Path, output: Path, recipe: str) -> tuple[str, Any]:
    key = output.parent / "key"
    if not key.exists():
        new_symmetric(key)
    job = run_job(
        JobSpec(inputs=[files], output=output, recipe=parse_recipe(recipe), keyring=open_keyring(key)),
    )
    found = [str(pydicom.dcmread(path).get("ImageComments") or "") for path in (output / "dicom").rglob("*.dcm")]
    return max(found, key=len), job


@pytest.mark.row("S13.2")
def test_sentences_stay_readable_without_anybody_of_the_cohort_and_a_human_is_asked(
    files: Path, tmp_path: Path
) -> None:
    text, job = comments(files, tmp_path / "out", f'{HEADERS}long_text = "detectors"')
    for name in (files.parent / "names").read_text("utf-8").split("\n"):
        assert name.lower() not in text.lower()
    assert "2019" not in text
    assert "Hodgkin lymphoma at L5-S1" in text
    assert job.report["redactions"]["review"] >= 1


def test_without_the_word_in_the_recipe_only_the_vocabulary_counts(files: Path, tmp_path: Path) -> None:
    text, job = comments(files, tmp_path / "out", HEADERS)
    assert "owl" not in text
    assert "review" not in job.report["redactions"]


def test_a_changed_model_stops_a_job_before_anything_is_cleaned(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_text, "model_folder", lambda: tmp_path)
    with pytest.raises(IntegrityError):
        comments(files, tmp_path / "out", f'{HEADERS}long_text = "detectors"')
    assert not list((tmp_path / "out").rglob("*.dcm"))


def test_another_word_is_refused() -> None:
    with pytest.raises(InvalidError):
        parse_recipe('long_text = "everything"')
