"""Takes a face's region out of one image, in place: all other bytes stay as they are."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np

from enclave.deid.faces.image_facts import ImageFacts, Placement
from enclave.deid.faces.order import Plane
from enclave.deid.faces.region import FaceRegion
from enclave.deid.faces.volume import AIR_HU, Array
from enclave.deid.pixel_data import PIXEL_TAGS
from enclave.deid.reading import Instance
from enclave.deid.reasons import Quarantined
from enclave.deid.tree import Node, number_at, text_at

_SIZES = {8: "u1", 16: "u2", 32: "u4"}


def without_face(instance: Instance, facts: ImageFacts, planes: tuple[Plane, ...]) -> tuple[Instance, int]:
    """The instance with air in the region that the planes bound, and how many pixels that are; raises ``Quarantined``.

    Only native single frames of one sample: what is compressed has to be decoded first.
    """
    source = instance.source
    if facts.placement is None or len(instance.pixels) != 1 or source.data is None or source.deflated:
        raise Quarantined("recognizable_features")
    element = instance.pixels[0]
    bits = number_at(instance.tree, 0x00280100) or 0
    count = facts.rows * facts.columns
    if element.encapsulated or element.tag != PIXEL_TAGS[0] or bits not in _SIZES:
        raise Quarantined("recognizable_features")
    if (number_at(instance.tree, 0x00280002) or 1) != 1 or element.size < count * bits // 8:
        raise Quarantined("recognizable_features")
    order = "<" if instance.tree.little else ">"
    data = bytearray(source.data)
    pixels = np.frombuffer(data, order + _SIZES[bits], count, element.start).reshape(facts.rows, facts.columns)
    gone = face_pixels(facts.placement, facts.rows, facts.columns, FaceRegion(planes))
    pixels[gone] = air_value(instance.tree, bits=bits)
    changed = replace(source, content=io.BytesIO(bytes(data)))
    return replace(instance, source=changed), int(gone.sum())


def face_pixels(placement: Placement, rows: int, columns: int, region: FaceRegion) -> Array:
    """Which pixels of an image, (rows, columns), are in the region."""
    affine = np.zeros((4, 4))
    affine[:3, 0], affine[:3, 1], affine[:3, 3] = placement.row_step, placement.column_step, placement.origin
    affine[3, 3] = 1.0
    mask: Array = region.mask((rows, columns, 1), affine)[:, :, 0]
    return mask


def air_value(tree: Node, *, bits: int) -> int:
    """The stored value of air, as the bits of an unsigned number: −1000 HU in CT, 0 elsewhere, within what can be."""
    stored = number_at(tree, 0x00280101) or bits
    signed = bool(number_at(tree, 0x00280103))
    low, high = (-(1 << stored - 1), (1 << stored - 1) - 1) if signed else (0, (1 << stored) - 1)
    value = 0.0
    if text_at(tree, 0x00080060).upper() == "CT":
        slope, intercept = _rescale(tree)
        value = (AIR_HU - intercept) / slope
    return int(min(max(round(value), low), high)) & ((1 << bits) - 1)


def _rescale(tree: Node) -> tuple[float, float]:
    try:
        slope = float(text_at(tree, 0x00281053) or 1.0)
        intercept = float(text_at(tree, 0x00281052) or 0.0)
    except ValueError:
        raise Quarantined("recognizable_features") from None
    if not (np.isfinite(slope) and np.isfinite(intercept) and slope):
        raise Quarantined("recognizable_features")
    return slope, intercept
