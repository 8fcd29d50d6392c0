"""What a head looks like from the front: the distance of its surface, line by line of sight."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from enclave.deid.faces.head_axes import HeadAxes
from enclave.deid.faces.volume import Array

WIDTH_MM, HEIGHT_MM, LENGTH_MM = 200, 260, 280
_STEP_MM = 2.0


def frontal_depth(body: Array, affine: Array, axes: HeadAxes) -> Array:
    """The distance in mm from a plane before the face to the first tissue; NaN where a line of sight meets none.

    Rows run from the top to the feet, columns from the patient's right to the left, both by 2 mm; the brain's centre
    is 130 mm from the left edge of sight and 130 mm below its upper one.
    """
    rows = np.arange(-HEIGHT_MM / 2, HEIGHT_MM / 2, _STEP_MM)
    columns = np.arange(-WIDTH_MM / 2, WIDTH_MM / 2, _STEP_MM)
    depths = np.arange(-LENGTH_MM / 2, LENGTH_MM / 2, _STEP_MM)
    sight = np.stack([-axes.top, axes.left, -axes.front], axis=1)  # down, left, back
    start = axes.centre + sight @ np.array([rows[0], columns[0], depths[0]])
    back = np.linalg.inv(affine)
    matrix = back[:3, :3] @ (sight * _STEP_MM)
    offset = back[:3, :3] @ start + back[:3, 3]
    shape = (len(rows), len(columns), len(depths))
    seen = (
        ndimage.affine_transform(
            body.astype(np.float32), matrix, offset, output_shape=shape, order=1, mode="constant", cval=0.0
        )
        > 0.5
    )
    first = seen.argmax(axis=2) * _STEP_MM
    depth: Array = np.where(seen.any(axis=2), first, np.nan)
    return depth


def front_views(body: Array, affine: Array, axes: HeadAxes, *, gone: Array) -> tuple[Array, Array]:
    """Pictures of a head from the front, as it is and without what is ``gone``: what a person judges a removal by."""
    before, after = (depth_picture(frontal_depth(one, affine, axes)) for one in (body, body & ~gone))
    return before, after


def depth_picture(depth: Array) -> Array:
    """A depth map as grey levels, uint8: near is bright, what is not there is black."""
    filled = np.nan_to_num(depth, nan=LENGTH_MM)
    slope = np.hypot(*np.gradient(filled)) / _STEP_MM
    lit = (1.0 - filled / LENGTH_MM) / np.sqrt(1.0 + slope**2 / 4)
    picture: Array = np.where(np.isnan(depth), 0, np.clip(40 + 215 * lit, 0, 255)).astype(np.uint8)
    return picture
