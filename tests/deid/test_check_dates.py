"""The check after a job counts every date that moved otherwise than its patient's others, wherever it stands."""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pydicom
import pytest
from dicom_objects import encoded, instance
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from enclave.deid.check import check_output
from enclave.deid.check_dates import Dates, Moments
from enclave.deid.job import JobSpec, run_job
from enclave.deid.keyring import Keyring
from enclave.deid.places import Places
from enclave.deid.profile import Profile
from enclave.deid.recipe import Recipe, build_recipe
from enclave.deid.table import table_rows
from enclave.deid.tree import Node

OPTIONS = ["retain_modified_dates", "clean_descriptors"]
ALLOW = [{"creator": "ACME DATES", "element": "0029,xx01"}]
TABLES = {"visits": {"columns": {"patient_id": "link", "seen": "date", "at": "date"}}}
RECIPE = build_recipe({"options": OPTIONS, "private": {"allow": ALLOW}, "tables": TABLES})
PATIENT = "Zanaryquist-77"
Damage = Callable[[pydicom.FileDataset], None]


def dated() -> Dataset:
    ds = instance(Modality="CT", StudyDate="20230512", StudyTime="081530.25", AcquisitionDateTime="20230512081531.5")
    ds.DateOfLastCalibration, ds.TimeOfLastCalibration = ["20230101", "20230301"], ["0800", "0900"]
    inner, outer = Dataset(), Dataset()
    inner.StudyDate, inner.StudyTime = "20210304", "1200"
    outer.ReferencedSOPClassUID, outer.ReferencedSOPInstanceUID = ds.SOPClassUID, "1.2.9.1"
    outer.PurposeOfReferenceCodeSequence = [inner]
    ds.ReferencedImageSequence = [Dataset(), outer]
    block = ds.private_block(0x0029, "ACME DATES", create=True)
    block.add_new(0x01, "DA", "20221231")
    return ds


def nested(ds: pydicom.FileDataset) -> Dataset:
    return ds.ReferencedImageSequence[1].PurposeOfReferenceCodeSequence[0]


def ran(folder: Path, keyring: Keyring, recipe: Recipe = RECIPE) -> Path:
    (folder / "in").mkdir()
    (folder / "in" / "a.dcm").write_bytes(encoded(dated()))
    rows = [["patient_id", "seen", "at"], [PATIENT, "2023-05-12", "2023-05-12T10:00:00"],
            ["", "2023-05-13", "2023-05-13T10:00:00"], [PATIENT, "2023-06-01", "2023-06-01T11:30:00"]]  # fmt: skip
    with (folder / "in" / "visits.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    run_job(JobSpec(inputs=[folder / "in"], output=folder / "out", recipe=recipe, keyring=keyring))
    (path,) = (folder / "out").rglob("*.dcm")
    return path


def failed(folder: Path, keyring: Keyring, recipe: Recipe = RECIPE) -> set[str]:
    checked = check_output(folder / "out", against=[folder / "in"], keyring=keyring, recipe=recipe)
    return {one["id"] for one in checked["checks"] if not one["ok"]}


def set_to(keyword: str, value: Any, *, inside: bool = False) -> Damage:
    return lambda ds: setattr(nested(ds) if inside else ds, keyword, value)


def test_what_the_job_made_passes_with_every_date_in_it(tmp_path: Path, keyring: Keyring) -> None:
    clean = pydicom.dcmread(ran(tmp_path, keyring))
    assert nested(clean).StudyDate not in ("", "20210304")
    assert clean[0x00291001].value not in ("", "20221231")
    assert clean.AcquisitionDateTime.endswith("081531.5")
    assert failed(tmp_path, keyring) == set()


@pytest.mark.parametrize(
    "damage",
    [
        set_to("StudyDate", "20210304", inside=True),
        set_to("StudyDate", "", inside=True),
        set_to("StudyTime", "1201", inside=True),
        set_to("AcquisitionDateTime", "20230512081531.5"),
        set_to("StudyTime", "081530.26"),
        set_to("DateOfLastCalibration", "20230101"),
        set_to("TimeOfLastCalibration", ["0900", "0800"]),
        set_to("SeriesDate", "20230512"),
        lambda ds: ds.__setitem__(0x00291001, pydicom.DataElement(0x00291001, "DA", "20221231")),
        lambda ds: setattr(ds, "AcquisitionDateTime", ds.AcquisitionDateTime[:8] + "081532.5"),
        lambda ds: delattr(nested(ds), "StudyDate"),
    ],
)
def test_a_date_that_did_not_move_with_the_others_is_found(damage: Damage, tmp_path: Path, keyring: Keyring) -> None:
    path = ran(tmp_path, keyring)
    clean = pydicom.dcmread(path)
    damage(clean)
    clean.save_as(path)
    assert "intervals" in failed(tmp_path, keyring)


@pytest.mark.parametrize(("column", "value"), [(1, "2023-05-12"), (2, "2021-01-01 10:00:00"), (1, "")])
def test_a_cell_that_did_not_move_with_the_dates_of_the_images_is_found(
    column: int, value: str, tmp_path: Path, keyring: Keyring
) -> None:
    ran(tmp_path, keyring)
    path = tmp_path / "out" / "tables" / "visits.csv"
    rows = list(csv.reader(path.open()))
    rows[2][column] = value
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    assert "intervals" in failed(tmp_path, keyring)


def test_a_time_of_day_that_moved_alone_is_found_in_a_table(tmp_path: Path, keyring: Keyring) -> None:
    ran(tmp_path, keyring)
    path = tmp_path / "out" / "tables" / "visits.csv"
    text = path.read_text()
    assert "11:30" in text
    path.write_text(text.replace("11:30", "11:31"))
    assert failed(tmp_path, keyring) == {"intervals"}


@pytest.mark.parametrize("times", ["hour", "none"])
def test_coarser_times_are_what_the_recipe_asked_for(times: str, tmp_path: Path, keyring: Keyring) -> None:
    recipe = build_recipe({"options": OPTIONS, "tables": TABLES, "dates": {"times": times}})
    ran(tmp_path, keyring, recipe)
    assert failed(tmp_path, keyring, recipe) == set()


DATES = Dates(Places(Profile(table_rows(), options=OPTIONS)), lambda _node, _tag: False)


def moments(day: date, moment: datetime) -> Moments:
    node = Node(("ascii",))
    node[0x00080016] = ("UI", b"1.2.840.10008.5.1.4.1.1.2")
    node[0x00080020] = ("DA", f"{day:%Y%m%d}".encode())
    node[0x0008002A] = ("DT", f"{moment:%Y%m%d%H%M%S}.{moment.microsecond:06}".encode())
    return DATES.of(node)


@given(
    st.dates(date(1900, 1, 1), date(2100, 1, 1)),
    st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001 - DICOM's have no zone
    st.integers(-730, -1),
    st.integers(-2, 2),
)
def test_exactly_the_right_move_passes(day: date, moment: datetime, days: int, error: int) -> None:
    right, wrong = timedelta(days=days), timedelta(days=days + error)
    before = moments(day, moment)
    for after in (moments(day + right, moment + wrong), moments(day + wrong, moment + right)):
        assert DATES.wrong(before, after, days=days) == (error != 0)


@given(st.dictionaries(st.sampled_from([0x00080016, 0x00080020, 0x0008002A, 0x00080030]), st.binary(max_size=20)))
def test_any_bytes_in_the_place_of_dates_are_compared_or_passed_over(values: dict[int, bytes]) -> None:
    node = Node(("ascii",))
    for tag, value in values.items():
        node[tag] = ({0x00080016: "UI", 0x00080020: "DA", 0x0008002A: "DT", 0x00080030: "TM"}[tag], value)
    found = DATES.of(node)
    assert DATES.wrong(found, (), days=-3) <= len(found)


def of_values(**values: str) -> Moments:
    node = Node(("ascii",))
    node[0x00080016] = ("UI", b"1.2.840.10008.5.1.4.1.1.2")
    for vr, value in values.items():
        node[{"DA": 0x00080020, "DT": 0x0008002A, "TM": 0x00080030}[vr]] = (vr, value.encode())
    return DATES.of(node)


@pytest.mark.parametrize(
    ("vr", "value", "dummy"),
    [
        ("DA", "1961-02-03", "19000101"),
        ("DA", "1961", "19000101"),
        ("DT", "1961-02-03T10", "19000101000000"),
        ("TM", "10 o'clock", "000000"),
    ],
)
@pytest.mark.parametrize("left", ["unchanged", "another", "in part"])
def test_of_a_value_that_is_no_date_nothing_may_be_left(vr: str, value: str, dummy: str, left: str) -> None:
    before = of_values(**{vr: value})
    after = {
        "unchanged": value,
        "another": {"DA": "19610101", "DT": "19610101", "TM": "1000"}[vr],
        "in part": value[:4],
    }
    assert DATES.wrong(before, of_values(**{vr: after[left]}), days=-9) == 1
    assert [DATES.wrong(before, of_values(**{vr: fine}), days=-9) for fine in ("", dummy)] == [0, 0]
    assert DATES.wrong(before, (), days=-9) == 0


@pytest.mark.parametrize(("times", "kept"), [("exact", "081530"), ("hour", "08"), ("none", "")])
def test_no_finer_time_of_day_passes_than_the_recipe_keeps(times: str, kept: str) -> None:
    dates = Dates(DATES.places, DATES.keeps_private, times)
    before = of_values(TM="081530")
    passed = {
        text for text in ("081530", "0815", "08", "09", "") if not dates.wrong(before, of_values(TM=text), days=-9)
    }
    assert passed == {kept}
