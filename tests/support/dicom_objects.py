"""Small DICOM objects of one person, and all that an output folder holds, as bytes."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

CANARY = "Zanaryquist"
CT = "1.2.840.10008.5.1.4.1.1.2"


def instance(*, sop: str = "1.2.3.4", syntax: UID = ExplicitVRLittleEndian, **attributes: Any) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = UID(CT), UID(sop)
    ds.SOPClassUID, ds.SOPInstanceUID = CT, sop
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    ds.PatientID, ds.PatientName, ds.Modality = f"{CANARY}-77", f"{CANARY}^Ida", "SR"
    for name, value in attributes.items():
        setattr(ds, name, value)
    return ds


def encoded(ds: Dataset) -> bytes:
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def image() -> Dataset:
    ds = instance(Modality="CT", BodyPartExamined="CHEST", ImageType=["ORIGINAL", "PRIMARY"])
    ds.Rows = ds.Columns = 8
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 0
    ds.PixelData = bytes(range(128))
    return ds


def all_bytes(folder: Path) -> bytes:
    return b"".join(
        str(path.relative_to(folder)).encode() + (path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    )
