"""A second finder of text that knows nothing of the first: strokes of one brightness that stand in a row like letters.

It has no model. Strokes are what an opening by a small square takes away from a picture; parts that hang together and
have the size of letters are letters, and some of them in one row with little between them are a line. It finds less
than the network, and what it finds is hardly ever anatomy: for a gate before the network, and for a look at what the
network left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from enclave.detectors.pixel_text.boxes import Box

Array = np.ndarray[Any, Any]
_WIDEST_STROKE = 7  # pixels
_LEAST_CONTRAST = 24  # of 255
_AROUND, _OUTSTANDING = 65, 3.0  # pixels around, and times their mean: noise has strokes everywhere
_LEAST, _MOST = 6, 60  # pixels: the height of a letter
_IN_A_ROW = 4
_EVENNESS = 0.25  # deviation of the brightness of a line's letters, as a share of their contrast


@dataclass(frozen=True, slots=True)
class _Letter:
    box: Box
    level: float
    contrast: float


def find_lines(picture: Array, *, letters: int = _IN_A_ROW) -> list[Box]:
    """Lines of at least so many letters in a picture of eight bits."""
    found: list[Box] = []
    for bright in (picture, 255 - picture):
        found.extend(_rows(_letters(bright), wanted=letters))
    return found


def _letters(picture: Array) -> list[_Letter]:
    kernel = cv2.getStructuringElement(cv2.MORPH_RECT, (_WIDEST_STROKE, _WIDEST_STROKE))
    strokes = cv2.subtract(picture, cv2.morphologyEx(picture, cv2.MORPH_OPEN, kernel))
    usual = cv2.blur(np.minimum(strokes, 2 * _LEAST_CONTRAST), (_AROUND, _AROUND), borderType=cv2.BORDER_REFLECT)
    ink = (strokes >= np.maximum(_LEAST_CONTRAST, _OUTSTANDING * usual)).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(ink, connectivity=8)
    _, _, wide, high, area = stats.T
    fill = area / np.maximum(1, wide * high)
    right = (high >= _LEAST) & (high <= _MOST) & (wide <= 2 * high) & (wide >= 1) & (fill > 0.15) & (fill < 0.95)
    right[0] = False
    return [_letter(int(number), picture, strokes, labels, stats[number]) for number in np.flatnonzero(right[:count])]


def _letter(number: int, picture: Array, strokes: Array, labels: Array, stat: Array) -> _Letter:
    x, y, wide, high = (int(edge) for edge in stat[:4])
    part = np.s_[y : y + high, x : x + wide]
    inside = labels[part] == number
    level = float(np.percentile(picture[part][inside], 75))
    return _Letter(Box(x, y, x + wide, y + high), level, float(np.percentile(strokes[part][inside], 75)))


def _rows(letters: list[_Letter], *, wanted: int) -> list[Box]:
    """Chains from left to right: each letter goes on with the nearest one that fits."""
    left = sorted(letters, key=lambda letter: letter.box.x0)
    used: set[int] = set()
    found: list[Box] = []
    for at in range(len(left)):
        if at in used:
            continue
        chain = [at]
        for other in range(at + 1, len(left)):
            if left[other].box.x0 > left[chain[-1]].box.x1 + 2 * left[chain[-1]].box.height:
                break
            if other not in used and _follows(left[chain[-1]], left[other]):
                chain.append(other)
        if len(chain) >= wanted and _even([left[member] for member in chain]):
            used.update(chain)
            hull = left[at].box
            for member in chain:
                hull = hull.hull(left[member].box)
            found.append(hull)
    return found


def _follows(one: _Letter, other: _Letter) -> bool:
    tall, short = max(one.box.height, other.box.height), min(one.box.height, other.box.height)
    beside = -2 <= other.box.x0 - one.box.x1 <= 0.9 * tall
    in_row = min(abs(one.box.y1 - other.box.y1), abs(one.box.y0 - other.box.y0)) <= max(1, 0.15 * tall)
    return beside and in_row and tall <= 1.7 * short and abs(one.level - other.level) <= 0.3 * one.contrast


def _even(chain: list[_Letter]) -> bool:
    levels = np.array([letter.level for letter in chain])
    contrast = float(np.median([letter.contrast for letter in chain]))
    return float(levels.std()) <= _EVENNESS * contrast
