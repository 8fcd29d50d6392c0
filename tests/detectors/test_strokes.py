"""The second finder of text gives the lines of a plain reading of its rule, and no picture takes it long."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from enclave.detectors.pixel_text import strokes
from enclave.detectors.pixel_text.boxes import Box
from enclave.detectors.pixel_text.strokes import TooManyLettersError, find_lines, shows_lines

Picture = np.ndarray[Any, Any]


def uneven_hooks(side: int) -> Picture:
    """Hooks of a letter's size side by side, as bright as the next one and all together of every brightness."""
    made = np.zeros((side, side), np.uint8)
    for y in range(0, side - 7, 7):
        for number, x in enumerate(range(0, side - 5, 5)):
            made[y : y + 6, x] = made[y + 5, x : x + 3] = round(70 + 185 * abs(number % 40 - 20) / 20)
    return made


@st.composite
def letters(draw: st.DrawFn) -> list[strokes._Letter]:
    """Crowded, so that many may follow one; of few brightnesses, so that some chains are even and some are not."""
    made = []
    for _ in range(draw(st.integers(0, 40))):
        x, y, high = draw(st.integers(0, 200)), draw(st.integers(0, 30)), draw(st.integers(6, 60))
        box = Box(x, y, x + draw(st.integers(1, 2 * high)), y + high)
        made.append(strokes._Letter(box, draw(st.sampled_from([90.0, 110.0, 140.0])), draw(st.floats(24, 255))))
    return made


def plainly(given_letters: list[strokes._Letter], *, wanted: int) -> list[Box]:
    """Each letter in turn begins a chain, which looks at all letters right of its last one."""
    left = sorted(given_letters, key=lambda letter: letter.box.x0)
    used: set[int] = set()
    found = []
    for at in range(len(left)):
        chain = [at]
        for other in range(at + 1, len(left)):
            if other not in used and strokes._follows(left[chain[-1]], left[other]):
                chain.append(other)
        members = [left[member] for member in chain]
        spread = float(np.std([letter.level for letter in members]))
        even = spread <= strokes._EVENNESS * float(np.median([letter.contrast for letter in members]))
        if at not in used and len(chain) >= wanted and even:
            used.update(chain)
            x0, y0, x1, y1 = zip(*(letter.box for letter in members), strict=True)
            found.append(Box(min(x0), min(y0), max(x1), max(y1)))
    return found


@settings(deadline=None, max_examples=300)
@given(letters(), st.integers(1, 6))
def test_lines_are_those_of_the_plain_rule(made: list[strokes._Letter], wanted: int) -> None:
    assert strokes._rows(made, wanted=wanted) == plainly(made, wanted=wanted)


def test_a_letter_is_compared_with_few_others_however_many_there_are() -> None:
    for side in (128, 256, 512):
        made = strokes._letters(uneven_hooks(side))
        chains = strokes._Chains(made)
        for at in range(len(made)):
            chains.starting_at(at)
        assert len(made) > side * side / 40
        assert chains.compared <= 16 * len(made)


def test_a_letter_far_away_in_its_row_or_column_is_not_compared_at_all() -> None:
    row = [strokes._Letter(Box(x, 0, x + 4, 6), 100.0, 50.0) for x in range(0, 6000, 60)]
    column = [strokes._Letter(Box(0, y, 4, y + 6), 100.0, 50.0) for y in range(0, 6000, 60)]
    for made in (row, column):
        chains = strokes._Chains(made)
        assert [len(chains.starting_at(at)) for at in range(len(made))] == [1] * len(made)
        assert chains.compared == 0


def test_a_picture_of_more_letters_than_text_has_shows_lines_before_any_is_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(strokes, "_letter", lambda *_: pytest.fail("a letter was measured"))
    crowded = uneven_hooks(1024)
    with pytest.raises(TooManyLettersError):
        find_lines(crowded)
    assert shows_lines(crowded, letters=3)


def test_more_dark_letters_than_text_has_show_lines_too() -> None:
    assert shows_lines(255 - uneven_hooks(700), letters=10_000)


def test_a_full_page_of_text_has_not_too_many_letters() -> None:
    page = Image.new("L", (1240, 1754), 255)  # A4 at 150 dots per inch
    words = "Befund: Die Leber ist normal gross, ohne Herd. Keine Stauung der Gallenwege. "
    for y in range(20, 1734, 20):
        ImageDraw.Draw(page).text((20, y), words * 2, fill=0, font=ImageFont.load_default(15))
    assert len(find_lines(np.asarray(page))) > 80
