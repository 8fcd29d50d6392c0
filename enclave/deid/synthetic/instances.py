"""DICOM instances with identifiers where real ones have them: headers, comments, private blocks, sequences, pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from enclave.deid.synthetic import phantom
from enclave.deid.synthetic.people import Person, Rng

_SOP_CLASS = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "CR": "1.2.840.10008.5.1.4.1.1.1",
    "US": "1.2.840.10008.5.1.4.1.1.6.1",
    "SC": "1.2.840.10008.5.1.4.1.1.7",
}
_MAKER = {
    "CT": ("SIEMENS", "SOMATOM Force", "syngo CT VB20A"),
    "MR": ("Philips Medical Systems", "Ingenia", "5.6.1"),
    "CR": ("Canon Inc.", "CXDI Control Software", "2.16.0"),
    "US": ("GE Healthcare", "LOGIQ E10", "R3.1.5"),
    "SC": ("SIEMENS", "syngo.via", "VB60A"),
}
_STUDY = {"CT": "CT CHEST W CONTRAST", "MR": "MR KNEE LEFT", "CR": "XR CHEST PA", "US": "US ABDOMEN", "SC": "CT CHEST"}
_SERIES = {"CT": "AXIAL 5.0 LUNG", "MR": "SAG PD FAT SAT", "CR": "PA ERECT", "US": "LIVER", "SC": "DOSE REPORT"}
_BODY = {"CT": "CHEST", "MR": "KNEE", "CR": "CHEST", "US": "ABDOMEN", "SC": "CHEST"}
_SIZE = {"CT": 128, "MR": 96, "CR": 128, "US": 160, "SC": 160}


@dataclass(frozen=True, slots=True)
class Exam:
    """One study of one series to be written."""

    person: Person
    accession: str
    at: date
    modality: str
    count: int


@dataclass(slots=True)
class Written:
    """What one exam planted."""

    uids: list[str] = field(default_factory=list)
    strings: list[str] = field(default_factory=list)
    instances: int = 0


@dataclass(frozen=True, slots=True)
class _Ids:
    study: str
    series: str
    frame: str
    serial: str
    station: str


def write_exam(root: Path, *, rng: Rng, exam: Exam) -> Written:
    """Writes the instances of one exam; folder and file names hold identifiers too."""
    person = exam.person
    ids = _Ids(_uid(rng), _uid(rng), _uid(rng), f"SN{int(rng.integers(10**7, 10**8))}", f"CONSOLE{person.mrn[-3:]}X")
    folder = root / f"{person.surname}_{person.given}_{person.mrn}" / f"{exam.at:%Y-%m-%d}_{exam.modality}"
    folder.mkdir(parents=True, exist_ok=True)
    written = Written(uids=[ids.study, ids.series, ids.frame], strings=[ids.serial, ids.station])
    for number in range(exam.count):
        sop = _uid(rng)
        dataset = _base(exam, ids=ids, sop=sop, number=number)
        _describe(dataset, exam=exam, ids=ids)
        _hide(dataset, exam=exam)
        _PIXELS[exam.modality](dataset, rng, exam, number)
        dataset.save_as(folder / f"{person.surname}_{ids.serial[-4:]}_{number:04d}.dcm", enforce_file_format=True)
        written.uids.append(sop)
        written.instances += 1
    return written


def _uid(rng: Rng) -> str:
    return "1.2.826.0.1.3680043.10.99999." + "".join(str(d) for d in rng.integers(1, 10, size=24))


def _base(exam: Exam, *, ids: _Ids, sop: str, number: int) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(_SOP_CLASS[exam.modality])
    meta.MediaStorageSOPInstanceUID = UID(sop)
    meta.TransferSyntaxUID = ImplicitVRLittleEndian if exam.modality == "MR" else ExplicitVRLittleEndian
    meta.SourceApplicationEntityTitle = f"{exam.person.mrn[-6:]}AET"
    preamble = exam.person.mrn.encode().ljust(128, b"\0")
    dataset = FileDataset("", {}, file_meta=meta, preamble=preamble)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, sop
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = ids.study, ids.series
    dataset.FrameOfReferenceUID = ids.frame
    dataset.PatientID, dataset.PatientName = exam.person.mrn, exam.person.dicom_name
    dataset.PatientBirthDate, dataset.PatientSex = f"{exam.person.birth:%Y%m%d}", exam.person.sex
    dataset.PatientAge = f"{exam.person.age:03d}Y"
    dataset.InstanceNumber, dataset.SeriesNumber, dataset.StudyID = number + 1, 2, exam.accession[-6:]
    dataset.AccessionNumber = exam.accession
    for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
        setattr(dataset, keyword, f"{exam.at:%Y%m%d}")
    for keyword in ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime"):
        setattr(dataset, keyword, f"{9 + number % 8:02d}3015.250")
    return dataset


def _describe(dataset: Dataset, *, exam: Exam, ids: _Ids) -> None:
    person, modality = exam.person, exam.modality
    dataset.Modality = "OT" if modality == "SC" else modality
    dataset.Manufacturer, dataset.ManufacturerModelName, dataset.SoftwareVersions = _MAKER[modality]
    dataset.DeviceSerialNumber, dataset.StationName = ids.serial, ids.station
    dataset.InstitutionName, dataset.InstitutionAddress = person.hospital, f"1 Clinic Road, {person.town}"
    dataset.InstitutionalDepartmentName = f"Radiology {person.hospital}"
    dataset.ReferringPhysicianName, dataset.OperatorsName = person.physician, person.operator
    dataset.StudyDescription = f"{_STUDY[modality]} {person.surname.upper()}"
    dataset.SeriesDescription = _SERIES[modality]
    dataset.ProtocolName = f"{_SERIES[modality]} {person.mrn}"
    dataset.BodyPartExamined = _BODY[modality]
    dataset.PatientAddress, dataset.PatientTelephoneNumbers = f"{person.street}, {person.town}", person.phone
    dataset.PatientMotherBirthName = person.mother
    dataset.PatientComments = f"{person.given} {person.surname}, {person.national_id}, call {person.phone}"
    dataset.ImageComments = f"PT {person.dicom_name} DOB {person.birth:%d.%m.%Y}"
    dataset.AdditionalPatientHistory = f"Nodule seen in {exam.at.year - 1} by {person.physician.split('^')[0]}"
    dataset.Occupation = f"{person.town} baker"[:16]


def _hide(dataset: Dataset, *, exam: Exam) -> None:
    person = exam.person
    other = Dataset()
    other.PatientID, other.IssuerOfPatientID = person.national_id, person.hospital
    dataset.OtherPatientIDsSequence = Sequence([other])
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "77477000", "SCT", "Computed tomography"
    dataset.ProcedureCodeSequence = Sequence([code])
    request = Dataset()
    request.RequestedProcedureDescription = f"{_STUDY[exam.modality]} for {person.surname}"
    request.ScheduledProcedureStepID = exam.accession
    request.RequestedProcedureID = exam.accession
    deeper = Dataset()
    deeper.PersonName = person.dicom_name
    deeper.TextValue = f"Discussed with {person.physician.split('^')[0]} at {person.hospital}"
    request.add_new(0x0040A730, "SQ", Sequence([deeper]))
    dataset.RequestAttributesSequence = Sequence([request])
    dataset.add_new(0x00281055, "LO", [f"WINDOW {person.surname}"])  # text that Table E.1-1 does not list
    dataset.add_new(0x00181160, "SH", person.mrn)
    dataset.add_new(0x00420010, "ST", f"Report on {person.given} {person.surname}")
    block = dataset.private_block(0x0009, "ACME PATIENT 1.0", create=True)
    block.add_new(0x01, "LO", person.dicom_name)
    block.add_new(0x02, "OB", f"blob {person.mrn} {person.surname} end ".encode())
    inner = Dataset()
    inner.PatientName = person.dicom_name
    block.add_new(0x03, "SQ", Sequence([inner]))
    safe = dataset.private_block(0x0043, "GEMS_PARM_01", create=True)
    safe.add_new(0x39, "IS", ["800", "0", "0", "0"])


def _store(dataset: Dataset, *, pixels: phantom.Array, bits: int, signed: bool = False) -> None:
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = pixels.dtype.itemsize * 8
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, int(signed)
    dataset.add_new(0x7FE00010, "OB" if pixels.dtype.itemsize == 1 else "OW", pixels.tobytes())


def _ct(dataset: Dataset, rng: Rng, exam: Exam, number: int) -> None:
    size = _SIZE["CT"]
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.ImagePositionPatient = [-190.0, -190.0, 5.0 * number]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness = [380 / size, 380 / size], 5.0
    dataset.KVP, dataset.ConvolutionKernel, dataset.PatientPosition = 120, "Br40d", "HFS"
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = -1024, 1, "HU"
    dataset.WindowCenter, dataset.WindowWidth = 40, 400
    _store(dataset, pixels=phantom.ct_slice(rng, size=size, z=number / max(1, exam.count - 1)), bits=16, signed=True)


def _mr(dataset: Dataset, rng: Rng, exam: Exam, number: int) -> None:
    size = _SIZE["MR"]
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "SE"]
    dataset.ScanningSequence, dataset.SequenceVariant, dataset.MRAcquisitionType = "SE", "SK", "2D"
    dataset.EchoTime, dataset.RepetitionTime, dataset.MagneticFieldStrength = 30, 2800, 3
    dataset.ImagePositionPatient = [4.0 * number, -80.0, 80.0]
    dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    dataset.PixelSpacing, dataset.SliceThickness = [160 / size, 160 / size], 4.0
    _store(dataset, pixels=phantom.mr_slice(rng, size=size, z=number / max(1, exam.count - 1)), bits=12)


def _cr(dataset: Dataset, rng: Rng, exam: Exam, number: int) -> None:
    dataset.ImageType, dataset.ViewPosition = ["ORIGINAL", "PRIMARY"], "PA"
    burned = number % 2 == 1
    dataset.BurnedInAnnotation = "YES" if burned else "NO"
    text = (exam.person.dicom_name, exam.person.mrn) if burned else ()
    _store(dataset, pixels=phantom.radiograph(rng, size=_SIZE["CR"], text=text), bits=12)


def _us(dataset: Dataset, rng: Rng, exam: Exam, number: int) -> None:
    del number
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    text = (exam.person.dicom_name, f"{exam.person.mrn} {exam.at:%d.%m.%Y}", exam.person.hospital)
    _store(dataset, pixels=phantom.ultrasound(rng, size=_SIZE["US"], text=text), bits=8)


def _sc(dataset: Dataset, rng: Rng, exam: Exam, number: int) -> None:
    del rng, number
    dataset.ImageType, dataset.ConversionType = ["DERIVED", "SECONDARY", "SCREEN SAVE"], "WSD"
    text = ("Dose report", exam.person.dicom_name, exam.person.mrn, f"Acc {exam.accession}")
    _store(dataset, pixels=phantom.text_page(size=_SIZE["SC"], text=text), bits=8)


_PIXELS: dict[str, Callable[[Any, np.random.Generator, Exam, int], None]] = {
    "CT": _ct,
    "MR": _mr,
    "CR": _cr,
    "US": _us,
    "SC": _sc,
}
