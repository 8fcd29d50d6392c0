"""Puts the images of a series together to a volume, a little coarser in the plane, in bounded memory."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from enclave.deid.faces.image_facts import ImageFacts
from enclave.deid.faces.stacks import Series
from enclave.deid.faces.volume import Array, Volume
from enclave.deid.pixel_data import PIXEL_TAGS
from enclave.deid.reading import Instance, read_instance
from enclave.deid.reasons import Quarantined
from enclave.deid.source import open_source
from enclave.deid.tree import number_at, text_at

MAX_SLICES = 2000
_PIXEL_MM = 1.25  # pixels are averaged up to this; the face is looked for on a coarser grid
_UNEVEN = 0.1  # of the distance of slices
_SAME_PLACE_MM = 0.05
_TYPES = {8: "u1", 16: "u2", 32: "u4"}


def assemble(series: Series, *, paths: Mapping[int, Path]) -> Volume:
    """The volume of a series, in HU for CT; raises ``Quarantined`` when the images are no regular stack.

    Of images at one place the first counts. The step between slices is taken from their positions, so that a tilted
    gantry gives a sheared volume.
    """
    ordered = _ordered(series)
    if ordered is None:
        raise Quarantined("recognizable_features")
    first = series.images[ordered[0]]
    place, last = first.placement, series.images[ordered[-1]].placement
    if place is None or last is None:
        raise Quarantined("recognizable_features")
    across = (np.array(last.origin) - place.origin) / (len(ordered) - 1)
    factors = tuple(
        max(1, int(_PIXEL_MM // float(np.linalg.norm(step)))) for step in (place.row_step, place.column_step)
    )
    slices = [_averaged(values_of(paths[index], series.images[index]), factors) for index in ordered]
    affine = np.eye(4)
    rows, columns = np.array(place.row_step), np.array(place.column_step)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = rows * factors[0], columns * factors[1], across
    affine[:3, 3] = place.origin + rows * (factors[0] - 1) / 2 + columns * (factors[1] - 1) / 2
    return Volume(np.stack(slices, axis=-1), affine)


def values_of(path: Path, facts: ImageFacts) -> Array:
    """The values of one native image, (rows, columns), float32, rescaled; raises ``Quarantined`` for any other."""
    with open_source(path) as source:
        instance = read_instance(source)
        stored = _stored(instance, facts)
        tree = instance.tree
    bits = number_at(tree, 0x00280100) or 16
    kept = number_at(tree, 0x00280101) or bits
    if not 0 < kept <= bits:
        raise Quarantined("recognizable_features")
    values = stored.astype(np.int64) & ((1 << kept) - 1)
    if number_at(tree, 0x00280103):
        values = np.where(values >= 1 << kept - 1, values - (1 << kept), values)
    try:
        slope, intercept = (float(text_at(tree, tag) or other) for tag, other in ((0x00281053, 1), (0x00281052, 0)))
    except ValueError:
        raise Quarantined("recognizable_features") from None
    return (values * slope + intercept).astype(np.float32)


def _stored(instance: Instance, facts: ImageFacts) -> Array:
    bits = number_at(instance.tree, 0x00280100) or 0
    element = next((one for one in instance.pixels if one.tag == PIXEL_TAGS[0]), None)
    count = facts.rows * facts.columns
    if element is None or element.encapsulated or bits not in _TYPES or element.size < count * bits // 8:
        raise Quarantined("recognizable_features")
    data = b"".join(bytes(piece) for piece in instance.source.pieces(element.start, element.start + count * bits // 8))
    order = "<" if instance.tree.little else ">"
    return np.frombuffer(data, order + _TYPES[bits]).reshape(facts.rows, facts.columns)


def _ordered(series: Series) -> list[int] | None:
    """The indices from one end to the other; None when slices differ in form or lie unevenly."""
    if series.normal is None or not 1 < len(series.images) <= MAX_SLICES:
        return None
    first = series.one
    placed: list[tuple[float, int]] = []
    for index, facts in series.images.items():
        place, reference = facts.placement, first.placement
        if place is None or reference is None or (facts.rows, facts.columns) != (first.rows, first.columns):
            return None
        if not np.allclose([place.row_step, place.column_step], [reference.row_step, reference.column_step], atol=0.01):
            return None
        placed.append((float(np.dot(place.origin, series.normal)), index))
    placed.sort()
    kept = [placed[0]]
    kept += [one for before, one in itertools.pairwise(placed) if one[0] - before[0] > _SAME_PLACE_MM]
    gaps = np.diff([at for at, _ in kept])
    if not len(gaps) or gaps.max() - gaps.min() > _UNEVEN * float(np.median(gaps)) + _SAME_PLACE_MM:
        return None
    return [index for _, index in kept]


def _averaged(image: Array, factors: tuple[int, ...]) -> Array:
    """Blocks of pixels as their mean; rows and columns that fill no block go."""
    down, along = factors
    rows, columns = image.shape[0] // down * down, image.shape[1] // along * along
    blocks = image[:rows, :columns].reshape(rows // down, down, columns // along, along)
    mean: Array = blocks.mean(axis=(1, 3), dtype=np.float32)
    return mean
