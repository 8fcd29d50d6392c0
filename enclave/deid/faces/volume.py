"""A stack of images as one volume in patient coordinates, and the coarser grid on which faces are looked for.

Patient coordinates are millimetres: x to the left, y to the back, z to the top (DICOM PS3.3 C.7.6.2.1.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

Array = np.ndarray[Any, np.dtype[Any]]
STEP_MM = 2.5
MAX_SIDE = 400  # voxels of the coarse grid: 0.8 m, more than a head and a neck
AIR_HU = -1000.0


@dataclass(frozen=True, slots=True)
class Volume:
    """``values`` by index (i, j, k); ``affine`` (4 × 4) takes an index to mm; ``field`` tells where images are."""

    values: Array
    affine: Array
    field: Array | None = None

    @property
    def voxel_cc(self) -> float:
        """Volume of a voxel in cm³."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    def along(self, direction: Array) -> Array:
        """How far each voxel is along a unit vector in patient coordinates, mm."""
        return along(self.values.shape, self.affine, direction)

    def positions(self, mask: Array) -> Array:
        """The places in mm, (n, 3), of the voxels that ``mask`` has."""
        return places_of(np.argwhere(mask), self.affine)


def along(shape: tuple[int, ...], affine: Array, direction: Array) -> Array:
    """The same for any shape and affine; exact, whatever shear the affine has."""
    steps = direction @ affine[:3, :3]
    i, j, k = (steps[axis] * np.arange(shape[axis]) for axis in range(3))
    found: Array = i[:, None, None] + j[None, :, None] + k[None, None, :] + float(direction @ affine[:3, 3])
    return found


def places_of(indices: Array, affine: Array) -> Array:
    """Places in mm of indices, (n, 3)."""
    placed: Array = indices @ affine[:3, :3].T + affine[:3, 3]
    return placed


def resample(volume: Volume, *, fill: float, step_mm: float = STEP_MM) -> Volume:
    """The volume on a grid of ``step_mm`` along the patient's axes; ``fill`` stands outside of the images.

    Raises ``ValueError`` for a volume that is no head: larger than 0.8 m, or flat.
    """
    shape = np.array(volume.values.shape)
    corners = np.stack(np.meshgrid(*[(-0.5, n - 0.5) for n in shape], indexing="ij"), axis=-1).reshape(-1, 3)
    placed = places_of(corners, volume.affine)
    low, high = placed.min(axis=0), placed.max(axis=0)
    sides = np.ceil((high - low) / step_mm).astype(int)
    if not np.isfinite(placed).all() or sides.min() < 8 or sides.max() > MAX_SIDE:
        raise ValueError("size")
    affine = np.diag([step_mm, step_mm, step_mm, 1.0])
    affine[:3, 3] = low + step_mm / 2
    back = np.linalg.inv(volume.affine) @ affine
    spacing = np.linalg.norm(volume.affine[:3, :3], axis=0)
    width = np.maximum(1, np.round(step_mm / spacing)).astype(int)
    values = volume.values.astype(np.float32, copy=False)
    if width.max() > 1:
        values = ndimage.uniform_filter(values, size=tuple(width), mode="nearest")
    sampled = ndimage.affine_transform(
        values, back[:3, :3], back[:3, 3], output_shape=tuple(sides), order=1, mode="constant", cval=np.nan
    )
    field = ~np.isnan(sampled)
    sampled[~field] = fill
    return Volume(sampled, affine, field)


def largest_part(mask: Array) -> Array:
    """The largest connected part; empty when there is none."""
    labels, count = ndimage.label(mask)
    if not count:
        return np.zeros_like(mask)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    part: Array = labels == int(sizes.argmax())
    return part


def dilated(mask: Array, *, steps: float) -> Array:
    """``mask`` and all within ``steps`` voxels of it, by the true distance."""
    near: Array = ndimage.distance_transform_edt(~mask) <= steps
    return near


def eroded(mask: Array, *, steps: float) -> Array:
    """What of ``mask`` is farther than ``steps`` voxels from its outside."""
    deep: Array = ndimage.distance_transform_edt(mask) > steps
    return deep
