"""A cohort as a scanner sends it: long series whose files differ in a few elements. For speed, not for survivors."""

from __future__ import annotations

import random
import warnings
from pathlib import Path

import numpy as np
from pydicom import config as pydicom_config
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from benchmarks.deid.people import Person, make_people

SLICES = 100  # in each series
_CLASSES = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4"}
_SHOWN = (
    ("SamplesPerPixel", 1), ("PhotometricInterpretation", "MONOCHROME2"), ("BitsAllocated", 16), ("BitsStored", 12),
    ("HighBit", 11), ("PixelRepresentation", 0), ("PixelSpacing", [0.78, 0.78]), ("WindowCenter", 40),
    ("WindowWidth", 400), ("SliceThickness", 1.5), ("PatientPosition", "HFS"), ("BurnedInAnnotation", "NO"),
    ("ImageOrientationPatient", [1, 0, 0, 0, 1, 0]), ("ImageType", ["ORIGINAL", "PRIMARY", "AXIAL"]),
    ("PositionReferenceIndicator", ""), ("Laterality", ""), ("PatientAge", "061Y"), ("PatientWeight", "71.5"),
)  # fmt: skip
_TECHNIQUE: dict[str, tuple[tuple[str, object], ...]] = {
    "CT": (
        ("KVP", "120"), ("ExposureTime", "500"), ("XRayTubeCurrent", "210"), ("Exposure", "105"), ("FilterType", "0"),
        ("GeneratorPower", "36"), ("FocalSpots", ["1.2"]), ("ConvolutionKernel", "B30f"), ("GantryDetectorTilt", "0"),
        ("TableHeight", "155"), ("RotationDirection", "CW"), ("DataCollectionDiameter", "500"),
        ("ReconstructionDiameter", "380"), ("DistanceSourceToDetector", "1085.6"), ("SpiralPitchFactor", 1.2),
        ("DistanceSourceToPatient", "595"), ("SingleCollimationWidth", 0.6), ("TotalCollimationWidth", 38.4),
        ("TableSpeed", 46.0), ("CTDIvol", 7.1), ("RescaleIntercept", "-1024"), ("RescaleSlope", "1"),
        ("RescaleType", "HU"), ("ContrastBolusAgent", "Iomeprol"), ("SoftwareVersions", "syngo CT VB20A"),
        ("ManufacturerModelName", "SOMATOM Force"), ("ScanOptions", "HELICAL_CT"),
    ),
    "MR": (
        ("ScanningSequence", "SE"), ("SequenceVariant", ["SK", "SP"]), ("MRAcquisitionType", "2D"),
        ("SequenceName", "*tse2d1_9"), ("AngioFlag", "N"), ("RepetitionTime", "3200"), ("EchoTime", "35"),
        ("NumberOfAverages", "1"), ("ImagingFrequency", "123.25"), ("ImagedNucleus", "1H"), ("EchoNumbers", "1"),
        ("MagneticFieldStrength", "3"), ("SpacingBetweenSlices", "3.3"), ("EchoTrainLength", "9"),
        ("NumberOfPhaseEncodingSteps", "320"), ("PercentSampling", "100"), ("PixelBandwidth", "223"),
        ("TransmitCoilName", "Body"), ("AcquisitionMatrix", [0, 384, 307, 0]), ("FlipAngle", "150"),
        ("InPlanePhaseEncodingDirection", "ROW"), ("SAR", "0.42"), ("VariableFlipAngleFlag", "N"), ("dBdt", "0"),
        ("ReceiveCoilName", "Knee_15"), ("SoftwareVersions", "syngo MR E11"), ("ManufacturerModelName", "Skyra"),
    ),
}  # fmt: skip


def make_series(folder: Path, *, seed: int, files: int, patients: int = 6, size: int = 128) -> None:
    """Writes ``files`` CT and MR images of ``size`` × ``size`` pixels below ``folder``, ``SLICES`` to a series."""
    rng = random.Random(seed)
    people = make_people(rng, count=patients)
    pixels = np.random.default_rng(seed)
    each = -(-files // patients)
    with warnings.catch_warnings(), pydicom_config.disable_value_validation():
        warnings.simplefilter("ignore")
        for number, person in enumerate(people):
            for index in range(min(each, files - number * each)):
                if index % SLICES == 0:
                    dataset = _series(rng, person, index // SLICES, size)
                _slice(dataset, rng, index)
                dataset.PixelData = pixels.integers(0, 4095, (size, size), dtype=np.uint16).tobytes()
                target = folder / person.mrn / f"{index // SLICES}" / f"IM{index:05d}.dcm"
                target.parent.mkdir(parents=True, exist_ok=True)
                dataset.save_as(target, enforce_file_format=True)


def _series(rng: random.Random, person: Person, number: int, size: int) -> FileDataset:
    modality = ("CT", "CT", "MR")[number % 3]
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(_CLASSES[modality])
    meta.TransferSyntaxUID = ImplicitVRLittleEndian if modality == "MR" else ExplicitVRLittleEndian
    meta.SourceApplicationEntityTitle = person.station
    ds = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    ds.set_original_encoding(modality == "MR", True)  # noqa: FBT003 - not ours
    if person.charset:
        ds.SpecificCharacterSet = person.charset.split("\\")
    ds.SOPClassUID, ds.Modality, ds.SeriesNumber = _CLASSES[modality], modality, number + 1
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(ds, keyword, _uid(rng))
    ds.Rows = ds.Columns = size
    for keyword, value in (*_SHOWN, *_TECHNIQUE[modality]):
        setattr(ds, keyword, value)
    _identify(ds, person)
    _refer(ds, rng, modality)
    _add_private(ds, rng, person)
    return ds


def _identify(ds: Dataset, person: Person) -> None:
    for keyword, value in (
        ("PatientName", person.pn), ("PatientID", person.mrn), ("PatientSex", person.sex),
        ("PatientBirthDate", f"{person.birth:%Y%m%d}"), ("AccessionNumber", person.accession),
        ("InstitutionName", person.hospital), ("InstitutionAddress", person.street), ("StationName", person.station),
        ("InstitutionalDepartmentName", person.department), ("ReferringPhysicianName", person.physician),
        ("OperatorsName", person.operator), ("DeviceSerialNumber", person.serial), ("StudyID", person.mrn[-6:]),
        ("StudyDescription", "CT CHEST W CONTRAST"), ("SeriesDescription", "AXIAL 1.5 LUNG"),
        ("ProtocolName", f"Chest {person.mrn}"), ("BodyPartExamined", "CHEST"), ("Manufacturer", "SIEMENS"),
        ("PatientComments", f"{person.given} {person.surname}, {person.phone}"),
    ):  # fmt: skip
        setattr(ds, keyword, value)
    for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
        setattr(ds, keyword, f"{person.studies[0]:%Y%m%d}")
    ds.StudyTime = ds.SeriesTime = ds.PerformedProcedureStepStartTime = "081530.125"


def _refer(ds: Dataset, rng: random.Random, modality: str) -> None:
    """The sequences that most images have: procedure codes, the request, what the image refers to."""
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "RPID16", "RADLEX", "CT CHEST W IV CONT"
    request = Dataset()
    request.RequestedProcedureDescription, request.RequestedProcedureID = "CT CHEST W CONTRAST", ds.AccessionNumber
    request.ScheduledProcedureStepID, request.ScheduledProtocolCodeSequence = ds.StudyID, Sequence([code])
    ds.ProcedureCodeSequence, ds.RequestAttributesSequence = Sequence([code]), Sequence([request])
    others = []
    for _ in range(3):
        other = Dataset()
        other.ReferencedSOPClassUID, other.ReferencedSOPInstanceUID = _CLASSES[modality], _uid(rng)
        others.append(other)
    ds.ReferencedImageSequence, ds.ReferencedStudySequence = Sequence(others), Sequence(others[:1])


def _add_private(ds: Dataset, rng: random.Random, person: Person) -> None:
    header = ds.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    header.add_new(0x08, "CS", "IMAGE NUM 4")
    header.add_new(0x10, "OB", person.mrn.encode() + rng.randbytes(8_000))
    header.add_new(0x20, "OB", person.surname.encode() + rng.randbytes(12_000))
    block = ds.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    block.add_new(0x0C, "IS", "1000")
    block.add_new(0x0D, "CS", "DIRECTIONAL")


def _slice(ds: FileDataset, rng: random.Random, index: int) -> None:
    """What differs from slice to slice."""
    number = index % SLICES
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = _uid(rng)
    ds.InstanceNumber, ds.AcquisitionNumber = number + 1, 1 + number // 10
    ds.SliceLocation, ds.ImagePositionPatient = f"{-number * 1.5}", [-180.0, -180.0, -number * 1.5]
    ds.ContentTime = ds.AcquisitionTime = f"0816{number % 60:02d}.{number:03d}"
    ds.SmallestImagePixelValue, ds.LargestImagePixelValue = 0, 3000 + number


def _uid(rng: random.Random) -> str:
    return "1.2.826.0.1.3680043.10.4712." + "".join(str(rng.randint(1, 9)) for _ in range(22))
