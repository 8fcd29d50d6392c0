"""A picture or text that a checker may look at: rendered anew, smaller, marked with who looked and when.

Runs with ``disclosure.parse`` in a check sandbox, for it decodes hostile bytes. What it returns is never the source:
images are decoded, scaled and drawn over; text loses its control characters and is cut.
"""

from __future__ import annotations

import io
import warnings
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from enclave.disclosure.imagefile import MAX_PIXELS, image_size
from enclave.disclosure.text import parse_utf8

MAX_SIDE: Final = 1280
MAX_PNG_BYTES: Final = 520_000  # base64 of it fits a frame of the wire beside its envelope
MAX_TEXT: Final = 200_000  # characters
MAX_LINE: Final = 2_000
_PICTURES: Final = {"png": ("PNG",), "jpeg": ("JPEG",)}
_NOT_SHOWN: Final = "This file cannot be shown here. What cannot be looked at should not be approved.\n"


def render_preview(data: bytes, *, kind: str, mark: str) -> tuple[str, bytes]:
    """The mime type and bytes to show; ``mark`` is the viewer's id and the time."""
    if kind in _PICTURES:
        try:
            return "image/png", _picture(data, kind, mark)
        except (OSError, ValueError, SyntaxError, EOFError, MemoryError, Warning, Image.DecompressionBombError):
            return "text/plain", _marked(_NOT_SHOWN, mark)
    text = parse_utf8(data) if kind and kind != "pdf" else None
    return "text/plain", _marked(_NOT_SHOWN if text is None else text, mark)


def _picture(data: bytes, kind: str, mark: str) -> bytes:
    size = image_size(data) if kind == "png" else None
    if size is not None and size[0] * size[1] > MAX_PIXELS:
        raise ValueError("more pixels than are shown")
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(data), formats=_PICTURES[kind]) as source:
            flat = _flat(source)
    side = MAX_SIDE
    while True:
        shown = flat.copy()
        shown.thumbnail((side, side), Image.Resampling.LANCZOS)
        out = io.BytesIO()
        _watermark(shown, mark).save(out, "PNG", optimize=True)
        if out.tell() <= MAX_PNG_BYTES:
            return out.getvalue()
        side = int(side * 0.75)


def _flat(source: Image.Image) -> Image.Image:
    """8-bit RGB on white, without alpha and without anything beside the pixels."""
    if source.mode.startswith("I") or source.mode == "F":
        low, high = source.convert("F").getextrema()
        span = (float(high) - float(low)) or 1.0  # type: ignore[arg-type]  # a one-band image has one pair of extrema
        scaled = source.convert("F").point(lambda v: (v - float(low)) * (255.0 / span))  # type: ignore[arg-type]  # as above
        return scaled.convert("L").convert("RGB")
    rgba = source.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB")


def _watermark(image: Image.Image, mark: str) -> Image.Image:
    """The mark in slanted, half-transparent lines over the whole picture, and legible on a strip below it."""
    size = max(9, min(22, image.width // 30))
    font = ImageFont.load_default(size)
    layer = Image.new("RGBA", image.size, (0, 0, 0, 0))
    slanted = _stamp(mark, font, size)
    for row, y in enumerate(range(-slanted.height // 2, image.height, slanted.height)):
        start = -slanted.width // 2 if row % 2 else -slanted.width // 4
        for x in range(start, image.width, slanted.width):
            layer.alpha_composite(slanted, (max(0, x), max(0, y)), _cut(x, y))
    marked = Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")
    # Below the picture, not over it: nothing of what is judged may be covered.
    whole = Image.new("RGB", (image.width, image.height + size + 10), "white")
    whole.paste(marked, (0, 0))
    ImageDraw.Draw(whole).text((6, image.height + 4), mark, font=font, fill=(120, 30, 60))
    return whole


def _stamp(mark: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, size: int) -> Image.Image:
    width = int(font.getlength(mark)) + 4 * size
    stamp = Image.new("RGBA", (width, 2 * size), (0, 0, 0, 0))
    ink = ImageDraw.Draw(stamp)
    ink.text((2 * size + 1, size // 2 + 1), mark, font=font, fill=(255, 255, 255, 70))
    ink.text((2 * size, size // 2), mark, font=font, fill=(120, 30, 60, 80))
    return stamp.rotate(24, expand=True, resample=Image.Resampling.BICUBIC)


def _cut(x: int, y: int) -> tuple[int, int]:
    """How much of a stamp lies left of and above the picture."""
    return max(0, -x), max(0, -y)


def _marked(text: str, mark: str) -> bytes:
    """The text with the mark above and below, each line cut, control characters made visible."""
    shown = text[:MAX_TEXT]
    lines = ["".join(_visible(c) for c in line[:MAX_LINE]) for line in shown.splitlines()]
    if len(text) > len(shown):
        lines.append("… cut here: the file is longer than what is shown.")
    frame = f"── {mark} ──"
    return "\n".join([frame, *lines, frame, ""]).encode("utf-8")


def _visible(char: str) -> str:
    return char if char.isprintable() or char == "\t" else "\N{REPLACEMENT CHARACTER}"
