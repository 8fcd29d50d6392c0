"""Images that no detector was tuned on: textured anatomy with lines of identifying text at known places.

A seed gives the same images. Fonts are files of this machine; each line has one size and one contrast against the
median of what it covers.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Array = np.ndarray[Any, Any]
POINTS = (9, 34)  # pixels to the em
CONTRAST = (25, 200)
STRONG = 70  # from here on the stricter goal holds
_SURNAMES = ("Branlund", "Caldorath", "Dorvashaw", "Elvramark", "Farnwick", "Grevzell", "Haskquist", "Ilvrikamp")
_GIVEN = ("Annelora", "Brisella", "Corvina", "Aldrik", "Bertolf", "Casparin", "Delphira", "Evandra", "Ottoline")
_TOWNS = ("Steinbruck", "Northam", "Valdoria", "Eastmere", "Kirkwall", "Lindenau")
_SHARE_PLAIN = 0.2  # of the images have no text


@dataclass(frozen=True, slots=True)
class Line:
    """One line of text: the box around its ink, where the ink is, its size and contrast."""

    box: tuple[int, int, int, int]
    ink: Array
    points: int
    contrast: int
    font: str


@dataclass(frozen=True, slots=True)
class Drawn:
    """One image, uint8, and what was drawn into it."""

    pixels: Array
    lines: tuple[Line, ...]


def make_images(count: int, *, size: int, seed: int, fonts: Sequence[Path | None]) -> Iterator[Drawn]:
    """``count`` images of ``size`` squared; a font of None is the one inside of Pillow."""
    for number in range(count):
        rng = random.Random(f"{seed}/{size}/{number}")
        pixels = anatomy(np.random.default_rng([seed, size, number]), size=size)
        lines: list[Line] = []
        if rng.random() >= _SHARE_PLAIN:
            for _ in range(rng.randint(1, 6)):
                made = _draw(pixels, lines, rng=rng, font=rng.choice(fonts))
                if made is not None:
                    lines.append(made)
        yield Drawn(pixels, tuple(lines))


def anatomy(noise: np.random.Generator, *, size: int) -> Array:
    """Soft organs with hard borders, ribs, vessels, trabecular texture and detector noise on a dark ground."""
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    y, x = axis[:, None], axis[None, :]
    body = (x / noise.uniform(0.7, 1.0)) ** 2 + (y / noise.uniform(0.6, 1.0)) ** 2 <= 1
    image = np.full((size, size), noise.uniform(0, 25), np.float32)
    image += np.where(body, noise.uniform(40, 130), 0).astype(np.float32)
    for _ in range(int(noise.integers(3, 9))):
        cx, cy = noise.uniform(-0.6, 0.6, 2)
        rx, ry = noise.uniform(0.08, 0.4, 2)
        inside = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 <= 1
        image += np.where(inside & body, noise.uniform(-60, 80), 0).astype(np.float32)
    for _ in range(int(noise.integers(0, 10))):
        bend, at, wide = noise.uniform(-0.4, 0.4), noise.uniform(-0.9, 0.9), noise.uniform(0.006, 0.03)
        image += np.where((np.abs(y - at - bend * x * x) < wide) & body, noise.uniform(15, 70), 0).astype(np.float32)
    for _ in range(int(noise.integers(0, 6))):
        slope, at, wide = noise.uniform(-2, 2), noise.uniform(-0.8, 0.8), noise.uniform(0.003, 0.012)
        image += np.where((np.abs(y - slope * x - at) < wide) & body, noise.uniform(10, 60), 0).astype(np.float32)
    for octave in (4, 8, 16, 32, 64, 128):
        image += body * _smooth(noise, size=size, cells=octave) * (30.0 / octave**0.5)
    image += noise.normal(0, noise.uniform(1, 7), image.shape).astype(np.float32)
    return np.clip(image, 0, 255).astype(np.uint8)


def _smooth(noise: np.random.Generator, *, size: int, cells: int) -> Array:
    coarse = Image.fromarray(noise.normal(0, 1, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))


def _draw(pixels: Array, others: list[Line], *, rng: random.Random, font: Path | None) -> Line | None:
    """Draws one line where none is; None when no place was found."""
    size = pixels.shape[0]
    points, contrast, text = rng.randint(*POINTS), rng.randint(*CONTRAST), _text(rng)
    face = ImageFont.truetype(str(font), points) if font else ImageFont.load_default(points)
    left, top, right, bottom = (round(edge) for edge in face.getbbox(text))
    wide, high = right - left, bottom - top
    for _ in range(40):
        if wide + 4 >= size or high + 4 >= size:
            return None
        x0, y0 = rng.randint(2, size - wide - 2), rng.randint(2, size - high - 2)
        box = (x0, y0, x0 + wide, y0 + high)
        if any(_near(box, other.box) for other in others):
            continue
        page = Image.new("L", (wide, high), 0)
        ImageDraw.Draw(page).text((-left, -top), text, fill=255, font=face)
        part = pixels[y0 : y0 + high, x0 : x0 + wide]
        ground = float(np.median(part))
        levels = [level for level in (ground + contrast, ground - contrast) if 0 <= level <= 255]
        if not levels:
            continue
        share = np.asarray(page, np.float32) / 255
        part[:] = np.round(part * (1 - share) + levels[0] * share).astype(np.uint8)
        return Line(box, share > 0.5, points, contrast, font.stem if font else "Aileron")
    return None


def _near(one: tuple[int, int, int, int], other: tuple[int, int, int, int], *, gap: int = 8) -> bool:
    return one[0] < other[2] + gap and other[0] < one[2] + gap and one[1] < other[3] + gap and other[1] < one[3] + gap


def _text(rng: random.Random) -> str:
    surname, given = rng.choice(_SURNAMES), rng.choice(_GIVEN)
    date = f"{rng.randint(1, 28):02}.{rng.randint(1, 12):02}.{rng.randint(1930, 2024)}"
    return rng.choice((
        f"{surname}^{given}",
        f"{surname.upper()}, {given.upper()}",
        f"{given} {surname}",
        f"MRN {rng.randint(10**6, 10**8)}",
        str(rng.randint(10**6, 10**10)),
        f"DOB {date}",
        date,
        f"{date} {rng.randint(0, 23):02}:{rng.randint(0, 59):02}:{rng.randint(0, 59):02}",
        f"Acc {rng.choice('ABCD')}{rng.randint(10**6, 10**8)}",
        f"{rng.choice(_TOWNS)} General Hospital",
        f"Dr. {surname}",
        f"{surname} {rng.randint(20, 89)}Y {rng.choice('MF')}",
    ))  # fmt: skip
