"""A data set carries only the attributes and columns that its purpose lists, and stays readable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydicom
import pytest
from dicom_objects import encoded, image
from pyarrow import csv as arrow_csv
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from enclave.core.errors import InvalidError
from enclave.core.secret import Secret
from enclave.deid.check import check_output
from enclave.deid.explain import explain_tag
from enclave.deid.job import JobSpec, run_job
from enclave.deid.keyring import derive_keyring
from enclave.deid.recipe import Recipe, build_recipe

pytestmark = pytest.mark.row("S16.1")
KEYS = derive_keyring(Secret(bytes(range(32))))
OPTIONS = ["retain_modified_dates", "retain_patient_characteristics", "retain_safe_private", "clean_descriptors"]


def recipe(*attributes: str, **more: Any) -> Recipe:
    return build_recipe({"options": OPTIONS, "minimum": {"purpose": "Doses.", "attributes": [*attributes]}, **more})


def cleaned(tmp_path: Path, chosen: Recipe) -> Dataset:
    ds = image()
    ds.StudyDate, ds.SeriesDate, ds.PatientSex, ds.PatientAge, ds.KVP = "20210304", "20210304", "F", "044Y", "120"
    ds.SeriesDescription, ds.Manufacturer, ds.PatientWeight = "CT CHEST", "SIEMENS", "80"
    dose, phantom = Dataset(), Dataset()
    dose.CTDIvol, phantom.CodeValue = 7.5, "113691"
    phantom.CodingSchemeDesignator, phantom.CodeMeaning = "DCM", "IEC Body Dosimetry Phantom"
    dose.CTDIPhantomTypeCodeSequence = Sequence([phantom])
    ds.ExposureModulationType = "NONE"
    ds.CTExposureSequence, ds.RequestAttributesSequence = Sequence([dose]), Sequence([Dataset()])
    ds.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x39, "IS", "1000")
    (tmp_path / "in").mkdir(parents=True)
    (tmp_path / "in" / "a.dcm").write_bytes(encoded(ds))
    job = JobSpec(inputs=[tmp_path / "in"], output=tmp_path / "out", recipe=chosen, keyring=KEYS)
    assert run_job(job).report["files_out"] == 1
    found = check_output(tmp_path / "out", against=[tmp_path / "in"], keyring=KEYS, recipe=chosen)
    assert [one["id"] for one in found["checks"] if not one["ok"]] == []
    (path,) = (tmp_path / "out").rglob("*.dcm")
    return pydicom.dcmread(path)


def test_only_what_the_purpose_lists_stays_beside_what_the_object_cannot_do_without(tmp_path: Path) -> None:
    before = cleaned(tmp_path / "all", build_recipe({"options": OPTIONS}))
    assert {"SeriesDescription", "PatientAge", "PatientWeight", "SeriesDate"} <= set(before.dir())
    after = cleaned(tmp_path / "few", recipe("KVP", "CTExposureSequence", "0008,0020"))
    assert after.KVP == 120
    assert after.CTExposureSequence[0].CTDIvol == 7.5
    assert after.CTExposureSequence[0].CTDIPhantomTypeCodeSequence[0].CodeValue == "113691"
    assert after.StudyDate == before.StudyDate
    gone = {"SeriesDescription", "PatientAge", "PatientWeight", "SeriesDate", "RequestAttributesSequence"}
    assert gone.isdisjoint(after.dir())
    assert (after.PatientSex, after.Manufacturer) == ("", "")  # type 2: there, and empty
    assert not any(element.tag.is_private for element in after)
    assert "113111" in [code.CodeValue for code in before.DeidentificationMethodCodeSequence]
    assert "113111" not in [code.CodeValue for code in after.DeidentificationMethodCodeSequence]  # it did not run
    assert after.PixelData == before.PixelData
    assert (after.Modality, after.Rows, after.PatientID) == ("CT", 8, before.PatientID)


def test_a_column_that_is_not_needed_does_not_leave(tmp_path: Path) -> None:
    roles = {"id": "link", "seen": "date", "hobby": "not_needed"}
    chosen = recipe("KVP", tables={"t": {"columns": roles}})
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "t.csv").write_text("id,seen,hobby\n4711234,2021-03-04,chess\n")
    run_job(JobSpec(inputs=[tmp_path / "in"], output=tmp_path / "out", recipe=chosen, keyring=KEYS))
    assert arrow_csv.read_csv(tmp_path / "out" / "tables" / "t.csv").column_names == ["id", "seen"]


def test_explain_says_that_the_purpose_does_not_need_it() -> None:
    assert explain_tag("0010,1010", recipe=recipe("KVP"))["because"].startswith("not among the attributes")
    assert explain_tag("0018,0060", recipe=recipe("KVP"))["action"] == "K"


@pytest.mark.parametrize("name", ["KPV", "0043,1039", "", "0018"])
def test_a_word_that_is_no_attribute_is_refused(name: str) -> None:
    with pytest.raises(InvalidError, match=r"minimum\.attributes"):
        recipe(name)
