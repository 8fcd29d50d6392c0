"""Fits a box to the ink that is in it: no wider than the letters and their soft edges, no narrower than the line.

The network marks lines on a picture that was enlarged and whose contrast was changed, so its boxes have a rim of
anatomy, and end where letters become faint. Here the values themselves decide. A rim goes only where nothing in it is
nearly as strong as the letters; where the ground is as rough as the letters are, the box stays as it is.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from enclave.detectors.pixel_text.boxes import Box
from enclave.detectors.pixel_text.views import Layer

Array = np.ndarray[Any, Any]
_LEAST, _TALLEST = 5, 160  # pixels: the height of a box that is fitted
_EMPTY = 0.15  # of the letters' contrast: what no part of a letter is weaker than but its outermost edge
_CUT, _INK, _NEARLY_INK = 0.3, 0.5, 0.75
_EITHER = 1.5  # by less than this neither the bright nor the dark strokes are the stronger ones
_BEYOND = 1.1  # times the roughness of the ground
_GROUND_SHARE = 99.9  # percentile of the ground that its roughness is judged by
_ROUGH = 0.02  # of the surroundings as strong as letters: what crosses an edge may be anatomy
_SEVERAL, _TAIL = 3, 2  # letters of a long line that are cut together; pixels by which one alone may be
_SOFT_EDGE = 1  # pixels around a letter
_RIM = 0.4  # of the height: what may go, or come, above and below
_INK_SHARE = 96  # percentile of a box that is ink for certain
_OFTEN, _STANDS_OUT = 6, 2.0  # pixels of one value, and by how much more than of any other: it was drawn with it
_SIGMAS, _SIGMA_OF_MEDIAN = 3.0, 1.4826  # of a normal distribution, by the median of the deviations
_NARROW = 0.2  # of the letters' contrast
_TOGETHER = (2, 4)  # pixels of that value in a square of three: of thin strokes, and where the ground often has it
_REACH = 8.0  # heights that a line may go on beyond its box
_GAP = 1.5  # heights between letters of one line
_CELL = 0.5  # heights: the columns that are judged together
_AS_DENSE = (0.12, 4.0)  # ink in a cell, as a share of that in the line
_LEAST_INK = 2  # pixels of it in a cell
_AROUND = 2  # cells before and behind by which the ground is judged
_QUIET = 0.25  # the same beside the line: more is anatomy of this value


@dataclass(frozen=True, slots=True)
class _Strip:
    """The surroundings of a box: values, and how far each stands out of its ground; ``inner`` is the box in it."""

    values: Array
    strokes: Array
    contrast: float
    inner: Box
    x0: int
    y0: int


def fitted(box: Box, *, layer: Layer) -> Box:
    """The box that covers the ink which ``box`` holds most of; ``box`` itself where that cannot be told."""
    if not _LEAST <= min(box.width, box.height) <= _TALLEST:
        return box
    flat = box.width >= box.height
    strip = _strip(box, layer=layer, reach=min(box.width, box.height))
    if strip.contrast <= 0:
        return box
    inner = _tight(strip)
    made = inner.moved(strip.x0, strip.y0).within(width=layer.width, height=layer.height)
    if not made.area:
        return box
    return _continued(made, layer=layer) if flat else made


def _strip(box: Box, *, layer: Layer, reach: int) -> _Strip:
    wide = box.grown(reach).within(width=layer.width, height=layer.height)
    values = layer.part(*wide)
    inner = box.moved(-wide.x0, -wide.y0)
    bright, dark = _both(values, height=reach)
    levels = [float(np.percentile(_in(inner, one), _INK_SHARE)) for one in (bright, dark)]
    strokes = bright if levels[0] > levels[1] else dark
    if max(levels) < _EITHER * min(levels):
        strokes = np.maximum(bright, dark)  # it is not certain which of them are the letters
    return _Strip(values, strokes, max(levels), inner, wide.x0, wide.y0)


def _tight(strip: _Strip) -> Box:
    """Rims without ink go; where ink crosses an edge, the box grows to its end."""
    box, most = strip.inner, max(2, round(_RIM * min(strip.inner.width, strip.inner.height)))
    inside = _in(box, strip.strokes)
    rows, columns = inside.max(axis=1), inside.max(axis=0)
    least = min(max(_EMPTY * strip.contrast, _BEYOND * _usual(box, strip)), _NEARLY_INK * strip.contrast)
    top, bottom = _empty(rows, least, most), _empty(rows[::-1], least, most)
    left, right = _empty(columns, least, 2 * most), _empty(columns[::-1], least, 2 * most)
    made = Box(box.x0 + left, box.y0 + top, box.x1 - right, box.y1 - bottom)
    if _roughness(made, strip) < _ROUGH:
        made = _with_cut_letters(made, strip.strokes >= max(least, _CUT * strip.contrast), most=most)
    return made.grown(_SOFT_EDGE + (least > _INK * strip.contrast))


def _usual(box: Box, strip: _Strip) -> float:
    """What of the ground around a box hardly anything exceeds."""
    around = _around(box, strip.strokes)
    return float(np.percentile(around, _GROUND_SHARE)) if len(around) else 0.0


def _roughness(box: Box, strip: _Strip) -> float:
    """How much of the surroundings stands out as the letters do, on the second quietest side: a cut letter or another
    line on one of them is no roughness."""
    ink = strip.strokes >= _INK * strip.contrast
    x0, y0, x1, y1 = box.grown(2).within(width=ink.shape[1], height=ink.shape[0])
    sides = (ink[:y0, x0:x1], ink[y1:, x0:x1], ink[y0:y1, :x0], ink[y0:y1, x1:])
    shares = sorted(float(side.mean()) for side in sides if side.size)
    return shares[min(1, len(shares) - 1)] if shares else 1.0


def _around(box: Box, values: Array) -> Array:
    mask = np.ones(values.shape, bool)
    mask[max(0, box.y0 - 2) : box.y1 + 2, max(0, box.x0 - 2) : box.x1 + 2] = False
    return values[mask]


def _empty(profile: Array, least: float, most: int) -> int:
    """How many of the first lines hold nothing as strong as the edge of a letter."""
    filled = np.flatnonzero(profile >= least)
    return int(min(filled[0], most)) if len(filled) else 0


def _with_cut_letters(box: Box, ink: Array, *, most: int) -> Box:
    """The box grown over letters that an edge cuts. They end soon; what goes on is anatomy, and no reason to grow."""
    x0, y0, x1, y1 = box
    wanted = _SEVERAL if box.width >= _SEVERAL * box.height else 1
    y0 -= _goes_out(ink[:, x0:x1][: y0 + 1][::-1], most, strokes=wanted)
    y1 += _goes_out(ink[:, x0:x1][y1 - 1 :], most, strokes=wanted)
    x0 -= _goes_out(ink[y0:y1, : x0 + 1].T[::-1], most)
    x1 += _goes_out(ink[y0:y1, x1 - 1 :].T, most)
    return Box(x0, y0, x1, y1)


def _goes_out(lines: Array, most: int, *, strokes: int = 1) -> int:
    """How many lines behind the first, the outermost one of a box, the ink of each goes on in; 0 where it does not end
    within ``most``, and where it goes on for long in fewer than so many ``strokes``: of a long line cut along its rows
    several letters go on, and what is alone is anatomy that touches it."""
    both: Array = lines[1 : most + 2] & lines[: most + 1][: max(0, len(lines) - 1)]
    crossing: Array = np.any(both, axis=1)
    ends = np.flatnonzero(np.logical_not(crossing))
    count = int(ends[0]) if len(ends) else len(crossing) if len(lines) - 1 <= most else 0
    return count if count <= _TAIL or _runs(both[_TAIL - 1]) >= strokes else 0


def _runs(line: Array) -> int:
    """How many strokes a line crosses."""
    return int((np.diff(line.astype(np.int8), prepend=0) == 1).sum())


def _continued(box: Box, *, layer: Layer) -> Box:
    """The box with the rest of its line, where letters of its value go on: where the ground seldom has that value."""
    reach = round(_REACH * box.height)
    wide = Box(box.x0 - reach, box.y0 - box.height, box.x1 + reach, box.y1 + box.height)
    wide = wide.within(width=layer.width, height=layer.height)
    values = layer.part(*wide)
    inner = box.moved(-wide.x0, -wide.y0)
    left = right = 0
    for (low, high), together in itertools.product(_values_of_ink(box, layer=layer), _TOGETHER):
        same = ((values >= low) & (values <= high)).astype(np.uint8)
        beside = cv2.filter2D(same, -1, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT)
        drawn = (same & (beside >= together)).astype(np.float32)
        rows = drawn[inner.y0 : inner.y1].mean(axis=0)
        outside = np.delete(drawn, np.s_[inner.y0 : inner.y1], axis=0)
        ground = outside.mean(axis=0) if len(outside) else np.ones_like(rows)
        usual = float(rows[inner.x0 : inner.x1].mean())
        right = max(right, _goes_on(rows[inner.x1 :], ground[inner.x1 :], usual=usual, height=box.height))
        left = max(left, _goes_on(rows[: inner.x0][::-1], ground[: inner.x0][::-1], usual=usual, height=box.height))
    return Box(box.x0 - left, box.y0, box.x1 + right, box.y1)


def _values_of_ink(box: Box, *, layer: Layer) -> list[tuple[float, float]]:
    """The values, from and to, that the letters may have been drawn with: of bright or of dark strokes the one that
    stands out among all others, or, where lossy compression has blurred it, the narrow range around their middle. Soft
    edges have others."""
    values = layer.part(*box)
    found = []
    for strokes in _both(values, height=box.height):
        contrast = float(np.percentile(strokes, _INK_SHARE))
        ink = values[strokes >= _INK * contrast]
        each, counts = np.unique(ink, return_counts=True)
        most = int(counts.argmax())
        others = np.delete(counts, np.s_[max(0, most - 1) : most + 2])
        if counts[most] >= _OFTEN and (not len(others) or counts[most] >= _STANDS_OUT * others.max()):
            found.append((float(each[most]), float(each[most])))
        elif contrast > 0:
            found += _blurred(values[strokes >= _NEARLY_INK * contrast], contrast)
    return found


def _blurred(ink: Array, contrast: float) -> list[tuple[float, float]]:
    """The range in which nearly all ink is; none where that is no small part of the contrast."""
    middle = float(np.median(ink))
    off = _SIGMAS * _SIGMA_OF_MEDIAN * float(np.median(np.abs(ink - middle)))
    return [(middle - off, middle + off)] if off <= _NARROW * contrast else []


def _both(values: Array, *, height: int) -> tuple[Array, Array]:
    """How far each pixel stands out of its ground, brighter and darker."""
    side = max(7, height // 3 | 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_RECT, (side, side))
    bright = values - cv2.morphologyEx(values, cv2.MORPH_OPEN, kernel)
    return bright, cv2.morphologyEx(values, cv2.MORPH_CLOSE, kernel) - values


def _goes_on(rows: Array, ground: Array, *, usual: float, height: int) -> int:
    """How many columns the line goes on from here: up to the last one that looks like its letters."""
    cell, gap = max(3, round(_CELL * height)), max(3, round(_GAP * height))
    end = at = 0
    while at < len(rows) and at - end <= gap and usual:
        drawn = rows[at : at + cell]
        near = ground[max(0, at - _AROUND * cell) : at + (_AROUND + 1) * cell]
        share, noise = float(drawn.mean()) / usual, float(near.mean()) / usual
        enough = float(drawn.sum()) * height >= _LEAST_INK
        if enough and _AS_DENSE[0] <= share <= _AS_DENSE[1] and noise <= _QUIET * share:
            end = at + int(np.flatnonzero(drawn)[-1]) + 1
        at += cell
    return min(end + _SOFT_EDGE, len(rows)) if end else 0


def _in(box: Box, values: Array) -> Array:
    return values[box.y0 : box.y1, box.x0 : box.x1]
