"""Reads files that keep the rules without pydicom's reader, which is slower for what it forgives.

Whatever is unusual gives None, and pydicom decides: this never judges a file.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from io import BytesIO

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.tag import BaseTag
from pydicom.uid import UID, ExplicitVRBigEndian, ImplicitVRLittleEndian

from enclave.deid.pixel_data import PIXEL_TAGS
from enclave.deid.reasons import Quarantined
from enclave.deid.source import meta_of
from enclave.deid.tree import LONG_VRS, SHORT_VRS, end_of_sequence

_UNDEFINED = 0xFFFFFFFF
_SOP_CLASS, _SOP_INSTANCE, _CHARSET = 0x00080016, 0x00080018, 0x00080005
_EXPLICIT = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.", "1.2.840.10008.1.2.5")
_LONG = {vr.encode(): vr for vr in LONG_VRS}
_SHORT = {vr.encode(): vr for vr in SHORT_VRS}
Stop = Callable[[BaseTag, str | None, int], bool]
Found = dict[BaseTag, DataElement | RawDataElement]


def read_plain(content: BytesIO, stop: Stop) -> FileDataset | None:
    """The elements up to the first for which ``stop`` is true, where ``content`` then stands; None: ask pydicom."""
    data = content.getvalue()
    syntax, start = meta_of(data)
    if syntax == ImplicitVRLittleEndian:
        found = _implicit(data, start)
    elif syntax == ExplicitVRBigEndian or syntax.startswith(_EXPLICIT):
        found = _explicit(data, start, order=">" if syntax == ExplicitVRBigEndian else "<")
    else:
        return None
    if found is None or _SOP_CLASS not in found[0] or _SOP_INSTANCE not in found[0]:
        return None
    elements, at, pixels = found
    content.seek(at)
    if pixels is not None:
        stop(*pixels)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(syntax)
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    dataset = FileDataset(content, elements, b"", meta, implicit, little)
    dataset.set_original_encoding(implicit, little, "iso8859")
    return dataset


_Result = tuple[Found, int, tuple[BaseTag, str | None, int] | None]


def _explicit(data: bytes, at: int, *, order: str) -> _Result | None:
    head = struct.Struct(order + "HH2sH").unpack_from
    long = struct.Struct(order + "L").unpack_from
    found: Found = {}
    end, little = len(data), order == "<"
    while at + 8 <= end:
        group, number, code, length = head(data, at)
        vr, start = _SHORT.get(code), at + 8
        if vr is None:
            vr, start = _LONG.get(code), at + 12
            if vr is None or start > end:
                return None
            (length,) = long(data, at + 8)
        tag = BaseTag(group << 16 | number)
        if tag in PIXEL_TAGS:
            return found, at, (tag, vr, length)
        value_end = _end(data, start, length, vr=vr, implicit=False, little=little)
        if group < 8 or value_end is None:
            return None
        value = data[start:value_end]
        found[tag] = RawDataElement(tag, vr, len(value), value, start, False, little)  # noqa: FBT003 - not ours
        at = value_end + (8 if length == _UNDEFINED else 0)
    return (found, at, None) if at == end else None


def _implicit(data: bytes, at: int) -> _Result | None:
    head = struct.Struct("<HHL").unpack_from
    found: Found = {}
    end = len(data)
    if data[at + 4 : at + 6].isalpha():
        return None  # explicit in truth
    while at + 8 <= end:
        group, number, length = head(data, at)
        tag, start = BaseTag(group << 16 | number), at + 8
        if tag in PIXEL_TAGS:
            return found, at, (tag, None, length)
        value_end = _end(data, start, length, vr="SQ", implicit=True, little=True)
        if group < 8 or value_end is None:
            return None
        value = data[start:value_end]
        vr = "SQ" if length == _UNDEFINED else None
        found[tag] = RawDataElement(tag, vr, len(value), value, start, True, True)  # noqa: FBT003 - not ours
        at = value_end + (8 if length == _UNDEFINED else 0)
    return (found, at, None) if at == end else None


def _end(data: bytes, start: int, length: int, *, vr: str, implicit: bool, little: bool) -> int | None:
    """Where a value ends, None when only a more patient reader can say."""
    if length != _UNDEFINED:
        return start + length if start + length <= len(data) else None
    if vr != "SQ":
        return None
    try:
        return end_of_sequence(data, start, implicit=implicit, little=little)
    except Quarantined:
        return None
