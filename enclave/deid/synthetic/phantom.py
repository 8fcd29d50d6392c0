"""Pixels that look like anatomy from afar: ellipses with the right densities, noise, and text where asked."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Array = np.ndarray[Any, Any]


def ct_slice(rng: np.random.Generator, *, size: int, z: float) -> Array:
    """One axial chest slice as stored values, int16, HU + 1024; ``z`` from 0 (apex) to 1 (base)."""
    y, x = _grid(size)
    image = np.full((size, size), -1000.0)
    image[_ellipse(x, y, 0, 0, 0.86, 0.62)] = -90  # fat
    image[_ellipse(x, y, 0, 0, 0.80, 0.56)] = 45  # muscle
    lung = 0.26 + 0.1 * np.sin(np.pi * min(1.0, z + 0.15))
    for side in (-1, 1):
        image[_ellipse(x, y, side * 0.40, -0.02, lung, lung * 1.35)] = -820
    image[_ellipse(x, y, 0.08, -0.08, 0.16 + 0.08 * z, 0.18)] = 60  # heart
    image[_ellipse(x, y, 0, 0.38, 0.11, 0.10)] = 420  # vertebra
    image[_ellipse(x, y, 0, 0.38, 0.04, 0.04)] = 20
    for angle in np.linspace(0.4, 2.75, 6):
        for side in (-1, 1):
            image[_ellipse(x, y, side * 0.72 * np.sin(angle), 0.5 * np.cos(angle), 0.045, 0.03)] = 560  # ribs
    image += rng.normal(0, 12, image.shape)
    stored: Array = np.clip(image + 1024, 0, 4095).astype(np.int16)
    return stored


def mr_slice(rng: np.random.Generator, *, size: int, z: float) -> Array:
    """One slice of a joint as stored values, uint16."""
    y, x = _grid(size)
    image = np.zeros((size, size))
    image[_ellipse(x, y, 0, 0, 0.72, 0.9)] = 320
    image[_ellipse(x, y, 0, -0.45, 0.46 + 0.08 * z, 0.38)] = 780
    image[_ellipse(x, y, 0, 0.48, 0.44, 0.36 + 0.08 * z)] = 740
    image[_ellipse(x, y, 0, 0.02, 0.4, 0.05)] = 120
    image += np.abs(rng.normal(0, 18, image.shape))
    return np.clip(image, 0, 1500).astype(np.uint16)


def radiograph(rng: np.random.Generator, *, size: int, text: tuple[str, ...] = ()) -> Array:
    """A projection as stored values, uint16; ``text`` is burned into the upper corner."""
    y, x = _grid(size)
    image = 2600 - 1500 * np.exp(-((x / 0.5) ** 2)) - 500 * _ellipse(x, y, 0.1, 0.25, 0.3, 0.28)
    for row in np.linspace(-0.8, 0.6, 9):
        image -= 220 * (np.abs(y - row - 0.15 * x * x) < 0.025)
    image += rng.normal(0, 25, image.shape)
    if text:
        image[_text_mask(text, size=size)] = 4095
    stored: Array = np.clip(image, 0, 4095).astype(np.uint16)
    return stored


def ultrasound(rng: np.random.Generator, *, size: int, text: tuple[str, ...]) -> Array:
    """A sector image, uint8, with the lines of ``text`` burned in above it."""
    y, x = _grid(size)
    sector = (np.abs(x) < 0.55 * (y + 1.1)) & (y > -0.75) & (x * x + (y + 1) ** 2 < 3.4)
    image = np.where(sector, 40 + 60 * rng.random((size, size)), 0)
    image[_ellipse(x, y, 0.05, 0.2, 0.25, 0.2) & sector] = 12
    image[_text_mask(text, size=size)] = 255
    return image.astype(np.uint8)


def text_page(*, size: int, text: tuple[str, ...]) -> Array:
    """A captured screen, uint8: nothing but text."""
    image = np.full((size, size), 16, dtype=np.uint8)
    image[_text_mask(text, size=size)] = 230
    return image


def _grid(size: int) -> tuple[Array, Array]:
    axis = np.linspace(-1, 1, size)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    return y, x


def _ellipse(x: Array, y: Array, cx: float, cy: float, rx: float, ry: float) -> Array:
    inside: Array = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 <= 1
    return inside


def _text_mask(lines: tuple[str, ...], *, size: int) -> Array:
    page = Image.new("L", (size, size), 0)
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(size=max(9, size // 20))
    for number, line in enumerate(lines):
        draw.text((4, 3 + number * max(11, size // 17)), line, fill=255, font=font)
    mask: Array = np.asarray(page) > 127
    return mask
