"""A second finder of text that knows nothing of the first: strokes of one brightness that stand in a row like letters.

It has no model. Strokes are what an opening by a small square takes away from a picture; parts that hang together and
have the size of letters are letters, and some of them in one row with little between them are a line. It finds less
than the network, and what it finds is hardly ever anatomy: for a gate before the network, and for a look at what the
network left.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from functools import reduce
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
_OVERLAP, _BESIDE = 2, 0.9  # pixels, and shares of the taller letter's height: how near the next one begins
_IN_ROW, _TALLER = 0.15, 1.7  # how far apart their edges are, and how much taller one is
_MOST_LETTERS = 10_000  # twice a dense printed page, or 2048 by 2048 pixels full of letters 20 pixels apart
_BAND = 8  # rows whose letters are kept together
_EVENNESS = 0.25  # deviation of the brightness of a line's letters, as a share of their contrast


@dataclass(frozen=True, slots=True)
class _Letter:
    box: Box
    level: float
    contrast: float


class TooManyLettersError(Exception):
    """A picture has more letters than text has, so that nobody can say which of them are lines."""


def shows_lines(picture: Array, *, letters: int) -> bool:
    """Whether a picture of eight bits has such a line, or more letters than can be told apart."""
    try:
        return bool(find_lines(picture, letters=letters))
    except TooManyLettersError:
        return True


def find_lines(picture: Array, *, letters: int = _IN_A_ROW) -> list[Box]:
    """Lines of at least so many letters in a picture of eight bits.

    Raises ``TooManyLettersError`` for a picture that has more letters than text on a screen.
    """
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
    if np.count_nonzero(right) > _MOST_LETTERS:
        raise TooManyLettersError
    return [_letter(int(number), picture, strokes, labels, stats[number]) for number in np.flatnonzero(right[:count])]


def _letter(number: int, picture: Array, strokes: Array, labels: Array, stat: Array) -> _Letter:
    x, y, wide, high = (int(edge) for edge in stat[:4])
    part = np.s_[y : y + high, x : x + wide]
    inside = labels[part] == number
    level = float(np.percentile(picture[part][inside], 75))
    return _Letter(Box(x, y, x + wide, y + high), level, float(np.percentile(strokes[part][inside], 75)))


def _rows(letters: list[_Letter], *, wanted: int) -> list[Box]:
    """Chains from left to right: each letter goes on with the nearest one that fits and is in no line yet."""
    chains = _Chains(letters)
    found: list[Box] = []
    for at in range(len(letters)):
        if chains.used[at]:
            continue
        chain = chains.starting_at(at)
        if len(chain) >= wanted and chains.is_even(chain):
            chains.used[chain] = True
            found.append(reduce(Box.hull, (chains.left[member].box for member in chain)))
    return found


class _Chains:
    """Letters from left to right and the chains they begin.

    A letter is compared only with those that stand near and in its rows, and once; the chain of a letter is that of
    the next one and itself. So a picture of letters that are no lines costs little more than one of as many that are.
    """

    def __init__(self, letters: list[_Letter]) -> None:
        self.left = sorted(letters, key=lambda letter: letter.box.x0)
        self.used = np.zeros(len(letters), bool)
        self.compared = 0
        self._levels = np.array([letter.level for letter in self.left])
        self._contrasts = np.array([letter.contrast for letter in self.left])
        self._by_edge: dict[tuple[str, int], list[int]] = {}
        for at, letter in enumerate(self.left):
            for band in (("y0", letter.box.y0 // _BAND), ("y1", letter.box.y1 // _BAND)):
                self._by_edge.setdefault(band, []).append(at)
        self._following: dict[int, list[int]] = {}
        self._known: dict[int, tuple[Array, int]] = {}  # a chain that a letter is in, and where

    def starting_at(self, at: int) -> Array:
        """The places of a chain's letters among ``left``."""
        begun: list[int] = []
        rest = np.empty(0, np.intp)
        following: int | None = at
        while following is not None:
            if following in self._known:
                chain, place = self._known[following]
                if not self.used[chain[place:]].any():
                    rest = chain[place:]
                    break
            begun.append(following)
            following = next((other for other in self._followers(following) if not self.used[other]), None)
        chain = np.concatenate([np.array(begun, np.intp), rest])
        self._known.update((member, (chain, place)) for place, member in enumerate(begun))
        return chain

    def is_even(self, chain: Array) -> bool:
        """Whether the letters of a chain are about equally bright."""
        return float(self._levels[chain].std()) <= _EVENNESS * float(np.median(self._contrasts[chain]))

    def _followers(self, at: int) -> list[int]:
        """All letters that may come after one, from left to right."""
        if at not in self._following:
            one = self.left[at]
            near = [other for other in self._near(one.box) if other > at]
            self.compared += len(near)
            self._following[at] = [other for other in near if _follows(one, self.left[other])]
        return self._following[at]

    def _near(self, box: Box) -> list[int]:
        """No letter elsewhere follows one in ``box``: these are all that are not too far for one of the greatest height
        beside it."""
        tall = _TALLER * box.height
        apart = max(1, math.floor(_IN_ROW * tall))
        first, last = box.x1 - _OVERLAP, box.x1 + _BESIDE * tall
        found: set[int] = set()
        for edge, y in (("y0", box.y0), ("y1", box.y1)):
            for band in range((y - apart) // _BAND, (y + apart) // _BAND + 1):
                members = self._by_edge.get((edge, band), [])
                start = bisect.bisect_left(members, first, key=self._x0)
                found.update(members[start : bisect.bisect_right(members, last, key=self._x0)])
        return sorted(found)

    def _x0(self, at: int) -> int:
        return self.left[at].box.x0


def _follows(one: _Letter, other: _Letter) -> bool:
    tall, short = max(one.box.height, other.box.height), min(one.box.height, other.box.height)
    beside = -_OVERLAP <= other.box.x0 - one.box.x1 <= _BESIDE * tall
    in_row = min(abs(one.box.y1 - other.box.y1), abs(one.box.y0 - other.box.y0)) <= max(1, _IN_ROW * tall)
    return beside and in_row and tall <= _TALLER * short and abs(one.level - other.level) <= 0.3 * one.contrast
