"""The parts of a PNG or JPEG file beside its pixels. Pure: bytes in, observations out; nothing is decoded to pixels.

Sources: PNG (third edition, W3C), chapters 5 and 11; JPEG, ITU-T T.81 annex B.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final

from enclave.disclosure.findings import Observation, seen

MAX_PIXELS: Final = 50_000_000
SOFTWARE_TEXT: Final = 120  # bytes; a longer "Software" text is no name of a program
_PNG_HEAD: Final = 8
_DRAWING: Final = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"cHRM", b"gAMA", b"sBIT", b"sRGB"}) | {
    b"bKGD",
    b"hIST",
    b"pHYs",
    b"cICP",
}
_TEXTS: Final = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_METADATA: Final = frozenset({b"eXIf", b"tIME", b"iCCP", b"sPLT", b"mDCV", b"cLLI"})
_FRAMES: Final = frozenset({b"acTL", b"fcTL", b"fdAT"})
_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_STANDALONE: Final = frozenset({0x01, *range(0xD0, 0xD8)})  # TEM and RSTn have no length
_HARMLESS_APP: Final = ((0xE0, b"JFIF\0"), (0xEE, b"Adobe"))


def image_size(data: bytes) -> tuple[int, int] | None:
    """Width and height that a PNG says it has, or None when it says nothing sensible."""
    if len(data) < 33 or data[12:16] != b"IHDR":
        return None
    width, height = struct.unpack_from(">II", data, 16)
    return (width, height) if width and height else None


def observe_png(data: bytes) -> Iterator[Observation]:
    """Metadata, foreign chunks, frames, and bytes after the picture or inside its compressed stream."""
    offset = _PNG_HEAD
    stream = bytearray()
    ended = False
    while offset + 12 <= len(data) and not ended:
        (length,) = struct.unpack_from(">I", data, offset)
        kind = data[offset + 4 : offset + 8]
        payload = data[offset + 8 : offset + 8 + length]
        offset += 12 + length
        ended = kind == b"IEND"
        if kind == b"IDAT":
            stream += payload
        yield from _png_chunk(kind, payload)
    if not ended or offset > len(data):
        yield seen("image_unreadable")
    elif offset < len(data):
        yield seen("image_trailing_data", count=1)
    if _overfull(data, bytes(stream)):
        yield seen("image_trailing_data")


def _png_chunk(kind: bytes, payload: bytes) -> Iterator[Observation]:
    if kind in _TEXTS:
        software = kind == b"tEXt" and payload.startswith(b"Software\0") and len(payload) <= SOFTWARE_TEXT
        yield seen("image_software_tag" if software else "image_metadata")
    elif kind in _METADATA:
        yield seen("image_metadata")
    elif kind in _FRAMES:
        yield seen("image_frames")
    elif kind not in _DRAWING or (kind == b"IEND" and payload):
        yield seen("image_extra_chunk")


def _overfull(data: bytes, stream: bytes) -> bool:
    """Whether the compressed stream holds more than the picture's rows (interlaced ones are not computed)."""
    size = image_size(data)
    if size is None or size[0] * size[1] > MAX_PIXELS or data[28] or data[25] not in _CHANNELS:
        return False
    width, height = size
    expected = ((width * _CHANNELS[data[25]] * data[24] + 7) // 8 + 1) * height
    unpacker = zlib.decompressobj()
    total = 0
    try:
        rest = stream
        while rest and not unpacker.eof and total <= expected:
            total += len(unpacker.decompress(rest, 1 << 20))
            rest = unpacker.unconsumed_tail
    except zlib.error:
        return False  # decoding to pixels says image_unreadable
    return total > expected or bool(unpacker.unused_data)


def observe_jpeg(data: bytes) -> Iterator[Observation]:
    """Application segments, comments, and bytes after the end of the image."""
    offset = 2
    while offset + 4 <= len(data):
        if data[offset] != 0xFF:
            yield seen("image_unreadable")
            return
        marker = data[offset + 1]
        if marker == 0xFF or marker in _STANDALONE:
            offset += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", data, offset + 2)
        if 0xE0 <= marker <= 0xEF or marker == 0xFE:
            yield from _segment(marker, data[offset + 4 : offset + 2 + length])
        offset += 2 + length
        if marker == 0xDA:
            offset = _after_scan(data, offset)
            if data[offset : offset + 2] == b"\xff\xd9":
                if offset + 2 < len(data):
                    yield seen("image_trailing_data")
                return
    yield seen("image_unreadable")


def _segment(marker: int, payload: bytes) -> Iterator[Observation]:
    if any(marker == app and payload.startswith(name) for app, name in _HARMLESS_APP):
        thumbnail = marker == 0xE0 and len(payload) > 14
        if not thumbnail:
            return
    yield seen("image_metadata")


def _after_scan(data: bytes, offset: int) -> int:
    """Where the entropy-coded bytes end: the next marker that is neither stuffing nor a restart."""
    while True:
        offset = data.find(b"\xff", offset)
        if offset < 0 or offset + 1 >= len(data):
            return len(data)
        if data[offset + 1] != 0 and data[offset + 1] not in _STANDALONE:
            return offset
        offset += 2
