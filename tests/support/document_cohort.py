"""A cohort whose DICOM files are documents only: letters as PDF and structured reports, beside the usual two tables."""

from __future__ import annotations

import csv
import shutil
from dataclasses import dataclass
from pathlib import Path

from dicom_objects import encoded, instance
from pydicom.dataset import Dataset
from pydicom.uid import UID

from benchmarks.deid.pdf_pages import make_pdf
from enclave.deid.synthetic.cohort import Planted, generate_cohort

PATIENTS = 12
PDF_CLASS, REPORT_CLASS = "1.2.840.10008.5.1.4.1.1.104.1", "1.2.840.10008.5.1.4.1.1.88.33"
STRANGER = "Oswinthal Brekkeby"


@dataclass(frozen=True)
class DocumentCohort:
    """Where it is, what was planted, and the record number of the patient that no generalisation hides."""

    folder: Path
    planted: Planted
    outlier: str


def make_document_cohort(folder: Path) -> DocumentCohort:
    """Twelve patients of one zip code, between 60 and 64 years; the last one is 23, lives elsewhere and is left out."""
    planted = generate_cohort(folder, seed=9, patients=PATIENTS)
    shutil.rmtree(folder / "dicom")
    table = folder / "patients.csv"
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    for number, row in enumerate(rows):
        row |= {"age": str(60 + number % 5), "sex": "F", "zip": "40031"}
    rows[-1] |= {"age": "23", "sex": "M", "zip": "41001"}
    for row in rows[:3]:
        row["note"] = said_of(row["age"])
    _write(table, rows)
    visits = list(csv.DictReader((folder / "visits.csv").open(encoding="utf-8")))
    own = next(row for row in visits if row["patient_id"] == rows[0]["patient_id"])
    own["remark"] = said_of(rows[0]["age"])
    _write(
        folder / "visits.csv",
        [*visits, {**own, "patient_id": "MRN00481044", "visit_id": "V1", "remark": said_of("61")}],
    )
    (folder / "dicom").mkdir()
    for number, row in enumerate((*rows[:3], rows[-1], {**rows[0], "patient_id": "MRN00481044"})):
        (folder / "dicom" / f"letter{number}.dcm").write_bytes(encoded(letter(row, number)))
    (folder / "dicom" / "report.dcm").write_bytes(encoded(report(rows[3], 9)))
    planted.strings += ["Oswinthal", "Brekkeby", "MRN00481044"]
    return DocumentCohort(folder, planted, rows[-1]["patient_id"])


def said_of(age: str) -> str:
    """Running text that tells an age."""
    return (
        f"This {age}-year-old patient was seen for cough; there is a small pleural effusion on the left without change."
    )


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def letter(row: dict[str, str], number: int) -> Dataset:
    """An Encapsulated PDF about the person of ``row``, with what identifies in text and in all other places."""
    family, _, given = row["name"].partition(", ")
    text = [
        f"Patient: {row['name']}   {row['patient_id']}   {row['phone']}",
        "",
        f"This {row['age']}-year-old patient was seen for cough. Findings: there is a small pleural effusion on the",
        f"left without change. {given} {family} of {row['address']} was informed. The images were discussed with",
        f"Dr. {STRANGER} by telephone; no further imaging is needed in the next {number + 2} months.",
    ]
    ds = _object(row, number, sop_class=PDF_CLASS, modality="DOC")
    document = make_pdf([text], hidden=f"{row['name']} {row['phone']}")
    ds.MIMETypeOfEncapsulatedDocument, ds.DocumentTitle = "application/pdf", f"Letter about {row['name']}"
    ds.BurnedInAnnotation, ds.EncapsulatedDocumentLength = "YES", len(document)
    ds.EncapsulatedDocument = document
    return ds


def report(row: dict[str, str], number: int) -> Dataset:
    """A structured report: a measurement, and a sentence about the person of ``row``."""
    ds = _object(row, number, sop_class=REPORT_CLASS, modality="SR")
    ds.ValueType, ds.ContinuityOfContent = "CONTAINER", "SEPARATE"
    ds.ConceptNameCodeSequence = [_code("126000", "DCM", "Imaging Measurement Report")]
    length = _content("NUM", _code("410668003", "SCT", "Length"))
    value = Dataset()
    value.NumericValue, value.MeasurementUnitsCodeSequence = "12.5", [_code("mm", "UCUM", "millimeter")]
    length.MeasuredValueSequence = [value]
    finding = _content("TEXT", _code("121071", "DCM", "Finding"))
    finding.TextValue = (
        f"There is a nodule in the left lung of {row['name']}, who was told by Dr. {STRANGER} that it has not grown "
        "since the last examination and that no treatment is needed now."
    )
    ds.ContentSequence = [length, finding]
    return ds


def _object(row: dict[str, str], number: int, *, sop_class: str, modality: str) -> Dataset:
    ds = instance(sop=f"1.2.3.4.{number}", Modality=modality, StudyDate="20230512")
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = f"1.2.3.{number}", f"1.2.3.{number}.1"
    family, _, given = row["name"].partition(", ")
    ds.PatientID, ds.PatientName, ds.PatientAge = row["patient_id"], f"{family}^{given}", f"{row['age']:0>3}Y"
    return ds


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _content(kind: str, concept: Dataset) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType, item.ConceptNameCodeSequence = "CONTAINS", kind, [concept]
    return item
