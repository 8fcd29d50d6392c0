"""Where text is burned into a layer of pixels: by the network, in several views, scales and tiles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from enclave.detectors.pixel_text.boxes import Box, joined
from enclave.detectors.pixel_text.ink import fitted
from enclave.detectors.pixel_text.network import Array, Candidate, TextNetwork
from enclave.detectors.pixel_text.strokes import shows_lines
from enclave.detectors.pixel_text.views import Layer, by_neighbourhood, by_window

_TILE = 1024  # pixels of a picture that the network sees at once
_OVERLAP = 128
_LARGEST_TILE = 4096  # pixels of a layer that are read at once: 64 MB of numbers
_MOST_REDUCED = 8
_FINE = 1.44  # lines of nine pixels are found from here on
_FINE_UP_TO = 1024  # larger images are made for larger screens: looked at as they are
_SMALL, _LARGEST_SCALE = 512, 3.0
_TALLEST = 72  # pixels of a line; taller ones are found at a smaller scale
_TALLEST_GLYPH, _GLYPH_SHARE = 48, 6  # pixels, and parts of an image: a round organ looks like a letter as tall as it
_SLIM = 2.5  # width to height of a line that no organ has
_SURE = 0.6
_SAME_HEIGHT, _SAME_LENGTH, _SAME_ROW = 0.6, 0.95, 0.3  # of a coarser box: what makes a finer one the same line
_MARGIN = 1  # pixels around what was found
_FAINT_SPAN = 512  # a range from here on can hold contrasts that eight bits do not show
_VAST = 1 << 26  # pixels: of a larger layer the network sees the tiles in which the cheap method sees letters
_LETTERS = 3  # in a row
_QUIETEST, _FAINTEST = 1 / 128, 1 / 2048  # of the range: the least deviation that counts


@dataclass(frozen=True, slots=True)
class Tile:
    """Columns and rows of a layer that are looked at together."""

    x0: int
    y0: int
    x1: int
    y1: int


def find_text(layers: Iterable[Layer], *, network: TextNetwork) -> list[Box]:
    """Boxes around all text in ``layers``, which have one size; sorted, some may overlap."""
    found: set[Box] = set()
    for layer in layers:
        coarse = {box for factor in overview_factors(layer) for box in _overview(layer, factor=factor, network=network)}
        fine: set[Box] = set()
        scale = scale_of(layer)
        for tile in tiles_of(layer, side=round(_TILE / scale)):
            values = layer.part(tile.x0, tile.y0, tile.x1, tile.y1)
            if values.min() == values.max():
                continue  # nothing is drawn here
            for view in views_of(values, layer=layer):
                if not is_worth_a_look(view, layer=layer):
                    continue
                fine.update(
                    _placed(candidate, scale=scale, tile=tile, layer=layer)
                    for candidate in network.find(_resized(view, scale))
                    if may_be_text(candidate.box.scaled(1 / scale), layer=layer)
                )
        found.update(fine, (box for box in coarse if not is_found_finer(box, fine)))
    return joined(found)


def is_found_finer(box: Box, fine: Iterable[Box]) -> bool:
    """Whether boxes of a finer picture hold the line that a coarser one marks: as long, and not of a part of its
    height. What the coarser one has besides is its rim."""
    same = [other for other in fine if other.height >= _SAME_HEIGHT * box.height and _in_row(other, box)]
    held = np.zeros(max(0, box.width), bool)
    for other in same:
        held[max(0, other.x0 - box.x0) : max(0, other.x1 - box.x0)] = True
    return box.width > box.height and bool(held.mean() >= _SAME_LENGTH)


def _in_row(one: Box, other: Box) -> bool:
    """Whether the middle of ``one`` is among the inner rows of ``other``."""
    return abs((one.y0 + one.y1) - (other.y0 + other.y1)) <= _SAME_ROW * other.height


def is_worth_a_look(view: Array, *, layer: Layer) -> bool:
    """Whether the network is to see a picture: of a layer larger than devices make, for which it would take a quarter
    of an hour, only those in which the cheap method sees letters."""
    return layer.height * layer.width <= _VAST or shows_lines(view, letters=_LETTERS)


def may_be_text(box: Box, *, layer: Layer) -> bool:
    """Whether a box has the form of a line or the size of a letter: the network takes round organs for letters."""
    tall, long = sorted((box.width, box.height))
    glyph = min(_TALLEST_GLYPH, min(layer.height, layer.width) // _GLYPH_SHARE)
    return tall <= _TALLEST and (tall <= glyph or long >= _SLIM * tall)


def views_of(values: Array, *, layer: Layer) -> Iterator[Array]:
    """The pictures in which text is looked for: each window, and twice the neighbourhoods where the range is wide."""
    for window in layer.windows:
        yield by_window(values, window=window)
    low, high = layer.windows[-1]
    yield by_neighbourhood(values, quietest=(high - low) * _QUIETEST)
    if high - low >= _FAINT_SPAN:
        yield by_neighbourhood(values, quietest=(high - low) * _FAINTEST)


def scale_of(layer: Layer) -> float:
    """How much a layer is enlarged before the network sees it."""
    side = max(layer.height, layer.width)
    if side > _FINE_UP_TO:
        return 1.0
    return _FINE if side >= _SMALL else min(_LARGEST_SCALE, _FINE * _SMALL / side)


def overview_factors(layer: Layer) -> Iterator[int]:
    """By how much a layer is made smaller for text that is too tall otherwise."""
    factor = 2
    while factor == 2 or (factor <= _MOST_REDUCED and max(layer.height, layer.width) >= 1024 * factor):
        yield factor
        factor *= 2


def tiles_of(layer: Layer, *, side: int, factor: int = 1) -> Iterator[Tile]:
    """Overlapping tiles that cover a layer, to be made ``factor`` times smaller; none is too large for memory."""
    side, overlap = min(side * factor, _LARGEST_TILE), _OVERLAP * factor
    for y0, y1 in _spans(layer.height, side=side, overlap=overlap):
        for x0, x1 in _spans(layer.width, side=side, overlap=overlap):
            yield Tile(x0, y0, x1, y1)


def _spans(length: int, *, side: int, overlap: int) -> Iterator[tuple[int, int]]:
    if length <= side:
        yield 0, length
        return
    count = -(-(length - overlap) // (side - overlap))
    for number in range(count):
        start = round(number * (length - side) / (count - 1))
        yield start, start + side


def _overview(layer: Layer, *, factor: int, network: TextNetwork) -> Iterator[Box]:
    for tile in tiles_of(layer, side=_TILE, factor=factor):
        values = layer.part(tile.x0, tile.y0, tile.x1, tile.y1)
        if values.min() == values.max():
            continue
        for window in layer.windows:
            view = by_window(_resized(values, 1 / factor), window=window)
            for candidate in network.find(view) if is_worth_a_look(view, layer=layer) else ():
                tall, long = sorted((candidate.box.width, candidate.box.height))
                if candidate.score >= _SURE and long >= _SLIM * tall and tall <= _TALLEST:
                    yield _placed(candidate, scale=1 / factor, tile=tile, layer=layer)


def _resized(picture: Array, scale: float) -> Array:
    if scale == 1:
        return picture
    how = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    resized: Array = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=how)
    return resized


def _placed(candidate: Candidate, *, scale: float, tile: Tile, layer: Layer) -> Box:
    box = candidate.box.scaled(1 / scale).grown(_MARGIN).moved(tile.x0, tile.y0)
    return fitted(box.within(width=layer.width, height=layer.height), layer=layer)
