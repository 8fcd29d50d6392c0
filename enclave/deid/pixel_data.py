"""Pixel data as bytes in a file: where they stand, whether they are whole, and their header in another file."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, replace

from pydicom.uid import UID, ExplicitVRBigEndian, ImplicitVRLittleEndian

from enclave.deid.codestreams import Blank, written_over
from enclave.deid.reasons import Quarantined
from enclave.deid.source import Source
from enclave.deid.tree import Node, number_at, text_at

PIXEL_TAGS = (0x7FE00010, 0x7FE00008, 0x7FE00009)
DELIMITER = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
_UNDEFINED = 0xFFFFFFFF
_ROWS, _COLUMNS, _BITS, _SAMPLES = 0x00280010, 0x00280011, 0x00280100, 0x00280002
_PHOTOMETRIC, _FRAMES = 0x00280004, 0x00280008
_MAX_FRAGMENTS = 1 << 22
_FLOAT_BITS = {0x7FE00008: 32, 0x7FE00009: 64}
_OTHER_VRS = {0x7FE00008: b"OF", 0x7FE00009: b"OD"}
_SHORT_NAMES = "AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US"
_SHORT_HEADER_VRS = frozenset(_SHORT_NAMES.split())  # PS3.5 7.1.2: a length of two bytes


@dataclass(frozen=True, slots=True)
class PixelElement:
    """One pixel element: its value is ``start`` to ``end``, the next element begins at ``after``.

    The value of encapsulated pixel data is their items with headers, without the delimiter. ``declared``: where a
    native image ends by its header, when bytes of the value that may be image stand behind it.
    """

    tag: int
    vr: str
    start: int
    end: int
    after: int
    encapsulated: bool
    whole: bool
    declared: int | None = None

    @property
    def size(self) -> int:
        """Bytes of the value."""
        return self.end - self.start


def locate(source: Source, *, at: int, tag: int, vr: str | None, length: int) -> PixelElement:
    """The pixel element whose header begins at ``at``, without its value being read."""
    start = at + (8 if vr is None or vr in _SHORT_HEADER_VRS else 12)
    if length == _UNDEFINED:
        end, whole = _end_of_fragments(source, start)
        after = min(source.size, end + len(DELIMITER)) if whole else source.size
        return PixelElement(tag, vr or "", start, end, after, encapsulated=True, whole=whole)
    end = min(start + length, source.size)
    return PixelElement(
        tag, vr or "", min(start, end), end, end, encapsulated=False, whole=start + length <= source.size
    )


def check_pixels(tree: Node, elements: tuple[PixelElement, ...], *, syntax: UID) -> None:
    """Raises ``Quarantined`` when pixel data are missing, no bytes, or end before the size that the header promises."""
    needs_pixels = _ROWS in tree and _BITS in tree
    encapsulated = bool(syntax.is_encapsulated)
    try:
        wanted = native_bits(tree) if elements and not encapsulated else 0
    except ValueError:  # Rows, Columns or BitsAllocated missing or no numbers
        raise Quarantined("unreadable") from None
    if not elements and needs_pixels:
        raise Quarantined("truncated")
    for element in elements:
        if element.encapsulated != (encapsulated and element.tag == PIXEL_TAGS[0]):
            raise Quarantined("unreadable")
        if not element.whole or not element.size:
            raise Quarantined("truncated")
        if element.tag == PIXEL_TAGS[0] and element.size * 8 < wanted:
            raise Quarantined("truncated")


def trim(tree: Node, elements: tuple[PixelElement, ...]) -> tuple[PixelElement, ...]:
    """The elements, checked before, without what stands behind the image and is none: it may hide anything."""
    return tuple(_trimmed(tree, element) for element in elements)


def _trimmed(tree: Node, element: PixelElement) -> PixelElement:
    """A whole number of half frames is taken for image: a frame count or a subsampling that is not declared."""
    if element.encapsulated:
        return element
    wanted = (native_bits(tree, bits=_FLOAT_BITS.get(element.tag)) + 7) // 8
    if element.size - wanted <= 1:
        return element
    if "422" in text_at(tree, _PHOTOMETRIC) and element.size - wanted // 2 * 3 in (0, 1):
        return element  # many say that colours are subsampled and have all of them
    declared = element.start + wanted
    frame = wanted // max(1, number_at(tree, _FRAMES) or 1)
    if frame > 1 and (element.size - wanted) * 2 % frame == 0:
        return replace(element, declared=declared)
    return replace(element, end=declared)


def native_bits(tree: Node, *, bits: int | None = None) -> int:
    """Bits of all frames when they are not compressed, by the header; raises ``ValueError`` when it does not say.

    ``bits``: of one sample, where something else than the header says so.
    """
    samples = 2 if "422" in text_at(tree, _PHOTOMETRIC) else number_at(tree, _SAMPLES) or 1
    total = samples * (number_at(tree, _FRAMES) or 1)
    for tag in (_ROWS, _COLUMNS, _BITS):
        number = number_at(tree, tag)
        if number is None:
            raise ValueError(tag)
        total *= bits if bits and tag == _BITS else number
    return total


def pixel_sha256(source: Source, elements: tuple[PixelElement, ...], *, blanks: tuple[Blank, ...] = ()) -> str:
    """SHA-256 over the pixel bytes as they stand in the file, even in length (PS3.5 7.1.1); empty without any.

    ``blanks`` are taken for filled.
    """
    digest = hashlib.sha256()
    for element in elements:
        for piece in written_over(source.pieces(element.start, element.end), start=element.start, blanks=blanks):
            digest.update(piece)
        digest.update(b"\0" * (element.size % 2))
    return digest.hexdigest() if elements else ""


def element_header(element: PixelElement, *, syntax: UID, bits: int) -> bytes:
    """The header of a pixel element in a file of ``syntax`` (PS3.5 7.1)."""
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    length = _UNDEFINED if element.encapsulated else element.size + element.size % 2
    if length >= _UNDEFINED and not element.encapsulated:
        raise Quarantined("unwritable")
    group, number = element.tag >> 16, element.tag & 0xFFFF
    if syntax == ImplicitVRLittleEndian:
        return struct.pack("<HHL", group, number, length)
    return struct.pack(f"{order}HH2sHL", group, number, _vr(element, bits), 0, length)


def _vr(element: PixelElement, bits: int) -> bytes:
    if element.tag in _OTHER_VRS:
        return _OTHER_VRS[element.tag]
    if element.encapsulated:
        return b"OB"
    if element.vr in ("OB", "OW"):
        return element.vr.encode()
    return b"OW" if bits > 8 else b"OB"


def _end_of_fragments(source: Source, start: int) -> tuple[int, bool]:
    """Where the items end, and whether their delimiter stands there (PS3.5 A.4)."""
    at = start
    for _ in range(_MAX_FRAGMENTS):
        source.content.seek(at)
        header = source.content.read(8)
        if len(header) < 8:
            return min(at, source.size), False
        group, element, length = struct.unpack("<HHL", header)
        if (group, element) == (0xFFFE, 0xE0DD):
            return at, True
        if (group, element) != (0xFFFE, 0xE000) or at + 8 + length > source.size:
            return at, False
        at += 8 + length
    raise Quarantined("too_large")
