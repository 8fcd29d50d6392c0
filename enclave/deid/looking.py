"""Looks for burned-in text in one instance: the network finds it, a second method looks at what the network left.

Every verdict comes from the pixels. What is read is compared and forgotten; no recognised character leaves this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from enclave.deid.frames import Frames, open_frames
from enclave.deid.layers import Plane, planes_of
from enclave.deid.pixel_data import PixelElement
from enclave.deid.pixel_form import Array
from enclave.deid.pixels import may_show_text
from enclave.deid.reading import Instance
from enclave.deid.reasons import Quarantined
from enclave.deid.tree import Node, text_at
from enclave.detectors.pixel_text.allowed import may_stay
from enclave.detectors.pixel_text.boxes import Box, joined
from enclave.detectors.pixel_text.finder import find_text, overview_factors, tiles_of
from enclave.detectors.pixel_text.ink import fitted
from enclave.detectors.pixel_text.network import TextNetwork, open_network
from enclave.detectors.pixel_text.strokes import TooManyLettersError, find_lines
from enclave.detectors.pixel_text.views import by_window

Identifies = Callable[[str], bool]
_SERIES_MODALITIES = frozenset({"CT", "MR", "PT"})
_SURE_LETTERS = 5  # in a row: hardly ever anatomy
_GATE_LETTERS = 3
_SLIGHT = 0.5  # share of a line by which it is the same as what the network found
_READ_UP_TO = 12  # width to height of a box that may hold a marker
_MOST_READ = 16  # boxes of one instance
_TILE = 2048


@dataclass(frozen=True, slots=True)
class Looked:
    """What was found: boxes to be blanked, how many lines of technique stay, whether the network was spared."""

    boxes: tuple[Box, ...]
    kept: int = 0
    spared: bool = False


def is_slice(tree: Node) -> bool:
    """Whether this is one original slice of a series, of which a gate and a sample are enough."""
    single = text_at(tree, 0x00280008) in ("", "1")
    return text_at(tree, 0x00080060).upper() in _SERIES_MODALITIES and single and not may_show_text(tree)


def look_at(
    instance: Instance,
    elements: tuple[PixelElement, ...],
    *,
    identifies: Identifies,
    thoroughly: bool,
    only: Sequence[Box] = (),
) -> tuple[Frames, Looked]:
    """The frames of an instance and the text in them; unless ``thoroughly``, a slice that passes the gate has none.

    ``only``: all lines that images of this device have; the network is spared when the gate sees none beside them.
    Raises ``Quarantined`` for pixels that cannot be looked at: undecodable, of no stated form, more than declared.
    """
    frames = frames_of(instance, elements)
    if not thoroughly and is_slice(instance.tree) and passes_gate(frames, instance.tree):
        return frames, Looked(())
    if only and passes_gate(frames, instance.tree, beside=only):
        return frames, Looked(tuple(only), spared=True)
    return frames, look(frames, instance.tree, network=open_network(), identifies=identifies)


def frames_of(instance: Instance, elements: tuple[PixelElement, ...]) -> Frames:
    """The frames of an instance, none that nobody declared; raises ``Quarantined``."""
    if len(elements) != 1:
        raise Quarantined("pixels_irregular")
    frames = open_frames(instance.source, instance.tree, elements[0], syntax=instance.syntax)
    form = frames.form
    if not elements[0].encapsulated and elements[0].size - (form.frame_bits * form.frames + 7) // 8 > 1:
        raise Quarantined("pixels_irregular")  # frames that nobody declared
    return frames


def passes_gate(frames: Frames, tree: Node, *, beside: Sequence[Box] = ()) -> bool:
    """Whether the cheap method sees no row of letters at all, or none that goes on ``beside`` these boxes.

    What has too many letters to tell does not pass.
    """
    try:
        lines = _lines(planes_of(frames, tree), letters=_GATE_LETTERS)
        return all(_covered(box, beside) >= 1 for box in lines)
    except TooManyLettersError:
        return False


def look(frames: Frames, tree: Node, *, network: TextNetwork, identifies: Identifies) -> Looked:
    """The boxes of all text but technique; raises ``Quarantined`` when the two methods disagree, and for a picture with
    too many letters for the second."""
    planes = list(planes_of(frames, tree))
    found = find_text(planes, network=network)
    allowed = _allowed(planes, found, network=network, identifies=identifies)
    boxes = [box for box in found if box not in allowed]
    extra = _left_by(found, planes, allowed=allowed)
    size = {"width": frames.form.columns, "height": frames.form.rows}
    every = (box.within(**size) for box in joined([*boxes, *extra]))
    return Looked(tuple(box for box in every if box.area), kept=len(allowed))


def _left_by(found: list[Box], planes: list[Plane], *, allowed: Iterable[Box]) -> list[Box]:
    """What the second method sees beside the lines that the network found; raises ``Quarantined``."""
    extra: list[Box] = []
    try:
        for box in _lines(planes, letters=_SURE_LETTERS):
            covered = _covered(box, found)
            if covered < _SLIGHT:
                raise Quarantined("pixel_text_disagreement")
            if covered < 1 and _covered(box, allowed) < _SLIGHT:
                extra.append(_lengthened(box, found))
    except TooManyLettersError:
        raise Quarantined("pixels_crowded") from None
    return extra


def _lines(planes: Iterable[Plane], *, letters: int) -> Iterator[Box]:
    """The lines of all views, in the image; raises ``TooManyLettersError``."""
    for place, view in _views(planes):
        for line in find_lines(view, letters=letters):
            yield _placed(line, place)


def _placed(line: Box, place: _Place) -> Box:
    """A line of a view as a box of the image."""
    marked = line.scaled(place.scale).moved(place.x0, place.y0).grown(1)
    return fitted(marked.within(width=place.plane.width, height=place.plane.height), layer=place.plane)


def _lengthened(line: Box, found: Iterable[Box]) -> Box:
    """What a line adds to those found in its rows: length. How tall they are the finer view knows."""
    rows = [box for box in found if line.common(box) and box.width > box.height]
    if not rows or line.width < line.height:
        return line
    top, bottom = min(box.y0 for box in rows), max(box.y1 for box in rows)
    return Box(line.x0, max(line.y0, top), line.x1, min(line.y1, bottom))


def _allowed(planes: list[Plane], found: list[Box], *, network: TextNetwork, identifies: Identifies) -> frozenset[Box]:
    """The boxes that hold technique only: what cannot be read with certainty does not."""
    small = [box for box in found if box.width <= _READ_UP_TO * box.height][:_MOST_READ]
    if not small or not planes:
        return frozenset()
    plane = planes[0]
    read = network.read([_crop(plane, box) for box in small])
    return frozenset(
        box
        for box, (text, score) in zip(small, read, strict=True)
        if may_stay(text, score=score) and not identifies(text) and not _touches(box, found)
    )


def _touches(box: Box, others: Iterable[Box]) -> bool:
    """Whether something else was found beside it: then it is a part of a line."""
    near = box.grown(box.height)
    return any(near.common(other) for other in others if other != box)


def _crop(plane: Plane, box: Box) -> Array:
    wide = box.grown(max(2, box.height // 4)).within(width=plane.width, height=plane.height)
    return by_window(plane.part(*wide), window=plane.windows[0])


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a view stands in its plane."""

    plane: Plane
    scale: float
    x0: int
    y0: int


def _views(planes: Iterable[Plane]) -> Iterator[tuple[_Place, Array]]:
    """Each plane by each of its windows, in tiles, as it is and made smaller."""
    for plane in planes:
        for factor in chain((1,), overview_factors(plane)):
            for tile in tiles_of(plane, side=_TILE, factor=factor):
                values = plane.part(tile.x0, tile.y0, tile.x1, tile.y1)
                if values.min() < values.max():
                    for window in plane.windows:
                        view = by_window(values, window=window)
                        yield _Place(plane, factor, tile.x0, tile.y0), _smaller(view, factor)


def _smaller(view: Array, factor: int) -> Array:
    if factor == 1:
        return view
    height, width = (edge // factor * factor for edge in view.shape)
    if not height or not width:
        return view[:1, :1]
    cells = view[:height, :width].reshape(height // factor, factor, width // factor, factor)
    return np.asarray(cells.mean(axis=(1, 3)), np.uint8)


def _covered(box: Box, others: Iterable[Box]) -> float:
    """The share of ``box`` that lies in ``others`` together."""
    if not box.area:
        return 1.0
    inside = np.zeros((box.height, box.width), bool)
    for other in others:
        common = other.moved(-box.x0, -box.y0).within(width=box.width, height=box.height)
        inside[common.y0 : max(common.y0, common.y1), common.x0 : max(common.x0, common.x1)] = True
    return float(inside.mean())
