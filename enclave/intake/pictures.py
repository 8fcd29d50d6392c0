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
_ENLARGED = 3  # pixels for each of 2 mm
Array = np.ndarray[Any, Any]
Window = tuple[float, float]


def picture_of(path: Path, *, before: Path | None, boxes: Sequence[Box], mark: str) -> ReviewItem:
    """A PNG of eight bits from the darkest to the brightest; of several frames the brightest of each pixel.

    With ``before``, the input, both stand side by side on one scale of grey, ``boxes`` outlined in both.
    """
    try:
        after = _grey(path)
        parts = [after] if before is None else [_grey(before), after]
        window = float(parts[0].min()), float(parts[0].max())
        shown = [_drawn(part, window=window, boxes=boxes, width=_LONGEST // len(parts)) for part in parts]
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


def _grey(path: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    pixels = pixel_array(path).astype(np.float64)
    with quiet_parsing():
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
    if int(dataset.get("SamplesPerPixel") or 1) > 1:
        pixels = pixels.mean(axis=-1)
    while pixels.ndim > 2:
        pixels = pixels.max(axis=0)
    return pixels


def _drawn(grey: np.ndarray[Any, Any], *, window: Window, boxes: Sequence[Box], width: int) -> Image.Image:
    low, high = window
    eight = np.clip((grey - low) * (255.0 / (high - low or 1.0)), 0, 255).astype(np.uint8)
    image = Image.fromarray(eight)
    image.thumbnail((width, _LONGEST))
    pen = ImageDraw.Draw(image)
    scale = image.width / grey.shape[1]
    for box in boxes:
        edges = [round(edge * scale) for edge in box]
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
    """``image`` with ``mark`` across it, light enough to see through."""
    layer = Image.new("L", image.size, 0)
    font = ImageFont.load_default(max(10, image.width // 16))
    ImageDraw.Draw(layer).text((image.width // 8, image.height * 2 // 3), mark, fill=70, font=font)
    return Image.blend(image, Image.composite(Image.new("L", image.size, 255), image, layer), 0.9)
