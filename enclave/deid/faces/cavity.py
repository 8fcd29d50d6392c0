"""The inside of the skull in CT, by geometry: what bone surrounds on nearly all sides."""

from __future__ import annotations

import itertools

import numpy as np
from scipy import ndimage

from enclave.deid.faces.volume import Array, Volume, dilated, eroded, largest_part

BONE_HU = 250.0
_AIR_LIMIT_HU = -250.0
_MIN_HITS = 23  # of 26 directions in which bone is met
_CLOSING_MM = 6.0
_OPENING_MM = 7.0
_MIN_BONE_CC = 1.0


def cranial_cavity(volume: Volume) -> Array:
    """The brain and what lies around it inside of the skull, bool, on the grid of ``volume`` (HU, equal steps).

    A voxel is inside when bone is met in at least 23 of the 26 directions of its neighbours. Narrow parts (foramina,
    orbits behind the eye, sinuses) are cut off by an opening of 7 mm, then the largest part is the cavity.
    """
    step = float(volume.affine[0, 0])
    bone = volume.values > BONE_HU
    if bone.sum() * volume.voxel_cc < _MIN_BONE_CC:
        return np.zeros_like(bone)
    closed = eroded(dilated(bone, steps=_CLOSING_MM / step), steps=_CLOSING_MM / step) | bone
    inside = ~closed & (volume.values > _AIR_LIMIT_HU) & (surroundedness(closed) >= _MIN_HITS)
    core = largest_part(eroded(inside, steps=_OPENING_MM / step))
    if not core.any():
        return core
    cavity: Array = ndimage.binary_fill_holes(dilated(core, steps=_OPENING_MM / step + 1) & inside)
    return cavity


def surroundedness(mask: Array) -> Array:
    """In how many of the 26 directions of its neighbours ``mask`` is met from each voxel, uint8."""
    hits = np.zeros(mask.shape, dtype=np.uint8)
    for direction in itertools.product((-1, 0, 1), repeat=3):
        if any(direction):
            hits += _seen_from(mask, direction)
    return hits


def _seen_from(mask: Array, direction: tuple[int, ...]) -> Array:
    """Whether ``mask`` is met on the way against ``direction``, as one pass over planes across its first axis."""
    axis = next(axis for axis, step in enumerate(direction) if step)
    planes = np.moveaxis(mask, axis, 0)
    seen = np.zeros(planes.shape, dtype=bool)
    order = range(planes.shape[0]) if direction[axis] > 0 else range(planes.shape[0] - 1, -1, -1)
    rest = [step for other, step in enumerate(direction) if other != axis]
    before = None
    for at in order:
        if before is not None:
            seen[at] = _moved(planes[before] | seen[before], rest[0], rest[1])
        before = at
    return np.moveaxis(seen, 0, axis)


def _moved(plane: Array, rows: int, columns: int) -> Array:
    """``plane`` moved by at most one row and column; what enters is empty."""
    moved = np.zeros_like(plane)
    to = [slice(max(0, step), plane.shape[axis] + min(0, step)) for axis, step in enumerate((rows, columns))]
    source = [slice(max(0, -step), plane.shape[axis] + min(0, -step)) for axis, step in enumerate((rows, columns))]
    moved[tuple(to)] = plane[tuple(source)]
    return moved
