"""The region of a face: the half-spaces in front of and below the brain, as planes in patient coordinates.

Each plane touches the brain's hull at a margin, so what is cut away is outside of the brain by construction. After the
idea of a shearing plane (Schimke and Hale, Quickshear, 2011), with several planes instead of one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from enclave.deid.faces.head_axes import HeadAxes
from enclave.deid.faces.volume import Array, along

MARGIN_MM = 5.0
_DOWN_DEGREES = (0.0, 15.0, 30.0, 45.0)  # how far the planes' normals look down from straight ahead
_SIDE_DEGREES = (-30.0, 0.0, 30.0)
_SIDES = 64
_BELOW_MM = 7.0  # more towards the feet, where the brain goes on into the spine and its end is least certain
_STRIP_MARGIN_MM = 3.0  # more than half the diagonal of a voxel of the grid on which brains are found


@dataclass(frozen=True, slots=True)
class FaceRegion:
    """All places p with ``normal @ p > offset`` for one of the planes: rows of (nx, ny, nz, offset), mm."""

    planes: tuple[tuple[float, float, float, float], ...]

    def holds(self, places: Array) -> Array:
        """Which of the places (n, 3) in mm are in the region."""
        inside = np.zeros(len(places), dtype=bool)
        for *normal, offset in self.planes:
            inside |= places @ np.array(normal) > offset
        return inside

    def mask(self, shape: tuple[int, ...], affine: Array) -> Array:
        """Which voxels of a volume are in the region; exact for any affine."""
        inside = np.zeros(shape, dtype=bool)
        for *normal, offset in self.planes:
            inside |= along(shape, affine, np.array(normal)) > offset
        return inside


def all_but_brain(brain_points: Array, axes: HeadAxes) -> FaceRegion:
    """All outside of the brain's hull: planes touch it from every side, so face, skin, ears and most of the skull go.

    A hull has no hollows: what lies in those of the skull's base stays.
    """
    relative = brain_points - axes.centre
    at = (np.arange(_SIDES) + 0.5) / _SIDES
    polar, around = np.arccos(1 - 2 * at), np.pi * (1 + 5**0.5) * np.arange(_SIDES)  # evenly over the sphere
    sides = np.stack([np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], axis=1)
    margins = _STRIP_MARGIN_MM + _BELOW_MM * np.clip(-(sides @ axes.top), 0, 1)
    offsets = (relative @ sides.T).max(axis=0) + margins + sides @ axes.centre
    rows = np.column_stack([sides, offsets]).tolist()
    return FaceRegion(tuple((x, y, z, offset) for x, y, z, offset in rows))


def face_region(brain_points: Array, axes: HeadAxes, *, margin_mm: float = MARGIN_MM) -> FaceRegion:
    """The region in front of and below a brain, given by places (n, 3) in mm."""
    relative = brain_points - axes.centre
    planes: list[tuple[float, float, float, float]] = []
    for down in np.radians(_DOWN_DEGREES):
        for side in np.radians(_SIDE_DEGREES):
            ahead = np.cos(down) * axes.front - np.sin(down) * axes.top
            normal = np.cos(side) * ahead + np.sin(side) * axes.left
            offset = float((relative @ normal).max()) + margin_mm + float(normal @ axes.centre)
            planes.append((float(normal[0]), float(normal[1]), float(normal[2]), offset))
    return FaceRegion(tuple(planes))
