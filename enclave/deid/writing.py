"""Writes a cleaned instance: its elements encoded anew, its pixel bytes copied undecoded and proven the same."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from pydicom.uid import UID

from enclave.deid.codestreams import Blank, written_over
from enclave.deid.encoding import encode_node
from enclave.deid.pixel_data import DELIMITER, PIXEL_TAGS, PixelElement, element_header
from enclave.deid.reading import Instance
from enclave.deid.reasons import Quarantined
from enclave.deid.redaction import Redaction
from enclave.deid.source import Source, digest_of
from enclave.deid.tree import Node, number_at, text_at

IMPLEMENTATION_UID = UID("2.25.191034567298810355236112345098112387401")
IMPLEMENTATION_NAME = "ENCLAVE"
_META_FORM = (False, True)
_BITS = 0x00280100
_OVERLAP_BYTES = 256  # longer than any identifier that is searched for in bytes
Search = Callable[[bytes], bool]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A cleaned dataset as bytes, without pixel data: what stands before them, and what behind."""

    meta: bytes
    head: bytes
    tail: bytes
    syntax: UID
    bits: int


@dataclass(frozen=True, slots=True)
class Written:
    """The SHA-256 of all bytes read, of all bytes written, of the pixel bytes."""

    input_sha256: str
    output_sha256: str
    pixel_sha256: str


def encode(tree: Node, *, syntax: UID) -> Encoded:
    """``tree`` in the transfer syntax that it came in; raises ``Quarantined`` when it does not fit that."""
    form = tree.implicit, tree.little
    if form != (syntax.is_implicit_VR, syntax.is_little_endian):
        raise Quarantined("unwritable")  # the file says one encoding and has another
    try:
        bits = number_at(tree, _BITS) or 8
        head = encode_node(tree, form=form, before=PIXEL_TAGS[0])
        tail = encode_node(tree, form=form, since=PIXEL_TAGS[0])
        return Encoded(_meta_bytes(tree, syntax), head, tail, syntax, bits)
    except Exception:  # noqa: BLE001 - what hostile bytes left behind may not fit its representation
        raise Quarantined("unwritable") from None


def write_instance(
    file: BinaryIO,
    source: Source,
    encoded: Encoded,
    *,
    elements: tuple[PixelElement, ...],
    found: Search,
    redaction: Redaction | None = None,
    blanks: tuple[Blank, ...] = (),
) -> Written:
    """Writes the file in one pass over its source, in bounded memory; ``elements`` are its pixel data.

    With ``redaction`` its pixels are written in the place of the one element, else ``blanks`` over the words beside
    compressed pixels. ``found`` looks for identifiers in
    compressed pixel data, which may hold text beside the image; a hit raises ``Quarantined``. Native ones are not
    searched.
    """
    at = 0
    read, pixels = hashlib.sha256(), hashlib.sha256()
    target = _Target(file, deflated=source.deflated)
    target.plain(encoded.meta)
    target.write(encoded.head)
    for original in elements:
        element = redaction.element if redaction else original
        target.write(element_header(element, syntax=encoded.syntax, bits=encoded.bits))
        _update(read, source.pieces(at, original.start))
        pieces = _value(_hashed(source.pieces(original.start, original.end), read), original, redaction, blanks)
        for piece in _searched(pieces, found) if element.encapsulated else pieces:
            pixels.update(piece)
            target.write(piece)
        padding = b"\0" * (element.size % 2)
        pixels.update(padding)
        target.write(DELIMITER if element.encapsulated else padding)
        at = original.end
    _update(read, source.pieces(at, source.size))
    target.write(encoded.tail)
    target.end()
    digest = digest_of(source.file_pieces()) if source.deflated else read.hexdigest()
    return Written(digest, target.sha256, pixels.hexdigest() if elements else "")


def _value(
    pieces: Iterator[memoryview], element: PixelElement, redaction: Redaction | None, blanks: tuple[Blank, ...]
) -> Iterator[memoryview]:
    """The pixel bytes that are written; all of those in the source have been read then."""
    if redaction is None:
        return written_over(pieces, start=element.start, blanks=blanks)
    _exhaust(pieces)
    return redaction.pieces()


def header_bytes(instance: Instance) -> bytes:
    """All bytes of a file but the values of its pixel data."""
    at, parts = 0, []
    for element in instance.pixels:
        parts += [bytes(piece) for piece in instance.source.pieces(at, element.start)]
        at = element.after
    parts += [bytes(piece) for piece in instance.source.pieces(at, instance.source.size)]
    return b"".join(parts)


class _Target:
    """A file that is hashed while it is written, and deflated where its transfer syntax wants that."""

    def __init__(self, file: BinaryIO, *, deflated: bool) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS) if deflated else None
        self._size = 0

    @property
    def sha256(self) -> str:
        """Of all bytes written so far."""
        return self._digest.hexdigest()

    def plain(self, data: bytes | memoryview) -> None:
        """Writes bytes as they are."""
        self._file.write(data)
        self._digest.update(data)
        self._size += len(data)

    def write(self, data: bytes | memoryview) -> None:
        """Writes bytes of the dataset."""
        self.plain(data if self._deflater is None else self._deflater.compress(data))

    def end(self) -> None:
        """Ends a deflated dataset, even in length (PS3.5 A.5)."""
        if self._deflater is not None:
            self.plain(self._deflater.flush())
            self.plain(b"\0" * (self._size % 2))


def _meta_bytes(tree: Node, syntax: UID) -> bytes:
    """The preamble and the file meta information (PS3.10 7.1), made anew: nothing of the input's stays."""
    meta = Node(("ascii",))
    meta[0x00020001] = ("OB", b"\0\1")
    meta[0x00020002] = ("UI", text_at(tree, 0x00080016))
    meta[0x00020003] = ("UI", text_at(tree, 0x00080018))
    meta[0x00020010] = ("UI", str(syntax))
    meta[0x00020012] = ("UI", str(IMPLEMENTATION_UID))
    meta[0x00020013] = ("SH", IMPLEMENTATION_NAME)
    body = encode_node(meta, form=_META_FORM)
    size = Node(("ascii",))
    size[0x00020000] = ("UL", struct.pack("<L", len(body)))
    return b"\0" * 128 + b"DICM" + encode_node(size, form=_META_FORM) + body


def _update(digest: hashlib._Hash, pieces: Iterator[memoryview]) -> None:
    for piece in pieces:
        digest.update(piece)


def _hashed(pieces: Iterator[memoryview], digest: hashlib._Hash) -> Iterator[memoryview]:
    for piece in pieces:
        digest.update(piece)
        yield piece


def _exhaust(pieces: Iterator[memoryview]) -> None:
    for _ in pieces:
        pass


def _searched(pieces: Iterator[memoryview], found: Search) -> Iterator[memoryview]:
    last = b""
    for piece in pieces:
        window = last + bytes(piece)
        if found(window):
            raise Quarantined("residual_identifier")
        last = window[-_OVERLAP_BYTES:]
        yield piece
