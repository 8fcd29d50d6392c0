"""Reads files that keep the rules without pydicom's reader, which is slower for what it forgives.

Whatever is unusual gives None, and pydicom decides: this never judges a file.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from enclave.deid.decoding import UNDEFINED, end_of_sequence
from enclave.deid.pixel_data import PIXEL_TAGS, PixelElement, locate
from enclave.deid.reasons import Quarantined
from enclave.deid.source import Source
from enclave.deid.tree import (
    BROKEN,
    CHARSET,
    DEFAULT_ENCODINGS,
    LONG_VRS,
    SHORT_VRS,
    VRS,
    Items,
    Node,
    codecs_of,
    creator_of,
    dictionary_vr,
)

_SOP_CLASS, _SOP_INSTANCE = 0x00080016, 0x00080018
_EXPLICIT = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.", "1.2.840.10008.1.2.5")
_LONG = {vr.encode(): vr for vr in LONG_VRS}
_SHORT = {vr.encode(): vr for vr in SHORT_VRS}
_PIXEL_GROUP = 0x7FE0
_ITEM_GROUP = 0xFFFE  # whose elements have no representation
_INCOMPLETE = frozenset(("SQ", "UN"))


Unread = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Parsed:
    """All elements of a file but its pixel data, where those stand, and the UID of the transfer syntax.

    ``unread``: tag and representation of private elements of a large file whose values are larger than is decoded.
    """

    tree: Node
    pixels: list[PixelElement]
    syntax: str
    unread: tuple[Unread, ...] = ()


def read_plain(source: Source) -> Parsed | None:
    """The elements of a file in memory; None: ask pydicom."""
    data, syntax, at = source.data, source.syntax, source.start
    if data is None or not (syntax.startswith(_EXPLICIT) or syntax in (ImplicitVRLittleEndian, ExplicitVRBigEndian)):
        return None
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    reader = _Implicit(data) if implicit else _Explicit(data, little=little)
    parsed = Parsed(Node(DEFAULT_ENCODINGS, little=little, implicit=implicit), [], syntax)
    while at < len(data):
        stopped = reader.read(at, parsed.tree)
        if stopped is None:
            return None
        at, tag, vr, length = stopped
        if tag:
            parsed.pixels.append(locate(source, at=at, tag=tag, vr=vr, length=length))
            at = parsed.pixels[-1].after
    if len({element.tag for element in parsed.pixels}) < len(parsed.pixels):
        return None
    _look_twice(parsed.tree)
    named = parsed.tree.get(_SOP_CLASS), parsed.tree.get(_SOP_INSTANCE)
    return parsed if all(field is not None and field[1] for field in named) else None


def _look_twice(node: Node) -> None:
    """Names what can be understood only with the rest of the dataset: character set, private creators, sequences."""
    if CHARSET in node:
        value = node[CHARSET][1]
        node.encodings = codecs_of(value, DEFAULT_ENCODINGS) if isinstance(value, bytes) else DEFAULT_ENCODINGS
    for tag, (vr, value) in [entry for entry in node.items() if entry[1][0] in _INCOMPLETE]:
        known, implicit = vr, node.implicit
        if vr == "UN":
            known = dictionary_vr(tag, creator_of(node, tag))
            implicit = True  # PS3.5 6.2.2: sequences in UN are implicit VR
        if known == "SQ":
            node[tag] = known, Items(value, implicit, node.little, node.encodings, 1)
        elif known != vr:
            node[tag] = (known, value) if known in VRS else (BROKEN, b"")


_Stopped = tuple[int, int, str | None, int]  # where; the pixel element that begins there: tag or 0, VR, length


class _Explicit:
    """Reads explicit VR (PS3.5 7.1.2)."""

    def __init__(self, data: bytes, *, little: bool) -> None:
        self._data = data
        self._little = little
        self._head = struct.Struct("<HH2sH" if little else ">HH2sH").unpack_from
        self._length = struct.Struct("<L" if little else ">L").unpack_from

    def read(self, at: int, node: Node) -> _Stopped | None:
        """Reads elements into ``node`` from ``at`` on, up to pixel data or the end; None when they are unusual."""
        data, head, short = self._data, self._head, _SHORT
        end = len(data)
        while at + 8 <= end:
            group, number, code, length = head(data, at)
            vr, start = short.get(code), at + 8
            if vr is None:
                vr, start = _LONG.get(code), at + 12
                if vr is None or start > end:
                    return None
                (length,) = self._length(data, at + 8)
            tag = group << 16 | number
            if group == _PIXEL_GROUP and tag in PIXEL_TAGS:
                return at, tag, vr, length
            after = value_end = start + length
            if length == UNDEFINED:
                found = _end(data, start, implicit=False, little=self._little) if vr == "SQ" else None
                if found is None:
                    return None
                after, value_end = found + 8, found
            if group < 8 or after > end:
                return None
            node[tag] = (vr, data[start:value_end])
            at = after
        return (at, 0, None, 0) if at == end else None


class _Implicit:
    """Reads implicit VR (PS3.5 7.1.3)."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._head = struct.Struct("<HHL").unpack_from

    def read(self, at: int, node: Node) -> _Stopped | None:
        """As ``_Explicit.read``."""
        data, head = self._data, self._head
        end = len(data)
        if data[at + 4 : at + 6].isalpha():
            return None  # explicit in truth
        while at + 8 <= end:
            group, number, length = head(data, at)
            tag, start = group << 16 | number, at + 8
            if group == _PIXEL_GROUP and tag in PIXEL_TAGS:
                return at, tag, None, length
            after = value_end = start + length
            if length == UNDEFINED:
                found = _end(data, start, implicit=True, little=True)
                if found is None:
                    return None
                after, value_end = found + 8, found
            if group < 8 or after > end:
                return None
            vr = "SQ" if length == UNDEFINED else "UN" if group & 1 or group == _ITEM_GROUP else dictionary_vr(tag, "")
            node[tag] = (vr, data[start:value_end])
            at = after
        return (at, 0, None, 0) if at == end else None


def _end(data: bytes, start: int, *, implicit: bool, little: bool) -> int | None:
    """Where a sequence without a length ends, None when only a more patient reader can say."""
    try:
        return end_of_sequence(data, start, implicit=implicit, little=little)
    except Quarantined:
        return None
