"""Pictures for a reviewer: an image as it leaves, and where boxes were blanked the same image as it came in beside it.

Each bears a mark that says what it is for: a picture that turns up elsewhere came from a review.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from PIL import Image, ImageDraw, ImageFont

from enclave.deid.quiet import quiet_parsing
from enclave.deid.stored_pixels import pixel_array
from enclave.detectors.pixel_text.boxes import Box
from enclave.wire.messages.intake import ReviewItem

_LONGEST = 700  # pixels each way: eight bits of that fit into one message
_NOT_SHOWN = "This image cannot be shown. What cannot be looked at is not clean."
_GAP = 4
_MARK = 63  # of 255: how strongly the mark stands out
_FINER = 4  # times the picture: as far as an image is thinned out before it is averaged
_ODD = 0.5  # percent of the pixels, at each end, that do not set the window
_ENLARGED = 3  # pixels for each of 2 mm
Array = np.ndarray[Any, Any]
Window = tuple[float, float]


def picture_of(path: Path, *, before: Path | None, boxes: Sequence[Box], mark: str) -> ReviewItem:
    """A PNG of eight bits from nearly the darkest to nearly the brightest, for one odd pixel makes no image black; of
    several frames the brightest of each pixel.

    With ``before``, the input, both stand side by side on the scale of grey of what leaves, ``boxes`` outlined in both.
    """
    try:
        parts = [_grey(one) for one in (before, path) if one is not None]
        window = _window(parts[-1][0])  # what leaves is judged; bright letters that went would darken it
        shown = [
            _drawn(grey, window=window, boxes=[box.scaled(1 / step) for box in boxes], width=_LONGEST // len(parts))
            for grey, step in parts
        ]
        out = io.BytesIO()
        _marked(_beside(shown), mark).save(out, "PNG")
    except Exception:  # noqa: BLE001 - no codec, odd pixels: a person is told that it cannot be shown
        return ReviewItem(kind="text", text=_NOT_SHOWN)
    return ReviewItem(kind="picture", picture=base64.b64encode(out.getvalue()).decode("ascii"))


def views_of(before: Array, after: Array, *, mark: str) -> ReviewItem:
    """A PNG of a head from the front as it came in beside the same without its face, by distance: near is bright."""
    parts = [
        Image.fromarray(part).resize((part.shape[1] * _ENLARGED, part.shape[0] * _ENLARGED)) for part in (before, after)
    ]
    out = io.BytesIO()
    _marked(_beside(parts), mark).save(out, "PNG")
    return ReviewItem(kind="picture", picture=base64.b64encode(out.getvalue()).decode("ascii"))


def _grey(path: Path) -> tuple[Array, int]:
    """One plane of grey values, float32, and of how many rows and columns one is shown: a large image never becomes
    numbers of four bytes as a whole."""
    pixels = pixel_array(path)
    with quiet_parsing():
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
    colours = int(dataset.get("SamplesPerPixel") or 1) > 1
    step = max(1, max(int(dataset.Rows), int(dataset.Columns)) // (_FINER * _LONGEST))
    pixels = pixels[..., ::step, ::step, :].mean(axis=-1) if colours else pixels[..., ::step, ::step]
    while pixels.ndim > 2:
        pixels = pixels.max(axis=0)
    return pixels.astype(np.float32), step


def _window(grey: Array) -> Window:
    low, high = (float(edge) for edge in np.percentile(grey, (_ODD, 100 - _ODD)))
    return (low, high) if low < high else (float(grey.min()), float(grey.max()))


def _drawn(grey: np.ndarray[Any, Any], *, window: Window, boxes: Sequence[Box], width: int) -> Image.Image:
    low, high = window
    eight = np.clip((grey - low) * (255.0 / (high - low or 1.0)), 0, 255).astype(np.uint8)
    image = Image.fromarray(eight)
    image.thumbnail((width, _LONGEST))
    pen = ImageDraw.Draw(image)
    scale = image.width / grey.shape[1]
    for box in boxes:
        edges = [round(edge * scale) for edge in box]
        pen.rectangle((edges[0] - 2, edges[1] - 2, edges[2] + 1, edges[3] + 1), outline=0)  # seen on bright ground, too
        pen.rectangle((edges[0] - 1, edges[1] - 1, edges[2], edges[3]), outline=255)
    return image


def _beside(images: list[Image.Image]) -> Image.Image:
    width = sum(image.width for image in images) + _GAP * (len(images) - 1)
    sheet = Image.new("L", (width, max(image.height for image in images)), 255)
    left = 0
    for image in images:
        sheet.paste(image, (left, 0))
        left += image.width + _GAP
    return sheet


def _marked(image: Image.Image, mark: str) -> Image.Image:
    """``image`` with ``mark`` across it, light enough to see through; its shadow shows it on bright ground."""
    font = ImageFont.load_default(max(10, image.width // 16))
    left, top = image.width // 8, image.height * 2 // 3
    for away, level in ((2, 0), (0, 255)):
        layer = Image.new("L", image.size, 0)
        ImageDraw.Draw(layer).text((left + away, top + away), mark, fill=_MARK, font=font)
        image = Image.composite(Image.new("L", image.size, level), image, layer)
    return image
