"""An option that retains the identity of a device or an institution is not undone by the sweep; nobody else's stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from enclave.deid.actions import Action
from enclave.deid.canaries import plant, search
from enclave.deid.check import check_output
from enclave.deid.harvest import Harvest
from enclave.deid.job import JobSpec, run_job
from enclave.deid.profile import OPTIONS, Profile
from enclave.deid.recipe import build_recipe
from enclave.deid.table import table_rows
from enclave.deid.tools import make_tools
from enclave.deid.worker import harvest_file

RETAINING = ("retain_device_identity", "retain_institution_identity")
TEXTS = frozenset({"LO", "SH", "ST", "LT", "UC"})
BASE = ("retain_modified_dates", "clean_descriptors")


def texts_kept_by(option: str) -> list[int]:
    """The text attributes that the table keeps for ``option``."""
    rows = [row for row in table_rows() if row.options.get(option) == "K" and "x" not in row.tag]
    return [int(row.tag, 16) for row in rows if dictionary_VR(row.tag) in TEXTS]


def value_of(tag: int) -> str:
    return f"ZANARY{tag:08X}"[:16]


def scan(folder: Path, **changes: str) -> Path:
    """One image in which every text of both options holds an identity of its own."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.2")
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3.4")
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality = "1.2.3", "1.2.3.1", "CT"
    ds.PatientID, ds.PatientName = "M-4711-22", "Quisling^Ida"
    for option in RETAINING:
        for tag in texts_kept_by(option):
            ds.add_new(tag, dictionary_VR(tag), value_of(tag))
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    (folder / "in").mkdir(parents=True)
    ds.save_as(folder / "in" / "a.dcm", enforce_file_format=True)
    return folder


def cleaned(folder: Path, keyring: Any, *options: str) -> pydicom.FileDataset:
    recipe = build_recipe({"options": [*BASE, *options]})
    run_job(JobSpec(inputs=[folder / "in"], output=folder / "out", recipe=recipe, keyring=keyring))
    assert check_output(folder / "out", against=[folder / "in"], keyring=keyring, recipe=recipe)["ok"]
    (path,) = (folder / "out").rglob("*.dcm")
    return pydicom.dcmread(path)


@pytest.mark.row("S13.2")
@pytest.mark.parametrize("option", RETAINING)
def test_all_that_an_option_keeps_stays_and_all_that_the_other_would_keep_goes(
    option: str, keyring: Any, tmp_path: Path
) -> None:
    ds = cleaned(scan(tmp_path), keyring, option)
    wanted = texts_kept_by(option)
    assert len(wanted) > 5
    assert {tag: str(ds[tag].value) for tag in wanted} == {tag: value_of(tag) for tag in wanted}
    (other,) = set(RETAINING) - {option}
    gone = set(texts_kept_by(other)) - set(wanted)
    assert [tag for tag in gone if value_of(tag) in str(ds.get(tag))] == []


def test_without_the_options_none_of_it_stays_anywhere(keyring: Any, tmp_path: Path) -> None:
    scan(tmp_path)
    cleaned(tmp_path, keyring)
    for path in (tmp_path / "out").rglob("*"):
        assert b"ZANARY" not in (path.read_bytes() if path.is_file() else b"")


@pytest.mark.parametrize("name", ["CT M-4711-22", "QUISLING", "471122 B"])
def test_a_kept_attribute_that_names_the_patient_is_cleaned_all_the_same(
    name: str, keyring: Any, tmp_path: Path
) -> None:
    ds = cleaned(scan(tmp_path, StationName=name), keyring, *RETAINING)
    assert name not in str(ds.get("StationName"))
    assert ds.DeviceSerialNumber == value_of(0x00181000)


def test_a_kept_value_does_not_stay_where_the_table_does_not_keep_it(keyring: Any, tmp_path: Path) -> None:
    station = value_of(0x00081010)
    ds = cleaned(scan(tmp_path, StudyDescription=f"CT CHEST {station}"), keyring, *RETAINING)
    assert ds.StudyDescription == "CT CHEST"
    assert ds.StationName == station


def test_canaries_count_what_has_to_go_and_not_what_an_option_keeps(keyring: Any, tmp_path: Path) -> None:
    found = {}
    for options in ((), RETAINING):
        planted = plant(2, folder=tmp_path / f"{len(options)}", keyring=keyring)
        recipe = build_recipe({"options": [*BASE, *options]})
        profile = Profile(table_rows(), options=recipe.options)
        harvest = Harvest(frozenset(), retained=profile.retained)
        for path in planted.files:
            harvest_file(harvest, path)
        found[options] = search(planted, tools=make_tools(recipe, keyring=keyring, cohort=harvest.finish()))
    assert found[()]["found"] == found[RETAINING]["found"] == 0
    assert 10 < found[RETAINING]["planted"] < found[()]["planted"]


def test_every_attribute_that_is_retained_is_kept_by_the_rule_of_an_active_option() -> None:
    for option in OPTIONS:
        profile = Profile(table_rows(), options=[option])
        for tag in profile.retained:
            rule = profile.listed(tag)
            assert rule is not None
            assert (rule.action, rule.because) == (Action.KEEP, f"option {option}: K")
    assert Profile(table_rows(), options=()).retained == frozenset()
