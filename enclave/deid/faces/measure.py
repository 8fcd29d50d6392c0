"""Numbers about a face's removal: what of brain, head and face lies in the region that goes."""

from __future__ import annotations

import numpy as np

from enclave.deid.faces.depth import LENGTH_MM, WIDTH_MM, frontal_depth
from enclave.deid.faces.head_axes import HeadAxes
from enclave.deid.faces.region import FaceRegion
from enclave.deid.faces.volume import Array, Volume

_HEAD_MM = 120.0
_FRONT_SHARE = 0.3  # of the brain's length: where the frontal lobes lie on the roofs of the orbits
_HALF_FACE_MM = 50.0
_FACE_DEPTH_MM = 90.0  # from the tip of the nose; what lies farther back is neck, ear or pillow
_VERTEX_MM, _SIDE_MM = 6.0, 2.0
STEP_MM = 2.0


def removed_share(body: Array, volume: Volume, *, centre: Array, gone: Array) -> float:
    """The share of tissue within 120 mm of the brain's centre that ``gone`` has; NaN when there is none."""
    places = [volume.affine[axis, 3] + volume.affine[axis, axis] * np.arange(n) for axis, n in enumerate(body.shape)]
    i, j, k = ((place - at) ** 2 for place, at in zip(places, centre, strict=True))
    near = body & (i[:, None, None] + j[None, :, None] + k[None, None, :] <= _HEAD_MM**2)
    total = int(near.sum())
    return float((near & gone).sum() / total) if total else float("nan")


def face_surface(body: Array, volume: Volume, *, brain_points: Array, axes: HeadAxes) -> Array:
    """Places in mm, (n, 3), of the surface seen from the front: below the brows, ±50 mm wide, 90 mm deep.

    The brows are where the frontal lobes are lowest. Empty when the images show no face.
    """
    depth = frontal_depth(body, volume.affine, axes)
    rows, columns = np.indices(depth.shape)
    from_top = np.asarray(rows * STEP_MM - depth.shape[0] * STEP_MM / 2)
    from_right = np.asarray(columns * STEP_MM - WIDTH_MM / 2)
    below = np.greater(from_top, -brow_height(brain_points, axes))
    face: Array = below & (np.abs(from_right) <= _HALF_FACE_MM) & ~np.isnan(depth)
    if not face.any():
        return np.zeros((0, 3))
    face &= np.nan_to_num(depth, nan=np.inf) <= np.nanmin(np.where(face, depth, np.nan)) + _FACE_DEPTH_MM
    back: Array = depth[face] - LENGTH_MM / 2
    steps: tuple[Array, ...] = (-from_top[face], from_right[face], -back)
    placed: Array = axes.centre + np.stack(steps, axis=1) @ np.stack([axes.top, axes.left, axes.front])
    return placed


def brow_height(brain_points: Array, axes: HeadAxes) -> float:
    """How far above the brain's centre the brows are, in mm; negative below it."""
    relative = brain_points - axes.centre
    ahead, up = relative @ axes.front, relative @ axes.top
    front = ahead >= ahead.max() - _FRONT_SHARE * (ahead.max() - ahead.min())
    return float(np.percentile(up[front], 2))


def share_inside(places: Array, region: FaceRegion) -> float:
    """The share of places that the region holds; NaN for none."""
    return float(region.holds(places).mean()) if len(places) else float("nan")


def vertex_inside(brain: Array, volume: Volume) -> bool:
    """Whether the images reach at least 6 mm above the brain and 2 mm beyond it in front, behind and on both sides."""
    if volume.field is None:
        return False
    step = float(volume.affine[2, 2])
    beyond = ((2, 1, _VERTEX_MM), (1, 1, _SIDE_MM), (1, -1, _SIDE_MM), (0, 1, _SIDE_MM), (0, -1, _SIDE_MM))
    return all(_reaches(brain, volume.field, axis, way * int(np.ceil(mm / step))) for axis, way, mm in beyond)


def _reaches(brain: Array, field: Array, axis: int, steps: int) -> bool:
    """Whether each voxel of the brain has one of the field so many steps away."""
    brain, field = np.moveaxis(brain, axis, 0), np.moveaxis(field, axis, 0)
    if steps < 0:
        brain, field, steps = brain[::-1], field[::-1], -steps
    return not brain[-steps:].any() and bool(field[steps:][brain[:-steps]].all())
