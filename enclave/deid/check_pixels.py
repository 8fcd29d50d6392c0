"""Compares redacted pixels with those of the input: only the boxes and faces of the provenance differ,
and they are blank."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pyarrow import parquet

from enclave.deid.faces.apply import without_face
from enclave.deid.faces.image_facts import image_facts
from enclave.deid.faces.order import Plane
from enclave.deid.frames import Frames, open_frames
from enclave.deid.pixel_data import check_pixels, trim
from enclave.deid.pixel_form import Array
from enclave.deid.reading import Instance, read_instance
from enclave.deid.reasons import Quarantined
from enclave.deid.redaction import region_of
from enclave.deid.source import open_source
from enclave.deid.worker import BURNED_IN
from enclave.detectors.pixel_text.boxes import Box


def recorded_boxes(path: Path) -> dict[str, tuple[Box, ...]]:
    """The boxes that the provenance at ``path`` names for each file of the output; none when it cannot be read."""
    try:
        rows = parquet.read_table(path, columns=["output", "redactions"]).to_pylist()
        return {
            row["output"]: tuple(
                Box(*one["box"]) for one in json.loads(row["redactions"]) if one["reason"] == BURNED_IN
            )
            for row in rows
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def recorded_faces(path: Path) -> dict[str, tuple[Plane, ...]]:
    """The planes behind which the provenance at ``path`` says that a face went, for each file of the output."""
    try:
        rows = parquet.read_table(path, columns=["output", "redactions"]).to_pylist()
        return {
            row["output"]: tuple((*plane,) for one in json.loads(row["redactions"]) for plane in one.get("planes", ()))
            for row in rows
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def differs_as_recorded(
    origin: Path, instance: Instance, *, boxes: Sequence[Box], planes: tuple[Plane, ...] = ()
) -> bool:
    """Whether ``instance`` is the input at ``origin`` with ``boxes`` of one value in all frames and air in front of
    ``planes``, and nothing else."""
    try:
        with open_source(origin) as source:
            before, after = _frames(_without_face(read_instance(source), planes)), _frames(instance)
            if before.form.frames != after.form.frames:
                return False
            pairs = itertools.zip_longest(before, after)
            return all(_same_beside(one, other, after, boxes) for one, other in pairs)
    except (Quarantined, ValueError, IndexError):
        return False


def _without_face(instance: Instance, planes: tuple[Plane, ...]) -> Instance:
    return without_face(instance, image_facts(instance.tree), planes)[0] if planes else instance


def _frames(instance: Instance) -> Frames:
    check_pixels(instance.tree, instance.pixels, syntax=instance.syntax)
    elements = trim(instance.tree, instance.pixels)
    return open_frames(instance.source, instance.tree, elements[0], syntax=instance.syntax)


def _same_beside(one: Array | None, other: Array | None, frames: Frames, boxes: Sequence[Box]) -> bool:
    if one is None or other is None or one.shape != other.shape:
        return False
    blanks = [region_of(other, box, form=frames.form) for box in boxes]
    if not all((blank == blank[0, 0]).all() for blank in blanks if blank.size):
        return False
    for box, blank in zip(boxes, blanks, strict=True):
        region_of(one, box, form=frames.form)[...] = 0
        blank[...] = 0
    return np.array_equal(_bits(one), _bits(other))


def _bits(frame: Array) -> Array:
    """The containers as they are: not-a-number is itself here."""
    return np.ascontiguousarray(frame).view(np.uint8)
