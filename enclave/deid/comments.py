"""Words beside the image in compressed pixel data: found in the code stream of each frame and written over in place.

A comment is free text that no vocabulary covers, so it goes whether or not an identifier is known in it
(docs/adr/0007). No byte moves: fragments, offset tables and every coded sample stay as they are.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise

from pydicom import uid

from enclave.deid.codestreams import Blank, Family, StreamError, words_in
from enclave.deid.pixel_data import PixelElement
from enclave.deid.reasons import Quarantined
from enclave.deid.source import Source
from enclave.deid.tree import Node, number_at

_FAMILIES: dict[str, Family] = {
    **dict.fromkeys(uid.JPEGTransferSyntaxes, Family.JPEG),
    **dict.fromkeys(
        # Retired processes of ISO/IEC 10918-1: their segments are the same.
        (f"1.2.840.10008.1.2.4.{number}" for number in (52, 53, 54, 55, 56, 58, 59, 60, 61, 62, 63, 64, 65, 66)),
        Family.JPEG,
    ),
    **dict.fromkeys(uid.JPEGLSTransferSyntaxes, Family.JPEG_LS),
    **dict.fromkeys(uid.JPEG2000TransferSyntaxes, Family.JPEG_2000),  # with high throughput
}
_STARTS: dict[Family, tuple[bytes, ...]] = {
    Family.JPEG: (b"\xff\xd8\xff",),
    Family.JPEG_LS: (b"\xff\xd8\xff",),
    Family.JPEG_2000: (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  "),
}
_FRAMES, _OFFSETS = 0x00280008, 0x7FE00001
_MAX_STREAM_BYTES = 1 << 28  # of one frame, which is held in memory
WRITTEN_OVER = "comment or application data of a code stream"
Range = tuple[int, int]


def words_beside(source: Source, tree: Node, elements: tuple[PixelElement, ...], *, syntax: str) -> tuple[Blank, ...]:
    """What is to be written over in the pixel data of an instance, in order, in the coordinates of ``source``.

    Raises ``Quarantined`` when a code stream breaks the rules of its kind: words in it cannot be told from the image.
    """
    family = _FAMILIES.get(syntax)
    if len(elements) != 1 or not elements[0].encapsulated:
        return ()
    try:
        if family is None:
            if syntax == uid.RLELossless:
                _check_table(source, tree, elements[0])
            return ()
        frames = _frames(source, tree, elements[0], start=_STARTS[family])
        return tuple(one for frame in frames for one in _of_frame(source, frame, family))
    except (StreamError, ValueError, struct.error):
        raise Quarantined("code_stream") from None


def _of_frame(source: Source, frame: list[Range], family: Family) -> Iterator[Blank]:
    if sum(end - start for start, end in frame) > _MAX_STREAM_BYTES:
        raise StreamError
    stream = b"".join(bytes(piece) for start, end in frame for piece in source.pieces(start, end))
    for blank in words_in(stream, family=family):
        at = 0
        for start, end in frame:  # a segment may go on in the next fragment
            first, last = max(blank.start, at), min(blank.end, at + end - start)
            if first < last:
                yield Blank(start + first - at, start + last - at, blank.fill)
            at += end - start


def _frames(source: Source, tree: Node, element: PixelElement, *, start: tuple[bytes, ...]) -> list[list[Range]]:
    """The fragments of each frame (PS3.5 A.4); raises ``StreamError`` when nothing says which belong together."""
    table, *fragments = _items(source, element)
    count = max(1, number_at(tree, _FRAMES) or 1)
    if count == 1 or len(fragments) == count:
        _check_table(source, tree, element)
        return [fragments] if count == 1 else [[one] for one in fragments]
    if offsets := _offsets(source, table, tree):
        begins = {begin - 8 - table[1]: place for place, (begin, _) in enumerate(fragments)}
        places = [begins.get(offset, -1) for offset in offsets]
    else:
        places = [place for place, one in enumerate(fragments) if _head(source, one).startswith(start)]
    if len(places) != count or places[0] != 0 or any(one >= other for one, other in pairwise(places)):
        raise StreamError
    return [fragments[one:other] for one, other in pairwise([*places, len(fragments)])]


def _check_table(source: Source, tree: Node, element: PixelElement) -> None:
    """Raises ``StreamError`` when the basic offset table is not empty and is none of these frames."""
    table, *fragments = _items(source, element)
    data = b"".join(bytes(piece) for piece in source.pieces(*table))
    count = max(1, number_at(tree, _FRAMES) or 1)
    begins = [begin - 8 - table[1] for begin, _ in (fragments[:1] if count == 1 else fragments)]
    if data and [one for (one,) in struct.iter_unpack("<L", data)] != begins:
        raise StreamError


def _head(source: Source, fragment: Range) -> bytes:
    begin, end = fragment
    return b"".join(bytes(piece) for piece in source.pieces(begin, min(end, begin + 16)))


def _offsets(source: Source, table: Range, tree: Node) -> list[int]:
    """The basic offset table, or where that is empty the extended one (PS3.3 C.7.6.3.1.8)."""
    data = b"".join(bytes(piece) for piece in source.pieces(*table))
    if data:
        return [one for (one,) in struct.iter_unpack("<L", data)]
    extended = tree.get(_OFFSETS, ("", b""))[1]
    return [one for (one,) in struct.iter_unpack("<Q", extended)] if isinstance(extended, bytes) else []


def _items(source: Source, element: PixelElement) -> list[Range]:
    found: list[Range] = []
    at = element.start
    while at < element.end:
        source.content.seek(at)
        _, _, length = struct.unpack("<HHL", source.content.read(8))
        found.append((at + 8, at + 8 + length))
        at += 8 + length
    if len(found) < 2:
        raise StreamError
    return found
