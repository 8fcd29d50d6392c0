"""Times of day are kept, coarsened to the hour or taken away, in images and in tables alike; days move as ever."""

from __future__ import annotations

import csv
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pydicom
import pytest
from dicom_objects import encoded, image

from enclave.deid.check import check_output
from enclave.deid.job import JobSpec, run_job
from enclave.deid.recipe import build_recipe

PATIENT = "Zanaryquist-77"
SEEN = datetime.fromisoformat("2024-03-05T17:43:21")


def scan() -> Any:
    ds = image()
    ds.PatientID = PATIENT
    ds.StudyDate = ds.ContentDate = "20240305"
    ds.StudyTime, ds.ContentTime, ds.SeriesTime = "174321", "174321.125", ["1743", "174321"]
    ds.AcquisitionDateTime = "20240305174321.5+0100"
    ds.TimeOfLastCalibration = "174321"
    return ds


@pytest.mark.row("S13.2")
@pytest.mark.parametrize(
    ("times", "study", "content", "acquired", "cell"),
    [
        ("exact", "174321", "174321.125", "174321.5+0100", "2024-03-05T17:43:21"),
        ("hour", "17", "17", "17+0100", "2024-03-05T17:00:00"),
        ("none", "", "", "+0100", "2024-03-05"),
    ],
)
def test_a_time_is_as_fine_as_the_recipe_says_in_images_and_tables(
    times: str, study: str, content: str, acquired: str, cell: str, keyring: Any, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.dcm").write_bytes(encoded(scan()))
    (tmp_path / "in" / "t.csv").write_text(f"patient_id,seen\n{PATIENT},{SEEN.isoformat()}\n")
    recipe = build_recipe(
        {
            "options": ["retain_modified_dates", "clean_descriptors"],
            "dates": {"times": times},
            "tables": {"t": {"columns": {"patient_id": "link", "seen": "date"}}},
        }
    )
    run_job(JobSpec(inputs=[tmp_path / "in"], output=tmp_path / "out", recipe=recipe, keyring=keyring))
    assert check_output(tmp_path / "out", against=[tmp_path / "in"], keyring=keyring, recipe=recipe)["ok"]
    (path,) = (tmp_path / "out").rglob("*.dcm")
    ds = pydicom.dcmread(path)
    days = timedelta(days=keyring.offset_days(PATIENT, max_shift_days=730))
    moved = f"{SEEN + days:%Y%m%d}"
    assert (ds.StudyTime or "", ds.ContentTime or "", ds.StudyDate) == (study, content, moved)
    assert ds.AcquisitionDateTime == moved + acquired
    if times != "exact":
        assert b"43" not in b"".join(
            str(element.value).encode() for element in ds.iterall() if element.VR in ("TM", "DT")
        ).replace(moved.encode(), b"")
    with (tmp_path / "out" / "tables" / "t.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert datetime.fromisoformat(row["seen"]) == datetime.fromisoformat(cell) + days
    assert ("T" in row["seen"] or " " in row["seen"]) == (times != "none")
