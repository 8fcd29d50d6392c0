"""De-identified image files become series objects: one array per series, with a header that holds technique only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import FileDataset

from enclave.deid.dates import parse_da
from enclave.deid.quiet import quiet_parsing
from enclave.deid.stored_pixels import pixel_array
from enclave.intake.documents import is_document
from enclave.sealed.writer import PlainObject

# Technique only: nothing about the patient, no date, no text that somebody typed.
_TECHNICAL = (
    *("Manufacturer", "ManufacturerModelName", "SliceThickness", "KVP", "ConvolutionKernel", "PatientPosition"),
    *("ScanningSequence", "SequenceVariant", "MRAcquisitionType", "EchoTime", "RepetitionTime", "FlipAngle"),
    *("MagneticFieldStrength", "ViewPosition", "PhotometricInterpretation", "BitsStored", "ImageType"),
    *("WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept", "ImageOrientationPatient"),
)
_DTYPES = {("u", 1): "uint8", ("i", 1): "int8", ("u", 2): "uint16", ("i", 2): "int16", ("u", 4): "uint32"}
Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Collected:
    """The objects, one index row per series, and how many series were left out for which reason."""

    objects: list[PlainObject]
    index: list[dict[str, Any]]
    left_out: Counter[str] = field(default_factory=Counter)


def collect_series(folder: Path, *, without: frozenset[str]) -> Collected:
    """All series below ``folder`` (``<patient>/<study>/<series>/*.dcm``) but those of the patients in ``without``.

    Each is an array (frames, rows, columns[, samples]) in the order of the slices. CT is in Hounsfield units.
    """
    found = Collected([], [])
    for path in sorted(folder.glob("*/*/*")):
        if path.parts[-3] in without:
            found.left_out["patient_suppressed"] += 1
            continue
        with quiet_parsing():
            _add_series(path, found)
    return found


def _add_series(path: Path, found: Collected) -> None:
    heads = [(file, pydicom.dcmread(file, stop_before_pixels=True)) for file in sorted(path.glob("*.dcm"))]
    others = [head for _, head in heads if "Rows" not in head]
    heads = [(file, head) for file, head in heads if "Rows" in head]
    if not heads:
        if not all(map(is_document, others)):
            found.left_out["no_image"] += 1
        return
    heads.sort(key=lambda pair: _place_of(pair[1]))
    first = heads[0][1]
    if len({_form(head) for _, head in heads}) != 1:
        found.left_out["mixed_forms"] += 1
        return
    try:
        frame = _pixels(heads[0][0])
    except Exception:  # noqa: BLE001 - no codec for the transfer syntax, or pixels that do not decode
        found.left_out["not_decodable"] += 1
        return
    dtype = _DTYPES.get((frame.dtype.kind, frame.dtype.itemsize))
    if dtype is None:
        found.left_out["sample_type"] += 1
        return
    shape = [frame.shape[0] * len(heads), *frame.shape[1:]]
    files = [file for file, _ in heads]
    found.objects.append(
        PlainObject(
            name=f"series/{path.name}",
            kind="series",
            header=_header(first, heads[-1][1], count=len(heads), dtype=dtype, shape=shape),
            chunks=lambda: _frames(files, frame.shape, frame.dtype),
        )
    )
    found.index.append(_index_row(path, first, shape))


def _frames(files: list[Path], shape: tuple[int, ...], dtype: np.dtype[Any]) -> Iterator[bytes]:
    for file in files:
        pixels = _pixels(file)
        if pixels.shape != shape or pixels.dtype != dtype:
            raise ValueError("a slice of another form than the first of its series")
        yield pixels.tobytes()


def _pixels(file: Path) -> Array:
    """The pixels of one instance, always with a first axis of frames, little endian; CT in Hounsfield units."""
    pixels = pixel_array(file)
    with quiet_parsing():
        dataset = pydicom.dcmread(file, stop_before_pixels=True)
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames == 1:
        pixels = pixels[np.newaxis]
    if _in_hounsfield(dataset):
        slope, intercept = int(dataset.RescaleSlope), int(dataset.RescaleIntercept)
        pixels = np.clip(pixels.astype(np.int32) * slope + intercept, -32768, 32767).astype(np.int16)
    return np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder("<"), copy=False))


def _in_hounsfield(dataset: FileDataset) -> bool:
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    if dataset.get("Modality") != "CT" or slope is None or intercept is None:
        return False
    return float(slope).is_integer() and float(intercept).is_integer()


def _form(head: FileDataset) -> tuple[str, ...]:
    names = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "PixelRepresentation", "NumberOfFrames")
    return tuple(str(head.get(name)) for name in (*names, "RescaleSlope", "RescaleIntercept", "Modality"))


def _place_of(head: FileDataset) -> tuple[float, int, str]:
    """Along the normal of the slices when there is one, else by number."""
    try:
        row, column = np.array(head.ImageOrientationPatient, float).reshape(2, 3)
        along = float(np.dot(np.cross(row, column), np.array(head.ImagePositionPatient, float)))
    except Exception:  # noqa: BLE001 - absent or no numbers: the instance number decides
        along = 0.0
    number = head.get("InstanceNumber")
    return (round(along, 3), int(number) if number is not None else 0, str(head.SOPInstanceUID))


def _header(first: FileDataset, last: FileDataset, *, count: int, dtype: str, shape: list[int]) -> dict[str, Any]:
    attributes = {name: _plain(first.get(name)) for name in _TECHNICAL if first.get(name) not in (None, "")}
    header: dict[str, Any] = {
        "dtype": dtype,
        "shape": shape,
        "modality": str(first.get("Modality") or ""),
        "body_part": str(first.get("BodyPartExamined") or ""),
        "spacing": _spacing(first, last, count),
        "attributes": attributes,
    }
    if _in_hounsfield(first):
        header["units"] = "HU"
        del attributes["RescaleSlope"], attributes["RescaleIntercept"]
    return header


def _spacing(first: FileDataset, last: FileDataset, count: int) -> list[float] | None:
    """Millimetres between slices, rows, columns; None when the file does not say."""
    rows = first.get("PixelSpacing") or first.get("ImagerPixelSpacing")
    if not rows or len(rows) != 2:
        return None
    between = float(first.get("SliceThickness") or 0.0)
    if count > 1:
        between = abs(_place_of(last)[0] - _place_of(first)[0]) / (count - 1) or between
    return [round(between, 4), round(float(rows[0]), 4), round(float(rows[1]), 4)]


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return str(value)
    if hasattr(value, "__iter__"):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, int) else float(value)


def _index_row(path: Path, first: FileDataset, shape: list[int]) -> dict[str, Any]:
    return {
        "series": path.name,
        "patient_id": path.parts[-3],
        "study": path.parts[-2],
        "accession_number": str(first.get("AccessionNumber") or ""),
        "study_date": parse_da(str(first.get("StudyDate") or "")),
        "modality": str(first.get("Modality") or ""),
        "body_part": str(first.get("BodyPartExamined") or ""),
        "description": str(first.get("SeriesDescription") or ""),
        "frames": shape[0],
        "rows": shape[1],
        "columns": shape[2],
    }
