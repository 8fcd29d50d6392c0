"""Burned-in text is found by the network, seen again by a second method, and stays only when it is known technique."""

from __future__ import annotations

import shutil
import socket
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from enclave.core.errors import IntegrityError
from enclave.detectors.pixel_text import finder
from enclave.detectors.pixel_text.allowed import may_stay, technique
from enclave.detectors.pixel_text.boxes import Box, joined, share_covered
from enclave.detectors.pixel_text.finder import find_text, is_found_finer, scale_of, tiles_of
from enclave.detectors.pixel_text.network import Candidate, check_models, model_folder, open_network
from enclave.detectors.pixel_text.strokes import find_lines

BOXES = st.builds(
    lambda x, y, wide, high: Box(x, y, x + wide, y + high),
    st.integers(0, 300), st.integers(0, 300), st.integers(1, 200), st.integers(1, 60),
)  # fmt: skip


@dataclass
class Sheet:
    """A layer of eight bits, textured."""

    pixels: np.ndarray[Any, Any]
    windows: tuple[tuple[float, float], ...] = ((0.0, 255.0),)

    @property
    def height(self) -> int:
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        return self.pixels.shape[1]

    def part(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray[Any, Any]:
        return self.pixels[y0:y1, x0:x1].astype(np.float32)


def sheet(
    *, text: str = "", size: int = 256, points: int = 16, level: int = 220, at: tuple[int, int] = (30, 60)
) -> Sheet:
    noise = np.random.default_rng(size + points)
    axis = np.linspace(0, 9, size)
    ground = 60 + 25 * np.sin(axis)[:, None] * np.cos(1.3 * axis)[None, :] + noise.normal(0, 4, (size, size))
    canvas = Image.fromarray(np.clip(ground, 0, 255).astype(np.uint8))
    if text:
        ImageDraw.Draw(canvas).text(at, text, fill=level, font=ImageFont.load_default(points))
    return Sheet(np.asarray(canvas))


def ink_of(made: Sheet, plain: Sheet) -> np.ndarray[Any, Any]:
    return np.abs(made.pixels.astype(int) - plain.pixels) > 20


@pytest.mark.row("S13.3")
@pytest.mark.parametrize(("points", "level"), [(10, 220), (16, 160), (34, 130), (16, 0)])
def test_a_line_of_text_is_covered_and_little_else(points: int, level: int) -> None:
    made, plain = sheet(text="Branlund MRN 481", points=points, level=level), sheet(points=points)
    found = find_text([made], network=open_network())
    covered = np.zeros(made.pixels.shape, bool)
    for box in found:
        covered[box.y0 : box.y1, box.x0 : box.x1] = True
    ink = ink_of(made, plain)
    assert (covered & ink).sum() >= 0.95 * ink.sum()
    around = Box(*np.argwhere(ink.T).min(axis=0), *(np.argwhere(ink.T).max(axis=0) + 1)).grown(8)
    assert all(box.common(around) == box.area for box in found)


LINE = Box(100, 100, 300, 120)


@pytest.mark.parametrize(
    ("fine", "held"),
    [
        ([LINE], True),
        ([LINE.grown(-2)], True),
        ([Box(100, 102, 210, 118), Box(205, 100, 300, 119)], True),
        ([], False),
        ([Box(100, 100, 250, 120)], False),  # a quarter of its length is missing
        ([Box(100, 100, 300, 110)], False),  # half of its height
        ([Box(100, 112, 300, 126)], False),  # the line below
        ([Box(100, 102, 180, 118), Box(220, 102, 300, 118)], False),  # a word in the middle
    ],
)
def test_a_coarser_box_goes_only_for_finer_ones_that_hold_its_whole_line(fine: list[Box], held: bool) -> None:
    assert is_found_finer(LINE, fine) is held


@given(BOXES, st.lists(BOXES, max_size=4))
def test_what_goes_for_finer_boxes_is_in_their_columns(box: Box, fine: list[Box]) -> None:
    if is_found_finer(box, fine):
        columns = {x for other in fine for x in range(max(box.x0, other.x0), min(box.x1, other.x1))}
        assert len(columns) >= 0.95 * box.width
        assert any(box.common(other) for other in fine)


class Noted:
    """A network that remembers how many pictures it was shown."""

    def __init__(self) -> None:
        self.shown = 0

    def find(self, picture: np.ndarray[Any, Any]) -> list[Candidate]:
        self.shown += 1
        return open_network().find(picture)

    def read(self, crops: Sequence[np.ndarray[Any, Any]]) -> list[tuple[str, float]]:
        return open_network().read(crops)


@pytest.mark.row("S13.3")
def test_of_a_vast_layer_the_network_sees_the_tiles_with_letters_only_and_finds_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(finder, "_TILE", 512)  # as many tiles as a layer of twice the side has, a quarter as large
    made = sheet(text="Branlund MRN 481", size=1100, points=22)
    everywhere, sparing = Noted(), Noted()
    whole = find_text([made], network=everywhere)
    monkeypatch.setattr(finder, "_VAST", 1000)
    found = find_text([made], network=sparing)
    assert sparing.shown < everywhere.shown / 2
    assert found
    assert max(share_covered(box, found) for box in whole) > 0.9
    nothing = Noted()
    assert find_text([sheet(size=1100)], network=nothing) == []
    assert nothing.shown == 0


def test_the_detector_marks_what_another_runtime_of_the_same_network_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    """With fewer bits than 32, which some processors would use by themselves, marks differ by a hundredth and more."""
    import onnxruntime

    picture = sheet(text="HAUSDORFF 4711", size=320).pixels
    seen: list[np.ndarray[Any, Any]] = []
    network: Any = open_network()
    detect = network._detect  # the numbers between the two libraries, which no caller sees

    def watched(pictures: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        seen.extend((pictures, detect(pictures).copy()))
        return seen[1]

    monkeypatch.setattr(network, "_detect", watched)
    assert network.find(picture)
    session = onnxruntime.InferenceSession(
        model_folder() / "PP-OCRv6_det_small.onnx", providers=["CPUExecutionProvider"]
    )
    (other,) = session.run(None, {session.get_inputs()[0].name: seen[0]})
    assert np.abs(other - seen[1]).max() < 1e-4


def test_of_a_layer_of_one_value_no_network_sees_anything() -> None:
    blank = Noted()
    assert find_text([Sheet(np.full((1500, 1500), 7, np.uint8))], network=blank) == []
    assert blank.shown == 0


def test_an_image_without_text_has_no_boxes_and_needs_no_network_of_computers(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a connection was tried")

    open_network.cache_clear()
    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    open_network().warm()
    assert find_text([sheet()], network=open_network()) == []
    assert find_text([Sheet(np.zeros((64, 64), np.uint8))], network=open_network()) == []


def test_models_that_were_not_reviewed_are_refused(tmp_path: Path) -> None:
    check_models(model_folder())
    for name in ("PP-OCRv6_det_small.onnx", "PP-OCRv6_rec_small.onnx", "ch_ppocr_mobile_v2.0_cls_mobile.onnx"):
        shutil.copy(model_folder() / name, tmp_path)
    changed = tmp_path / "PP-OCRv6_det_small.onnx"
    changed.write_bytes(changed.read_bytes()[:-1] + b"\0")
    with pytest.raises(IntegrityError, match="PP-OCRv6_det_small"):
        check_models(tmp_path)
    changed.unlink()
    with pytest.raises(IntegrityError):
        check_models(tmp_path)


def test_the_second_method_sees_rows_of_letters_and_no_texture() -> None:
    made = sheet(text="Branlund 4810488", points=18, level=230)
    ink = ink_of(made, sheet(points=18))
    parts = [ink[line.y0 : line.y1, line.x0 : line.x1].sum() for line in find_lines(made.pixels)]
    assert sum(parts) >= 0.5 * ink.sum()
    assert all(parts)
    assert find_lines(sheet().pixels) == []
    assert find_lines(np.full((40, 40), 9, np.uint8)) == []


@given(st.lists(BOXES, max_size=12))
def test_joining_boxes_loses_no_pixel(boxes: list[Box]) -> None:
    before, after = np.zeros((400, 600), bool), np.zeros((400, 600), bool)
    for mask, those in ((before, boxes), (after, joined(boxes))):
        for box in those:
            mask[box.y0 : box.y1, box.x0 : box.x1] = True
    assert not (before & ~after).any()
    assert len(joined(boxes)) <= len(boxes)
    assert joined(boxes) == joined(list(reversed(boxes)))


@given(BOXES, st.sampled_from([0.25, 0.5, 1.0, 1.44, 3.0]))
def test_a_scaled_box_covers_what_it_covered(box: Box, factor: float) -> None:
    back = box.scaled(factor).scaled(1 / factor)
    assert share_covered(box, [back.grown(1)]) == 1


@settings(deadline=None)
@given(st.integers(1, 9000), st.integers(1, 9000), st.sampled_from([1, 2, 4, 8]))
def test_tiles_cover_a_layer_and_none_is_larger_than_memory_holds(height: int, width: int, factor: int) -> None:
    layer = Sheet(np.empty((height, width), np.uint8))
    side = round(1024 / scale_of(layer))
    rows, columns = np.zeros(height, bool), np.zeros(width, bool)
    tiles = list(tiles_of(layer, side=side, factor=factor))
    for tile in tiles:
        assert (tile.x1 - tile.x0) * (tile.y1 - tile.y0) <= 4096 * 4096
        assert 0 <= tile.x0 < tile.x1 <= width
        assert 0 <= tile.y0 < tile.y1 <= height
        rows[tile.y0 : tile.y1] = columns[tile.x0 : tile.x1] = True
    assert rows.all()
    assert columns.all()
    assert len(tiles) == len({(tile.x0, tile.y0) for tile in tiles})


@given(st.text(alphabet=string.ascii_letters + string.digits + " .,-", min_size=1, max_size=30), st.floats(0, 1))
def test_only_known_words_that_were_read_with_certainty_stay(text: str, score: float) -> None:
    known = all(word in technique() for word in text.split()) and bool(text.split())
    assert not may_stay(text, score=score) or (known and score >= 0.95)


@pytest.mark.parametrize("text", ["L", "R", "LEFT LATERAL", "PA ERECT", "RCC"])
def test_markers_stay(text: str) -> None:
    assert may_stay(text, score=0.99)
    assert not may_stay(text, score=0.9)
    assert not may_stay(f"{text} MUELLER", score=0.99)


@pytest.mark.parametrize("deviation", [8, 20, 40])
def test_the_second_method_sees_no_line_in_noise(deviation: int) -> None:
    noise = np.random.default_rng(deviation).normal(120, deviation, (512, 512))
    assert find_lines(np.clip(noise, 0, 255).astype(np.uint8), letters=5) == []


def test_the_second_method_sees_a_line_in_noise() -> None:
    page = Image.fromarray(np.random.default_rng(1).normal(90, 8, (256, 256)).clip(0, 255).astype(np.uint8))
    ImageDraw.Draw(page).text((30, 100), "BRANLUND 4810", fill=230, font=ImageFont.load_default(18))
    (line, *_) = find_lines(np.asarray(page), letters=5)
    assert line.common(Box(30, 100, 160, 122)) > 0.5 * line.area
