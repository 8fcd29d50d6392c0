"""The head of ellipsoids as DICOM images: any orientation, any share of it, on request with another frame or label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from enclave.deid.faces.volume import Volume

_ORIENTATIONS = {"axial": (0, 1, 2), "coronal": (0, 2, 1), "sagittal": (1, 2, 0)}  # columns, rows, slices
CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"


def write_series(
    folder: Path,
    volume: Volume,
    *,
    study: str,
    frame: str,
    orientation: str = "axial",
    every: int = 1,
    slices: slice = slice(None),
    **attributes: Any,
) -> list[Path]:
    """Writes one series of CT; ``attributes`` replace or, when None, remove attributes of each image."""
    folder.mkdir(parents=True)
    across, down, through = _ORIENTATIONS[orientation]
    values = np.transpose(volume.values, (down, across, through))
    steps = [volume.affine[:3, axis] for axis in (across, down, through)]
    series, paths = generate_uid(), []
    for number in range(values.shape[2])[slices][::every]:
        dataset = _image(values[:, :, number], steps[0], steps[1], origin=volume.affine[:3, 3] + number * steps[2])
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = study, series, frame
        dataset.InstanceNumber = number + 1
        for name, value in attributes.items():
            if value is None:
                delattr(dataset, name)
            else:
                setattr(dataset, name, value)
        path = folder / f"{number:04d}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def _image(stored: Any, across: Any, down: Any, *, origin: Any) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(CT), generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = CT, meta.MediaStorageSOPInstanceUID
    dataset.PatientID, dataset.PatientName, dataset.Modality = "P1", "Doe^Jane", "CT"
    dataset.BodyPartExamined, dataset.StudyDescription, dataset.SeriesDescription = "HEAD", "CT HEAD", "HEAD 2.0"
    dataset.ImageType, dataset.BurnedInAnnotation = ["ORIGINAL", "PRIMARY", "AXIAL"], "NO"
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = "20260101"
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = "101010"
    dataset.ImagePositionPatient = [float(v) for v in origin]
    lengths = [float(np.linalg.norm(step)) for step in (across, down)]
    dataset.ImageOrientationPatient = [float(v) for v in (*(across / lengths[0]), *(down / lengths[1]))]
    dataset.PixelSpacing, dataset.SliceThickness = [lengths[1], lengths[0]], 2.0
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = -1024, 1, "HU"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PixelData = np.ascontiguousarray(stored + 1024).astype("<u2").tobytes()
    return dataset
