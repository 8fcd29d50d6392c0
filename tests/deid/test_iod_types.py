"""Combined actions by the type of the attribute in the IOD, and what the IOD wants is still there afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pydicom
import pytest
from dicom_objects import CANARY, all_bytes, encoded, image, instance
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from enclave.core.errors import InvalidError
from enclave.deid.actions import ABSENT, TYPES, UNKNOWN, Action, dummy, resolve
from enclave.deid.check import check_output
from enclave.deid.explain import explain_all, explain_tag
from enclave.deid.iods import TOP, iod_names, iod_of, macros, types_edition
from enclave.deid.job import JobSpec, run_job
from enclave.deid.places import Places
from enclave.deid.profile import OPTIONS, Profile
from enclave.deid.recipe import Recipe, build_recipe
from enclave.deid.standard.gather import TARGET, gather
from enclave.deid.table import table_rows

CT, ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1"
SEGMENTATION, RETIRED_US = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.6"
LETTERS = sorted({row.basic for row in table_rows() if "/" in row.basic})
BARE = build_recipe({"options": []})


def cleaned(ds: Dataset, tmp_path: Path, keyring: Any, recipe: Recipe = BARE) -> tuple[Dataset | None, dict[str, Any]]:
    """What a run makes of one object; the check of the output, or the reasons for which there is none."""
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    (source / "one.dcm").write_bytes(encoded(ds))
    report = run_job(JobSpec(inputs=[source], output=output, recipe=recipe, keyring=keyring)).report
    made = list((output / "dicom").rglob("*.dcm"))
    if not made:
        return None, report["reasons"]
    assert CANARY.encode() not in all_bytes(output)
    checks = check_output(output, against=[source], keyring=keyring, recipe=recipe)["checks"]
    return pydicom.dcmread(made[0]), {check["id"]: check["count"] for check in checks}


def of_class(uid: str, **attributes: Any) -> Dataset:
    ds = instance(SOPClassUID=uid, **attributes)
    ds.file_meta.MediaStorageSOPClassUID = UID(uid)
    return ds


@pytest.mark.parametrize("letters", LETTERS)
@pytest.mark.parametrize("iod_type", TYPES)
def test_a_combination_removes_as_much_as_the_type_in_the_iod_allows(letters: str, iod_type: str) -> None:
    action = resolve(letters, iod_type=iod_type)
    if iod_type in ("1", "1C"):
        assert action in (Action.DUMMY, Action.UID)
    elif iod_type in ("2", "2C"):
        assert action is not Action.REMOVE
        assert action is (Action.UID if "U" in letters else Action.ZERO if "Z" in letters else Action.DUMMY)
    else:
        assert action is (Action.UID if "U" in letters else Action.REMOVE if letters.startswith("X") else Action.ZERO)


@pytest.mark.parametrize("letters", LETTERS)
def test_in_an_unknown_iod_a_combination_keeps_any_iod_valid(letters: str) -> None:
    strongest = "U" if "U" in letters else "D" if "D" in letters else "Z"
    assert resolve(letters, iod_type=UNKNOWN) is Action(strongest)


@pytest.mark.parametrize(
    ("uid", "tag", "iod_type"),
    [
        (CT, 0x00080080, "3"),
        (CT, 0x00100020, "2"),
        (CT, 0x00181000, "3"),
        (ENHANCED_CT, 0x00181000, "1"),
        (CT, 0x0040A730, ABSENT),
        ("1.2.840.10008.5.1.4.1.1.88.33", 0x0040A730, "1C"),
    ],
)
def test_the_facts_hold_for_attributes_that_everybody_knows(uid: str, tag: int, iod_type: str) -> None:
    found = iod_of(uid)
    assert found is not None
    assert found.type_of(tag) == iod_type


def test_every_storage_class_that_is_in_use_is_known() -> None:
    assert len(iod_names()) == 180
    assert types_edition() == "2026b"
    assert iod_of(RETIRED_US) is None
    for uid in iod_names():
        found = iod_of(uid)
        assert found is not None
        assert found.types[TOP]
        assert found.name == "basic-directory" or found.type_of(0x00080018) == "1"


def test_what_an_item_holds_is_judged_by_its_sequence() -> None:
    found = iod_of(SEGMENTATION)
    assert found is not None
    assert found.type_of(0x00620005, sequence=0x00620002) == "1"  # Segment Label
    assert found.type_of(0x00620005) == ABSENT
    assert 0x300A00B0 in macros()  # Beam Sequence, which a segmentation has not
    assert found.type_of(0x300A00B2, sequence=0x300A00B0) == "2"
    assert found.type_of(0x00080080, sequence=0x00091001) == UNKNOWN


@pytest.mark.parametrize("uid", sorted(iod_names()))
def test_no_value_that_an_iod_wants_has_an_action_that_leaves_none(uid: str) -> None:
    """Over every place of every IOD: what is needed is kept, cleaned, replaced, or gets a dummy that is a value."""
    iod = iod_of(uid)
    assert iod is not None
    top = Places(Profile(table_rows(), options=[])).top(uid)
    for sequence, types in iod.types.items():
        place = top if sequence == TOP else top.within(sequence)
        for tag, iod_type in types.items():
            vr = pydicom.datadict.dictionary_VR(tag).split(" or ")[-1]
            rule = place[tag, vr]
            if not rule.needed:
                assert iod_type not in ("1", "1C") or rule.action is Action.REMOVE or tag == 0x00080103
                continue
            assert rule.action not in (Action.REMOVE, Action.ZERO) or rule.listed
            if rule.action is Action.DUMMY and vr != "SQ":
                assert dummy(vr) not in (b"", "")


def test_type_3_goes_type_2_becomes_empty_type_1_gets_a_dummy(tmp_path: Path, keyring: Any) -> None:
    ds = image()
    ds.InstitutionName, ds.StationName, ds.DeviceSerialNumber = f"{CANARY} Hospital", "ST1", f"{CANARY}9"
    ds.AcquisitionDate, ds.ContentDate, ds.ContrastBolusAgent = "20200101", "20200102", "Agent"
    ds.ReferencedImageSequence = Sequence([Dataset()])
    ds.ReferencedImageSequence[0].ReferencedSOPInstanceUID = "1.2.3.9"
    made, checks = cleaned(ds, tmp_path, keyring)
    assert made is not None
    for gone in ("InstitutionName", "StationName", "DeviceSerialNumber", "AcquisitionDate"):
        assert gone not in made
    assert made.ReferencedImageSequence[0].ReferencedSOPInstanceUID.startswith("2.25.")
    assert made["ContentDate"].value in ("", None)  # 2C
    assert made["ContrastBolusAgent"].value in ("", None)
    assert made.PatientID.startswith("P-")
    assert checks["type_1"] == 0


def test_the_same_attributes_stay_as_dummies_where_the_iod_wants_them(tmp_path: Path, keyring: Any) -> None:
    ds = of_class(ENHANCED_CT, DeviceSerialNumber=f"{CANARY}9", ContentDate="20200102", InstitutionName="Hospital")
    made, checks = cleaned(ds, tmp_path, keyring)
    assert made is not None
    assert made.DeviceSerialNumber == "Removed"
    assert made.ContentDate == "19000101"
    assert "InstitutionName" not in made
    assert checks["type_1"] == 0


def test_in_a_retired_class_every_combination_stays_as_a_dummy(tmp_path: Path, keyring: Any) -> None:
    ds = of_class(
        RETIRED_US, DeviceSerialNumber=f"{CANARY}9", InstitutionName=f"{CANARY} Hospital", ContentDate="20200102"
    )
    made, _ = cleaned(ds, tmp_path, keyring)
    assert made is not None
    assert (made.DeviceSerialNumber, made.InstitutionName, made.ContentDate) == ("Removed", "Removed", "19000101")


def test_an_option_wins_over_the_type(tmp_path: Path, keyring: Any) -> None:
    ds = image()
    ds.AcquisitionDate = "20200601"
    ds.ReferencedImageSequence = Sequence([Dataset()])
    ds.ReferencedImageSequence[0].ReferencedSOPInstanceUID = "1.2.3.9"
    recipe = build_recipe({"options": ["retain_modified_dates", "retain_uids"]})
    made, _ = cleaned(ds, tmp_path, keyring, recipe)
    assert made is not None
    assert made.ReferencedImageSequence[0].ReferencedSOPInstanceUID == "1.2.3.9"
    assert made.AcquisitionDate < "20200601"


def test_a_segmentation_still_says_which_images_it_is_of(tmp_path: Path, keyring: Any) -> None:
    source = Dataset()
    source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = CT, "1.2.3.9"
    derivation, frame, segment = Dataset(), Dataset(), Dataset()
    derivation.SourceImageSequence = Sequence([source])
    frame.DerivationImageSequence = Sequence([derivation])
    segment.SegmentNumber, segment.SegmentLabel, segment.SegmentAlgorithmType = 1, f"{CANARY}", "MANUAL"
    ds = of_class(SEGMENTATION)
    ds.PerFrameFunctionalGroupsSequence, ds.SegmentSequence = Sequence([frame]), Sequence([segment])
    made, checks = cleaned(ds, tmp_path, keyring)
    assert made is not None
    kept = made.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
    assert kept.ReferencedSOPInstanceUID == keyring.uid_of("1.2.3.9")
    assert made.SegmentSequence[0].SegmentLabel == "Removed"  # type 1, and its word is nobody's to keep
    assert made.SegmentSequence[0].SegmentNumber == 1
    assert checks["type_1"] == 0


def test_a_file_whose_mandatory_number_is_an_identifier_is_held_back(tmp_path: Path, keyring: Any) -> None:
    ds = of_class(ENHANCED_CT, PatientID="4711471147", InstanceNumber="4711471147")
    made, reasons = cleaned(ds, tmp_path, keyring)
    assert made is None
    assert reasons == {"identifier_in_mandatory": 1}


def test_number_arrays_of_type_1_stay_and_are_searched(tmp_path: Path, keyring: Any) -> None:
    grid = Dataset()
    grid.GridDimensions, grid.VectorGridData = [1, 1, 1], b"\0\0\x80?" * 3
    registration = Dataset()
    registration.DeformableRegistrationGridSequence = Sequence([grid])
    ds = of_class("1.2.840.10008.5.1.4.1.1.66.3")
    ds.DeformableRegistrationSequence = Sequence([registration])
    ds.VectorGridData = b"\0\0\x80?"  # where the IOD has none
    made, checks = cleaned(ds, tmp_path / "a", keyring)
    assert made is not None
    kept = made.DeformableRegistrationSequence[0].DeformableRegistrationGridSequence[0]
    assert kept.VectorGridData == b"\0\0\x80?" * 3
    assert "VectorGridData" not in made
    assert checks["type_1"] == 0
    grid.VectorGridData = f"{CANARY}-77 ".encode()
    assert cleaned(ds, tmp_path / "b", keyring)[1] == {"identifier_in_mandatory": 1}


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()


def test_the_check_finds_a_mandatory_value_that_is_gone_at_any_depth(tmp_path: Path, keyring: Any) -> None:
    segment = Dataset()
    segment.SegmentNumber, segment.SegmentLabel, segment.SegmentAlgorithmType = 1, "LIVER", "MANUAL"
    ds = of_class(SEGMENTATION, ContentLabel="LABEL")
    ds.SegmentSequence = Sequence([segment])
    made, checks = cleaned(ds, tmp_path, keyring)
    assert made is not None
    assert checks["type_1"] == 0
    path = next((tmp_path / "out" / "dicom").rglob("*.dcm"))
    for spoil in (
        lambda one: delattr(one.SegmentSequence[0], "SegmentLabel"),
        lambda one: setattr(one, "ContentLabel", ""),
        lambda one: setattr(one, "SegmentSequence", Sequence()),
    ):
        spoiled = pydicom.dcmread(path)
        spoil(spoiled)
        pydicom.dcmwrite(tmp_path / "spoiled", spoiled)
        whole = path.read_bytes()
        path.write_bytes((tmp_path / "spoiled").read_bytes())
        found = check_output(tmp_path / "out", against=[tmp_path / "in"], keyring=keyring, recipe=BARE)
        assert not found["ok"]
        assert next(one for one in found["checks"] if one["id"] == "type_1")["count"] == 1
        path.write_bytes(whole)


@given(st.sets(st.sampled_from(sorted(OPTIONS))), st.sampled_from(sorted(iod_names())), st.sampled_from(table_rows()))
def test_explain_says_what_the_cleaner_does(options: set[str], uid: str, row: Any) -> None:
    recipe = build_recipe({"options": sorted(options - {"retain_full_dates"})})
    tag = int(row.tag.replace("x", "0"), 16)
    vr = pydicom.datadict.dictionary_VR(tag).split(" or ")[0] if pydicom.datadict.dictionary_has_tag(tag) else "UN"
    said = explain_tag(f"{tag:08x}", recipe=recipe, sop_class=uid)
    done = Places(Profile(table_rows(), options=recipe.options)).top(uid)[tag, vr]
    assert said["action"] == done.action.value
    assert said["because"].startswith(done.because)


def test_explain_resolves_each_row_for_one_class_and_counts_the_classes_without() -> None:
    by_class = {entry["tag"]: entry for entry in explain_all(BARE, sop_class="EnhancedCTImageStorage")}
    assert by_class["0018,1000"]["action"] == "D"
    assert "type 1 in the IOD" in by_class["0018,1000"]["because"]
    assert not any("/" in entry["action"] for entry in by_class.values())
    for entry in explain_all(BARE):
        if "/" in entry["action"]:
            assert "unknown IOD: " in entry["because"]
    retired = explain_tag("0018,1000", recipe=BARE, sop_class=RETIRED_US)
    assert retired["action"] == "D"
    assert "unknown IOD" in retired["because"]


def test_a_word_that_is_no_sop_class_is_refused_with_the_nearest() -> None:
    with pytest.raises(InvalidError, match="CTImageStorage"):
        explain_all(BARE, sop_class="CTImageStorag")


def test_the_facts_are_made_from_a_folder_of_tables(tmp_path: Path) -> None:
    tables: dict[str, Any] = {
        "sop_class_iod_map": {"1.2.840.10008.9.1": "thing"},
        "iod_module_map": {"thing": [{"key": "a"}, {"key": "b"}, {"key": "lost"}], "unused": [{"key": "c"}]},
        "module_attribute_map": {
            "a": [
                {"keyword": "PatientID", "type": "2", "path": []},
                {"keyword": "Rows", "type": "3", "path": []},
                {"keyword": "StationName", "type": "3", "path": []},
                {"keyword": "SegmentLabel", "type": "1C", "path": ["SegmentSequence"]},
                {"keyword": "SegmentLabel", "type": "1", "path": ["OtherPatientIDsSequence", "SegmentSequence"]},
            ],
            "b": [{"keyword": "OverlayData", "type": "1", "path": []}, {"keyword": "Odd", "type": "None", "path": []}],
            "c": [{"keyword": "Rows", "type": "1", "path": []}],
        },
    }
    for name, table in tables.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(table))
    lines = gather(tmp_path, edition="1999x", date="2000-01-01").splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        "edition;1999x;2000-01-01",
        "class;1.2.840.10008.9.1;thing",
        "iod;thing;partial;a b",
        "module;a;0 1",
        "module;b;",
        "block;0;00620002;1:00620005",
        "block;1;top;2:00100020 3:00081010",
    ]
    assert TARGET.read_text("utf-8").startswith("# Attribute types")
