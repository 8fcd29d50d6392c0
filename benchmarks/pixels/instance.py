"""One image as a file of a job sees it: written, read, looked at."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from enclave.deid.looking import look_at
from enclave.deid.reading import read_instance
from enclave.deid.source import open_source


def look_at_pixels(pixels: np.ndarray[Any, Any]) -> Sequence[tuple[int, int, int, int]]:
    """The boxes that a job would blank; raises ``Quarantined`` where it would hold the image back."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.dcm"
        path.write_bytes(written(pixels))
        with open_source(path) as source:
            instance = read_instance(source)
            _, looked = look_at(instance, instance.pixels, identifies=lambda _: False, thoroughly=True)
            return looked.boxes


def compressed(pixels: np.ndarray[Any, Any], quality: int) -> np.ndarray[Any, Any]:
    """The image as JPEG at a quality (1 to 100) leaves it: letters have no value of their own any more."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=quality)
    return np.asarray(Image.open(out))


def written(pixels: np.ndarray[Any, Any]) -> bytes:
    """A secondary capture of eight bits."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = UID("1.2.840.10008.5.1.4.1.1.7"), ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = UID("1.2.826.0.1.3680043.10.4711.6.1")
    made = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    made.Modality, (made.Rows, made.Columns) = "OT", pixels.shape
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    made.PixelData = pixels.tobytes()
    out = io.BytesIO()
    made.save_as(out, enforce_file_format=True)
    return out.getvalue()
