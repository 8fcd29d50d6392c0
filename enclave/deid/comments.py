"""Words beside the image in compressed pixel data: found in the code stream of each frame and written over in place.

A comment is free text that no vocabulary covers, so it goes whether or not an identifier is known in it
(docs/adr/0007). No byte moves: fragments, offset tables and every coded sample stay as they are.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

from pydicom import uid

from enclave.deid.codestreams import Blank, Family, StreamError, holds_words, words_in
from enclave.deid.pixel_data import PixelElement, native_bits
from enclave.deid.reasons import Quarantined
from enclave.deid.run_lengths import words_in_runs
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
_SAMPLES, _ROWS, _COLUMNS, _BITS = 0x00280002, 0x00280010, 0x00280011, 0x00280100
_UNCOMPRESSED = "1.2.840.10008.1.2.1.98"
_NO_OFFSETS = (b"", bytes(4))  # of what is one stream for all frames
_OVERLAP_BYTES = 256  # more than a text needs to be one, and than any identifier that is searched for in bytes
_MAX_STREAM_BYTES = 1 << 28  # of one frame, which is held in memory
WRITTEN_OVER = "bytes of a code stream that are no image"
Range = tuple[int, int]
Words = Callable[[bytes], tuple[Blank, ...]]  # of the stream of one frame
Search = Callable[[bytes], bool]


def words_beside(source: Source, tree: Node, elements: tuple[PixelElement, ...], *, syntax: str) -> tuple[Blank, ...]:
    """What is to be written over in the pixel data of an instance, in order, in the coordinates of ``source``.

    Raises ``Quarantined`` when a code stream breaks the rules of its kind, or a text stands in the place of samples:
    words in it cannot be told from the image.
    """
    if len(elements) != 1 or not elements[0].encapsulated:
        return ()
    family, element = _FAMILIES.get(syntax), elements[0]
    try:
        if family is None and syntax != uid.RLELossless:
            _check_unknown(source, tree, element, syntax=syntax)
            return ()
        frames = _frames(source, tree, element, start=_STARTS[family] if family else ())
        words = functools.partial(words_in, family=family) if family else _words_in_runs(tree)
        return tuple(one for frame in frames for one in _of_frame(source, frame, words))
    except (StreamError, ValueError, struct.error):
        raise Quarantined("code_stream") from None


def _words_in_runs(tree: Node) -> Words:
    samples, rows, columns, bits = (number_at(tree, tag) or 0 for tag in (_SAMPLES, _ROWS, _COLUMNS, _BITS))
    if bits % 8:
        raise StreamError
    return functools.partial(words_in_runs, segments=max(1, samples) * bits // 8, samples=rows * columns)


def _check_unknown(source: Source, tree: Node, element: PixelElement, *, syntax: str) -> None:
    """Raises ``StreamError`` for a text in a stream of which nothing else is known here, such as a video.

    Frames that are not compressed are as long as the header says; their samples are no text, whatever they look like.
    """
    table, *fragments = _items(source, element)
    if b"".join(bytes(piece) for piece in source.pieces(*table)) not in _NO_OFFSETS:
        _check_table(source, tree, element)
    if syntax == _UNCOMPRESSED:
        size = -(-native_bits(tree) // (8 * max(1, number_at(tree, _FRAMES) or 1)))
        if len(fragments) != max(1, number_at(tree, _FRAMES) or 1):
            raise StreamError
        if any(end - begin - size not in (0, size % 2) for begin, end in fragments):
            raise StreamError
    elif any(map(holds_words, _windows(one for fragment in fragments for one in source.pieces(*fragment)))):
        raise StreamError


def check_behind(source: Source, elements: tuple[PixelElement, ...], *, found: Search) -> None:
    """Raises ``Quarantined`` when a text, or what ``found`` looks for, stands behind a native image.

    There may be frames that nobody declared, or a text of just their size.
    """
    for element in elements:
        if element.declared is not None:
            behind = _windows(source.pieces(element.declared, element.end))
            if any(found(one) or holds_words(one) for one in behind):
                raise Quarantined("pixels_irregular")


def _windows(pieces: Iterable[memoryview]) -> Iterator[bytes]:
    """The pieces, each with the end of the one before it."""
    last = b""
    for piece in pieces:
        window = last + bytes(piece)
        yield window
        last = window[-_OVERLAP_BYTES:]


def _of_frame(source: Source, frame: list[Range], words: Words) -> Iterator[Blank]:
    if sum(end - start for start, end in frame) > _MAX_STREAM_BYTES:
        raise StreamError
    stream = b"".join(bytes(piece) for start, end in frame for piece in source.pieces(start, end))
    for blank in words(stream):
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
