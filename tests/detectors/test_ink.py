"""Boxes fit the ink: no rim of anatomy, no letter cut, no part of a line left out; never smaller than the letters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from enclave.detectors.pixel_text.boxes import Box
from enclave.detectors.pixel_text.ink import fitted

SIDE = 240
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Page:
    values: Array
    windows: tuple[tuple[float, float], ...] = ((0.0, 255.0),)

    @property
    def height(self) -> int:
        return int(self.values.shape[0])

    @property
    def width(self) -> int:
        return int(self.values.shape[1])

    def part(self, x0: int, y0: int, x1: int, y1: int) -> Array:
        return self.values[y0:y1, x0:x1]


def written(
    text: str, *, ink: float, ground: Array, at: tuple[int, int] = (60, 100), size: int = 20
) -> tuple[Page, Array]:
    """A page with one line, and where its ink is, the faintest edges left out."""
    layer = Image.new("L", (SIDE, SIDE), 0)
    ImageDraw.Draw(layer).text(at, text, fill=255, font=ImageFont.load_default(size))
    share = np.asarray(layer) / 255.0
    values = np.rint(ground * (1 - share) + ink * share).astype(np.float32)
    return Page(values), share > 0.15


def noise(level: float, deviation: float) -> Array:
    return np.random.default_rng(4).normal(level, deviation, (SIDE, SIDE))


def tight(ink: Array) -> Box:
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def covers(box: Box, ink: Array) -> bool:
    return bool(ink[box.y0 : box.y1, box.x0 : box.x1].sum() == ink.sum())


@pytest.mark.parametrize("ink", [250.0, 5.0], ids=["bright", "dark"])
def test_a_rim_of_ground_is_left_as_it_is(ink: float) -> None:
    page, where = written("Branlund 42", ink=ink, ground=noise(120, 4))
    truth = tight(where)
    found = fitted(truth.grown(6), layer=page)
    assert covers(found, where)
    assert found.area <= truth.grown(2).area


@pytest.mark.parametrize("edge", ["left", "right", "top", "bottom"])
def test_a_letter_that_an_edge_cuts_is_covered_whole(edge: str) -> None:
    page, where = written("Branlund 42", ink=250.0, ground=noise(90, 4))
    x0, y0, x1, y1 = tight(where)
    cut = {
        "left": Box(x0 + 4, y0, x1, y1),
        "right": Box(x0, y0, x1 - 4, y1),
        "top": Box(x0, y0 + 4, x1, y1),
        "bottom": Box(x0, y0, x1, y1 - 4),
    }[edge]
    assert covers(fitted(cut, layer=page), where)


def test_a_line_does_not_grow_over_what_touches_it_in_one_place_only() -> None:
    page, ink = written("BRANLUND 4711", ink=230.0, ground=noise(60.0, 3.0), at=(30, 100))
    line = tight(ink)
    spot = page.values.copy()
    spot[line.y0 - 6 : line.y0 + 2, line.x0 + 30 : line.x0 + 34] = 230.0
    found = fitted(line, layer=Page(spot))
    assert covers(found, ink)
    assert found.y0 >= line.y0 - 2


def test_a_line_cut_along_its_rows_grows_over_all_of_its_letters() -> None:
    page, ink = written("BRANLUND 4711", ink=230.0, ground=noise(60.0, 3.0), at=(30, 100))
    line = tight(ink)
    for cut in (line._replace(y0=line.y0 + 4), line._replace(y1=line.y1 - 4)):
        assert covers(fitted(cut, layer=page), ink)


def test_a_line_that_fades_into_its_ground_is_followed_by_its_one_value() -> None:
    ground = np.where(np.arange(SIDE) < 120, 20.0, 150.0) + noise(0, 3)
    page, where = written("Branlund 42", ink=150.0, ground=ground)
    seen = tight(where)._replace(x1=120)
    found = fitted(seen, layer=page)
    assert where[:, found.x0 : found.x1].sum() >= 0.97 * where.sum()


def test_a_line_is_not_followed_over_ground_that_has_its_value_everywhere() -> None:
    page, where = written("Anne", ink=150.0, ground=np.where(np.arange(SIDE) < 130, 20.0, 150.0) * np.ones((SIDE, 1)))
    truth = tight(where)
    assert fitted(truth, layer=page).x1 <= max(truth.x1, 130) + 12


def test_where_the_ground_is_as_rough_as_the_letters_the_box_loses_no_ink() -> None:
    page, where = written("Branlund 42", ink=150.0, ground=noise(100, 35))
    truth = tight(where)
    found = fitted(truth.grown(3), layer=page)
    assert where[found.y0 : found.y1, found.x0 : found.x1].sum() >= 0.97 * where.sum()


def test_a_box_without_anything_in_it_stays() -> None:
    page = Page(np.full((SIDE, SIDE), 7.0, np.float32))
    assert fitted(Box(10, 10, 60, 30), layer=page) == Box(10, 10, 60, 30)


def test_a_line_from_top_to_bottom_is_fitted_too() -> None:
    page, where = written("Branlund 42", ink=250.0, ground=noise(120, 4), at=(60, 100))
    turned, where = Page(np.ascontiguousarray(page.values.T)), where.T
    truth = tight(where)
    found = fitted(truth.grown(6), layer=turned)
    assert covers(found, where)
    assert found.area <= truth.grown(2).area


def test_a_box_at_the_edge_of_the_image_stays_within_it() -> None:
    page, where = written("Branlund", ink=250.0, ground=noise(120, 4), at=(0, 0))
    found = fitted(tight(where).grown(3).within(width=SIDE, height=SIDE), layer=page)
    assert covers(found, where)
    assert found == found.within(width=SIDE, height=SIDE)
