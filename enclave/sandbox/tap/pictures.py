"""Pictures that a kernel shows: real ones, without what no viewer shows. Pure.

Source: PNG (third edition, W3C 2025), section 5; JPEG (ITU T.81), annex B.1.
"""

from __future__ import annotations

import base64
import binascii
import struct
from typing import Final

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_KEPT: Final = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"pHYs", b"gAMA", b"sRGB", b"cHRM", b"bKGD"})
_HEAD: Final = struct.Struct(">I4s")
_JPEG: Final = (b"\xff\xd8\xff", b"\xff\xd9")


def clean_picture(mime: str, text: str) -> str | None:
    """The picture in base64 ``text``, without comments and what follows its end; None when it is none of ``mime``."""
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return None
    kept = _clean_png(data) if mime == "image/png" else _whole_jpeg(data)
    if kept is None:
        return None
    return base64.b64encode(kept).decode("ascii")


def _clean_png(data: bytes) -> bytes | None:
    if not data.startswith(_PNG):
        return None
    view, place, parts = memoryview(data), len(_PNG), [_PNG]
    first = True
    while place + 12 <= len(data):
        size, kind = _HEAD.unpack_from(data, place)
        end = place + 12 + size
        if end > len(data) or first != (kind == b"IHDR"):
            return None
        first = False
        if kind in _KEPT:
            parts.append(bytes(view[place:end]))
        elif kind[:1].isupper():  # a critical chunk that we do not know: no viewer may go on either (5.4)
            return None
        if kind == b"IEND":
            return b"".join(parts) if size == 0 else None
        place = end
    return None


def _whole_jpeg(data: bytes) -> bytes | None:
    return data if data.startswith(_JPEG[0]) and data.endswith(_JPEG[1]) else None
