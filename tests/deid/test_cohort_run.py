"""A whole job over an identified cohort: what must be gone is gone, what must stay stays."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import shutil
import signal
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import ahocorasick
import pydicom
import pytest
from dicom_objects import CT, encoded, instance
from pyarrow import parquet
from pydicom.dataset import Dataset

from enclave.core.errors import ConflictError, InvalidError, UnavailableError
from enclave.deid.check import check_output
from enclave.deid.job import JobSpec, run_job
from enclave.deid.reasons import REASONS
from enclave.deid.recipe import build_recipe


def outputs(ran: Any) -> list[pydicom.FileDataset]:
    return [pydicom.dcmread(path) for path in sorted((ran.output / "dicom").rglob("*.dcm"))]


def inputs(ran: Any) -> list[pydicom.FileDataset]:
    return [pydicom.dcmread(path) for path in sorted((ran.source / "dicom").rglob("*.dcm"))]


@pytest.mark.row("S13.2")
def test_no_planted_identifier_is_in_any_output_byte_or_name(ran: Any) -> None:
    automaton = ahocorasick.Automaton()
    for text in ran.planted.identifiers:
        key = text.encode().decode("latin-1").lower()
        automaton.add_word(key, text)
    automaton.make_automaton()
    found: set[str] = set()
    for path in ran.output.rglob("*"):
        data = str(path.relative_to(ran.output)).encode() + (path.read_bytes() if path.is_file() else b"")
        found.update(text for _, text in automaton.iter(data.decode("latin-1").lower()))
    assert found == set()


def test_the_account_adds_up(ran: Any) -> None:
    report = ran.result.report
    assert report["files_in"] == report["files_out"] + report["quarantined"]
    assert sum(report["reasons"].values()) == report["quarantined"]
    assert set(report["reasons"]) <= {"pixel_text_disagreement"}
    assert report["quarantined"] <= 0.05 * report["files_in"]
    files = [p for p in ran.output.rglob("*") if p.is_file() and p.parts[-2] != "quarantine" and p.name[0] != "."]
    assert len(files) == report["files_out"] + 1  # and the provenance
    assert report["canaries"]["planted"] > 10
    assert report["canaries"]["found"] == 0
    assert json.loads(json.dumps(report)) == report


def test_distinct_patients_stay_distinct_and_the_key_back_names_each(ran: Any) -> None:
    before = {str(ds.PatientID) for ds in inputs(ran)}
    assert len(before) == 44
    assert set(ran.result.patients) == before
    assert len({pseudonym for pseudonym, _ in ran.result.patients.values()}) == 44
    known = {pseudonym for pseudonym, _ in ran.result.patients.values()}
    assert {str(ds.PatientID) for ds in outputs(ran)} <= known


def test_each_uid_is_the_image_of_one_in_the_input(ran: Any) -> None:
    expected = {ran.keyring.uid_of(str(ds.SOPInstanceUID)) for ds in inputs(ran)}
    series = {ran.keyring.uid_of(str(ds.SeriesInstanceUID)) for ds in inputs(ran)}
    for ds in outputs(ran):
        assert str(ds.SOPInstanceUID) in expected
        assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
        assert str(ds.SeriesInstanceUID) in series


def test_intervals_between_images_and_visits_survive(ran: Any) -> None:
    offsets = dict(ran.result.patients.values())
    studies = {ran.keyring.uid_of(str(ds.SOPInstanceUID)): str(ds.StudyDate) for ds in inputs(ran)}
    for ds in outputs(ran):
        old, new = studies[str(ds.SOPInstanceUID)], str(ds.StudyDate)
        moved = date(int(new[:4]), int(new[4:6]), int(new[6:])) - date(int(old[:4]), int(old[4:6]), int(old[6:]))
        assert moved.days == offsets[str(ds.PatientID)] < 0
    with (ran.source / "visits.csv").open() as file:
        before = list(csv.DictReader(file))
    with (ran.output / "tables" / "visits.csv").open() as file:
        after = list(csv.DictReader(file))
    for old_row, new_row in zip(before, after, strict=True):
        shift = date.fromisoformat(new_row["admission_date"]) - date.fromisoformat(old_row["admission_date"])
        assert shift.days == offsets[new_row["patient_id"]]


def test_accession_numbers_link_images_and_visits(ran: Any) -> None:
    with (ran.output / "tables" / "visits.csv").open() as file:
        visits = {row["accession_number"]: row["patient_id"] for row in csv.DictReader(file)}
    for ds in outputs(ran):
        assert visits[ds.AccessionNumber] == str(ds.PatientID)


@pytest.mark.row("S13.3")
def test_pixels_are_those_of_the_input_where_no_text_was_burned_in(ran: Any) -> None:
    before = {ran.keyring.uid_of(str(ds.SOPInstanceUID)): ds for ds in inputs(ran)}
    changed = 0
    for ds in outputs(ran):
        original = before[str(ds.SOPInstanceUID)]
        with_text = original.Modality in ("US", "OT") or original.get("BurnedInAnnotation") == "YES"
        assert (ds.PixelData != original.PixelData) is with_text, original.Modality
        changed += with_text
    assert 0 < changed < len(before)


def test_technique_stays_and_descriptions_keep_their_clinical_words(ran: Any) -> None:
    for ds in outputs(ran):
        if ds.Modality == "CT":
            assert (ds.StudyDescription, ds.SeriesDescription) == ("CT CHEST W CONTRAST", "AXIAL 5.0 LUNG")
            assert (ds.Manufacturer, ds.ManufacturerModelName) == ("SIEMENS", "SOMATOM Force")
            assert (float(ds.KVP), ds.ConvolutionKernel, int(ds.RescaleIntercept)) == (120.0, "Br40d", -1024)
        assert ds.PatientSex in ("M", "F")
        assert int(ds.PatientAge[:3]) <= 90
        assert ds[0x0043, 0x1039].value[0] == 800  # on the standard's list of safe private elements


def test_what_was_done_is_declared_and_nothing_more(ran: Any) -> None:
    for ds in outputs(ran):
        assert ds.PatientIdentityRemoved == "YES"
        assert ds.LongitudinalTemporalInformationModified == "MODIFIED"
        codes = {item.CodeValue for item in ds.DeidentificationMethodCodeSequence}
        assert codes == {"113100", "113101", "113103", "113104", "113105", "113107", "113108", "113111"}
        assert ds.BurnedInAnnotation == "NO"
        assert ds.preamble == bytes(128)
        assert set(ds.file_meta.keys()) <= {0x00020000, 0x00020001, *range(0x00020002, 0x00020004), 0x00020010,
                                            0x00020012, 0x00020013}  # fmt: skip


def test_private_blocks_go_but_for_the_safe_list(ran: Any) -> None:
    for ds in outputs(ran):
        private = {(tag.group, tag.element) for tag in ds._dict if tag.is_private}
        assert private == {(0x0043, 0x0010), (0x0043, 0x1039)}


@pytest.mark.row("S13.8")
def test_provenance_has_a_row_for_each_object_and_no_value(ran: Any) -> None:
    rows = parquet.read_table(ran.output / "provenance.parquet").to_pylist()
    assert len(rows) == ran.result.report["files_out"]
    for row in rows:
        assert (ran.output / row["output"]).is_file()
        assert len(row["input_sha256"]) == len(row["output_sha256"]) == 64
        assert row["table_edition"] == "2026c/2025b"
        known = {"vocabulary", "identifier_sweep", "burned-in text"}
        assert {entry["reason"] for entry in json.loads(row["redactions"])} <= known


def test_a_verdict_names_its_reason_and_no_value(ran: Any) -> None:
    verdicts = [json.loads(path.read_text()) for path in (ran.output / "quarantine").glob("*.json")]
    assert len(verdicts) == ran.result.report["quarantined"]
    for verdict in verdicts:
        assert verdict["explanation"] == REASONS[verdict["reason"]]
        assert set(verdict) == {"reason", "explanation", "input_sha256", "at"}


def test_ages_over_89_are_top_coded_in_tables(ran: Any) -> None:
    with (ran.output / "tables" / "patients.csv").open() as file:
        ages = [int(row["age"]) for row in csv.DictReader(file)]
    assert sorted(ages)[-2:] == [90, 90]


def test_the_check_passes_on_what_the_job_made(ran: Any) -> None:
    found = check_output(ran.output, against=[ran.source], keyring=ran.keyring, recipe=ran.recipe)
    assert found["ok"], [check for check in found["checks"] if not check["ok"]]
    assert found["residual_hits"] == 0
    texts = [item for item in found["review_sample"] if "#" in item]
    assert 0 < len(found["review_sample"]) - len(texts) <= 20
    assert {item.partition("[")[0] for item in texts} == {"tables/patients.csv#note", "tables/visits.csv#remark"}
    assert len(texts) <= 40


@pytest.mark.parametrize("what", ["pixels", "intervals", "uid_closure", "residual"])
def test_the_check_finds_each_kind_of_damage(ran: Any, tmp_path: Path, what: str) -> None:
    source = min((ran.output / "dicom").rglob("*.dcm"))
    ds = pydicom.dcmread(source)
    if what == "pixels":
        ds.PixelData = bytes(len(ds.PixelData))
    elif what == "intervals":
        ds.StudyDate = "20200101"
    elif what == "uid_closure":
        ds.FrameOfReferenceUID = "1.2.3.4"
    else:
        original = next(one for one in inputs(ran) if ran.keyring.patient_id(str(one.PatientID)) == ds.PatientID)
        ds.StudyDescription = f"CHEST {str(original.PatientName).partition('^')[0].lower()}"
    target = tmp_path / source.relative_to(ran.output)
    target.parent.mkdir(parents=True)
    ds.save_as(target)
    shutil.copy(ran.output / "provenance.parquet", tmp_path)
    found = check_output(tmp_path, against=[ran.source], keyring=ran.keyring, recipe=ran.recipe)
    assert not found["ok"]
    assert {check["id"] for check in found["checks"] if not check["ok"]} == {what}


def test_references_to_what_did_not_leave_are_declared_and_no_fault(
    keyring: Any, headers_recipe: Any, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for number in range(3):
        ds = instance(sop=f"1.2.9.{number}")
        others = [Dataset() for _ in range(3)]
        for other, sop in zip(others, ("1.2.9.0", "1.2.9.77", f"1.2.8.{number}"), strict=True):
            other.ReferencedSOPClassUID, other.ReferencedSOPInstanceUID = CT, sop
        ds.ReferencedImageSequence = others
        (tmp_path / "in" / f"{number}.dcm").write_bytes(encoded(ds))
    recipe = replace(headers_recipe, tables={})
    run_job(JobSpec(inputs=[tmp_path / "in"], output=tmp_path / "out", recipe=recipe, keyring=keyring))
    found = check_output(tmp_path / "out", against=[tmp_path / "in"], keyring=keyring, recipe=recipe)
    assert found["ok"]
    assert [check["count"] for check in found["checks"] if check["id"] == "references"] == [1 + 3]


def test_a_used_output_folder_is_a_conflict_and_resume_does_nothing_twice(ran: Any) -> None:
    spec = JobSpec(inputs=[ran.source], output=ran.output, recipe=ran.recipe, keyring=ran.keyring)
    with pytest.raises(ConflictError):
        run_job(spec)
    before = {path: path.stat().st_mtime_ns for path in (ran.output / "dicom").rglob("*.dcm")}
    again = run_job(replace(spec, resume=True))
    assert {path: path.stat().st_mtime_ns for path in (ran.output / "dicom").rglob("*.dcm")} == before
    assert again.report["files_out"] == ran.result.report["files_out"]
    assert again.report["reasons"] == ran.result.report["reasons"]


def test_a_job_that_was_killed_goes_on_without_loss_or_double_work(
    source: Any, keyring: Any, headers_recipe: Any, tmp_path: Path
) -> None:
    spec = JobSpec(inputs=[source[0]], output=tmp_path / "out", recipe=headers_recipe, keyring=keyring)

    def stop(done: int, _total: int) -> None:
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(replace(spec, progress=stop))
    journal = tmp_path / "out" / ".journal.jsonl"
    journal.write_text(journal.read_text().rsplit("\n", 2)[0] + "\n{torn")  # one finished file was not remembered
    whole = run_job(replace(spec, resume=True))
    fresh = run_job(replace(spec, output=tmp_path / "fresh"))
    names = [
        sorted(path.relative_to(root).as_posix() for path in (root / "dicom").rglob("*.dcm"))
        for root in (tmp_path / "out", tmp_path / "fresh")
    ]
    assert names[0] == names[1]
    assert whole.report["files_out"] == fresh.report["files_out"]


def test_the_headers_recipe_lets_pixels_pass_and_says_so(
    source: Any, keyring: Any, headers_recipe: Any, tmp_path: Path
) -> None:
    job = run_job(JobSpec(inputs=[source[0]], output=tmp_path / "o", recipe=headers_recipe, keyring=keyring))
    assert job.report["quarantined"] == 0
    assert job.report["pixels_not_cleaned"] == job.report["files_out"] - 2


def test_a_table_with_a_column_without_a_role_stops_the_job_before_anything_is_written(
    source: Any, keyring: Any, tmp_path: Path
) -> None:
    recipe = build_recipe({"tables": {"patients": {"columns": {"patient_id": "link"}}}})
    with pytest.raises(InvalidError) as caught:
        run_job(JobSpec(inputs=[source[0]], output=tmp_path / "o", recipe=recipe, keyring=keyring))
    assert caught.value.code == "table_columns"
    assert "15 without one" in caught.value.message
    assert not (tmp_path / "o").exists()


@pytest.mark.slow
def test_a_worker_that_is_killed_is_an_error_that_says_how_to_go_on(
    source: Any, keyring: Any, headers_recipe: Any, tmp_path: Path
) -> None:
    spec = JobSpec(inputs=[source[0]], output=tmp_path / "o", recipe=headers_recipe, keyring=keyring, jobs=2)
    killed: list[int] = []

    def kill(done: int, _total: int) -> None:
        if done >= 5 and not killed:
            killed.extend(child.pid for child in multiprocessing.active_children() if child.pid)
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    with pytest.raises(UnavailableError) as caught:
        run_job(replace(spec, progress=kill))
    assert caught.value.code == "worker_lost"
    whole = run_job(replace(spec, resume=True))
    assert whole.report["files_out"] == whole.report["files_in"]
