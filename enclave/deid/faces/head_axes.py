"""How a head lies: its left-right axis by the symmetry of the brain, its length by where the brain is longest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, optimize

from enclave.deid.faces.volume import Array, Volume

_POINTS = 4000
_FAR_MM = 12.0
_LONG_AXIS_UP_DEGREES = 25.0  # how far the brain's long axis looks up when the eyes look straight ahead


@dataclass(frozen=True, slots=True)
class HeadAxes:
    """Unit vectors in patient coordinates, at right angles; ``asymmetry_mm`` is what mirroring leaves over.

    ``turn_degrees``: the angle between the head's front and the patient's front as the header has it.
    ``elongation``: the brain's length by its width.
    """

    centre: Array
    left: Array
    front: Array
    top: Array
    asymmetry_mm: float
    turn_degrees: float
    elongation: float


def head_axes(brain: Array, volume: Volume) -> HeadAxes:
    """The axes of a head by the mask of its brain on the grid of ``volume`` (equal steps along the patient's axes).

    Left-right is the normal of the plane in which mirroring the brain's surface moves it least (Nelder-Mead over two
    angles and an offset); front-back is the longest axis of the brain within that plane, turned to where the eyes look.
    """
    step = float(volume.affine[0, 0])
    points = volume.positions(brain)
    centre = points.mean(axis=0)
    surface = volume.positions(brain & ~ndimage.binary_erosion(brain))
    surface = surface[:: max(1, len(surface) // _POINTS)] - centre
    origin = volume.affine[:3, 3]
    apart = ndimage.distance_transform_edt(~brain) + ndimage.distance_transform_edt(brain)
    apart = np.minimum((apart - 1) * step, _FAR_MM).astype(np.float32)

    def cost(turned: Array) -> float:
        normal = _normal(turned)
        mirrored = surface - 2 * ((surface @ normal) - turned[2])[:, None] * normal
        at = ((mirrored + centre - origin) / step).T
        return float(ndimage.map_coordinates(apart, at, order=1, mode="constant", cval=_FAR_MM).mean())

    starts = [np.array([yaw, roll, 0.0]) for yaw in (-0.3, 0.0, 0.3) for roll in (-0.3, 0.0, 0.3)]
    start = min(starts, key=cost)
    simplex = start + np.array([[0, 0, 0], [0.15, 0, 0], [0, 0.15, 0], [0, 0, 4.0]])
    found = optimize.minimize(
        cost, start, method="Nelder-Mead", options={"initial_simplex": simplex, "xatol": 0.004, "fatol": 0.002}
    )
    left = _normal(found.x)
    return _axes(points - centre, centre, left, asymmetry_mm=float(found.fun))


def _axes(points: Array, centre: Array, left: Array, *, asymmetry_mm: float) -> HeadAxes:
    forward = np.array([0.0, -1.0, 0.0])
    first = forward - (forward @ left) * left
    first /= np.linalg.norm(first)
    second = np.cross(left, first)  # x to the left, y to the back: this points to the feet or to the top
    second *= np.sign(second[2]) or 1.0
    flat = np.stack([points @ first, points @ second])
    _, vectors = np.linalg.eigh(np.cov(flat))
    long = vectors[:, -1] * (np.sign(vectors[0, -1]) or 1.0)
    up = np.radians(_LONG_AXIS_UP_DEGREES)
    along = np.array([np.cos(up) * long[0] + np.sin(up) * long[1], np.cos(up) * long[1] - np.sin(up) * long[0]])
    front = along[0] * first + along[1] * second
    top = -along[1] * first + along[0] * second
    turn = float(np.degrees(np.arccos(np.clip(front @ forward, -1, 1))))
    length, width = (float(np.ptp(np.percentile(points @ axis, (1, 99)))) for axis in (front, left))
    return HeadAxes(centre, left, front, top, asymmetry_mm, turn, length / max(width, 1.0))


def _normal(turned: Array) -> Array:
    yaw, roll = float(turned[0]), float(turned[1])
    return np.array([np.cos(yaw) * np.cos(roll), np.sin(yaw) * np.cos(roll), np.sin(roll)])
