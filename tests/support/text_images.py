"""Small images of one person with text drawn into them: what the tests of burned-in text are about."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

SIZE = 192
TEXT = ("Branlund^Anne", "MRN 4810488")
BLOCK = (8, 8, 170, 56)  # all ink is in here
Array = np.ndarray[Any, Any]


def mask(lines: tuple[str, ...] = TEXT) -> Array:
    page = Image.new("L", (SIZE, SIZE), 0)
    for number, line in enumerate(lines):
        ImageDraw.Draw(page).text((12, 10 + 22 * number), line, fill=255, font=ImageFont.load_default(17))
    return np.asarray(page) > 100


def ground(*, low: int = 30, high: int = 90) -> Array:
    axis = np.linspace(0, 7, SIZE)
    wave = (np.sin(axis)[:, None] * np.cos(axis)[None, :] + 1) / 2
    noise = np.random.default_rng(5).normal(0, (high - low) / 20, (SIZE, SIZE))
    return np.clip(low + wave * (high - low) + noise, low, high)


def base(*, modality: str = "US", syntax: UID = ExplicitVRLittleEndian, **attributes: Any) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = UID("1.2.840.10008.5.1.4.1.1.7"), syntax
    meta.MediaStorageSOPInstanceUID = UID("1.2.826.0.1.3680043.10.4711.7.1")
    made = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    made.StudyInstanceUID, made.SeriesInstanceUID = "1.2.826.0.1.3680043.10.4711.7.2", "1.2.826.0.1.3680043.10.4711.7.3"
    made.PatientName, made.PatientID, made.Modality = "Branlund^Anne", "MRN4810488", modality
    made.StudyDate, made.BodyPartExamined, made.BurnedInAnnotation = "20230512", "CHEST", "NO"
    made.Rows = made.Columns = SIZE
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def grey(value: int = 255) -> Array:
    return np.where(mask(), value, ground()).astype(np.uint8)


def with_bytes(made: FileDataset, data: bytes, *, vr: str = "OB") -> FileDataset:
    made.add_new(0x7FE00010, vr, data + b"\0" * (len(data) % 2))
    return made


def deep() -> Array:
    """Twelve bits in sixteen."""
    return np.where(mask(), 3900, ground(low=100, high=2000)).astype("<u2")
