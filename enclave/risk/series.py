"""What the series of a version tell of who is in it: how and when they were acquired. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa

from enclave.risk.config import Image
from enclave.risk.image import ImageRisk, image_holds
from enclave.wire.messages.schema import Json

FINGERPRINT: Final = ("manufacturer", "model", "spacing")
_WHO, _SERIES, _STUDY, _DATE = "patient_id", "series", "study", "study_date"
_MEASURED: Final = ("fingerprint", "with_table", "study_count", "study_intervals", "together")


def series_image(imaging: Any) -> Image:
    """What of an index of series is counted: acquisition, and the sequence of studies where all have a date."""
    dated = imaging.column(_DATE).null_count == 0
    return Image(fingerprint=FINGERPRINT, study=_STUDY if dated else None, date=_DATE if dated else None)


def told_of_series(found: ImageRisk, *, k: int) -> dict[str, Json]:
    """``{series, subjects, fingerprint, with_table, study_count, study_intervals, together, holds}``, None where it is
    not available: studies without a date have no sequence."""
    told: dict[str, Json] = {"series": found.images, "subjects": found.subjects}
    for name in _MEASURED:
        one = getattr(found, name)
        told[name] = None if one is None else dataclasses.asdict(one)
    return told | {"holds": image_holds(found, k=k) if found.images else {}}


def series_table(imaging: Any, headers: Mapping[str, Json], *, subject: str) -> Any:
    """One row per series: whose it is, its study and day, and how it was acquired."""
    parts = [_acquisition(headers.get(name)) for name in imaging.column(_SERIES).to_pylist()]
    acquired = zip(*parts, strict=True)
    return pa.table({
        subject: imaging.column(_WHO),
        _STUDY: imaging.column(_STUDY),
        _DATE: imaging.column(_DATE),
        **{name: pa.array(values, pa.string()) for name, values in zip(FINGERPRINT, acquired, strict=True)},
    })  # fmt: skip


def _acquisition(header: Json) -> tuple[str | None, ...]:
    told = header if isinstance(header, dict) else {}
    attributes = told.get("attributes") or {}
    values = (attributes.get("Manufacturer"), attributes.get("ManufacturerModelName"), told.get("spacing"))
    return tuple(None if value is None else str(value) for value in values)
