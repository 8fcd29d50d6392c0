"""A head of ellipsoids: skull, brain, face with nose, airway and jaw, as CT in HU or as T1-like MR. Nobody's head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from enclave.deid.faces.volume import Volume

Array = np.ndarray[Any, np.dtype[Any]]
BRAIN_CENTRE = np.array([0.0, 0.0, 0.0])


@dataclass(frozen=True)
class Phantom:
    """``brain`` and ``face``: which voxels are brain, and which are the front of the face 20 mm deep."""

    volume: Volume
    brain: Array
    face: Array


def make_head(*, spacing: tuple[float, float, float] = (2.0, 2.0, 2.0), turn: Array | None = None) -> Phantom:
    """A head that looks towards −y, turned by the matrix ``turn`` about the brain's centre; CT numbers, int16."""
    lengths = np.array([200.0, 280.0, 280.0])
    shape = tuple(int(n) for n in lengths // spacing)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [-100.0, -155.0, -155.0]
    places = np.indices(shape).reshape(3, -1).T * np.array(spacing) + affine[:3, 3]
    if turn is not None:
        places = places @ turn  # the inverse of a rotation is its transpose
    x, y, z = (places[:, axis].reshape(shape) for axis in range(3))
    hu = np.full(shape, -1000.0)
    face = _ellipsoid(x, y, z, (0, -50, -65), (60, 55, 75)) & (y < -10)
    nose = _ellipsoid(x, y, z, (0, -105, -60), (14, 18, 22))
    neck = (np.hypot(x, (y - 10)) < 50) & (z < -60)
    hu[_ellipsoid(x, y, z, (0, 0, 0), (83, 102, 83)) | face | nose | neck] = 40
    hu[_ellipsoid(x, y, z, (0, 0, 0), (76, 95, 76))] = 1100
    hu[_ellipsoid(x, y, z, (0, -52, -85), (40, 42, 30)) & ~_ellipsoid(x, y, z, (0, -48, -85), (32, 34, 40))] = 1000
    hu[(np.hypot(x, y - 30) < 14) & (z < -70)] = 600
    brain = _ellipsoid(x, y, z, (0, 0, 0), (70, 89, 70)) & (z > -45 - 0.25 * y)
    hu[_ellipsoid(x, y, z, (0, 0, 0), (70, 89, 70)) & ~brain] = 500
    hu[_ellipsoid(x, y, z, (0, -68, -60), (12, 30, 20))] = -900
    hu[brain] = 35
    front = (face | nose) & (y < -70) & ~brain
    values = np.round(hu).astype(np.int16)
    return Phantom(Volume(values, affine), brain, front & (hu > -300))


def turned(axis: int, degrees: float) -> Array:
    """A rotation about one of the patient's axes."""
    angle = np.radians(degrees)
    one, other = [(1, 2), (0, 2), (0, 1)][axis]
    matrix = np.eye(3)
    matrix[one, one] = matrix[other, other] = np.cos(angle)
    matrix[one, other], matrix[other, one] = -np.sin(angle), np.sin(angle)
    return matrix


def _ellipsoid(x: Array, y: Array, z: Array, centre: tuple[float, ...], radii: tuple[float, ...]) -> Array:
    inside: Array = sum(((a - c) / r) ** 2 for a, c, r in zip((x, y, z), centre, radii, strict=True)) <= 1
    return inside
