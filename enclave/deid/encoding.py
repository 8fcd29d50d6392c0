"""Writes trees as bytes by the encoding rules of PS3.5 7."""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable

from enclave.deid.tree import LONG_VRS, Node, Value

Form = tuple[bool, bool]  # implicit VR, little endian
_MAX_SHORT = 0xFFFF
_ZERO_PADDED = frozenset(("UI", "OB", "UN"))


def encode_node(node: Node, *, form: Form, since: int = 0, before: int = 1 << 32) -> bytes:
    """The elements of ``node`` by ascending tag, ``since`` ≤ tag < ``before``; sequences and items with lengths."""
    implicit = form[0]
    parts: list[bytes] = []
    for tag in sorted(node):
        if not since <= tag < before or (not tag & 0xFFFF and tag >> 16 > 6):
            continue  # a group length, retired
        vr, value = node[tag]
        data = value if value.__class__ is bytes and not len(value) & 1 else encode_value(vr, value, form=form)
        size = len(data)
        if implicit:
            parts += (_implicit_head(tag, form[1])(size), data)
        else:
            head, pack = _explicit_head(tag, vr, form[1], size > _MAX_SHORT)
            parts += (head, pack(size), data)
    return b"".join(parts)


def encode_value(vr: str, value: Value, *, form: Form) -> bytes:
    """The bytes of a value, even in length. Those of a sequence are taken for items in ``form``."""
    if isinstance(value, bytes):
        data = value
    elif isinstance(value, list):
        return encode_items(value, form=form)
    else:
        data = value.encode("utf-8", "replace") if isinstance(value, str) else bytes(value or b"")
    if len(data) & 1:
        data += b"\0" if vr in _ZERO_PADDED else b" "
    return data


def encode_items(items: list[Node], *, form: Form) -> bytes:
    """The items of a sequence, each with its length."""
    head = struct.Struct("<HHL" if form[1] else ">HHL").pack
    parts: list[bytes] = []
    for item in items:
        data = encode_node(item, form=form)
        parts += (head(0xFFFE, 0xE000, len(data)), data)
    return b"".join(parts)


Pack = Callable[[int], bytes]


@functools.lru_cache(maxsize=16_384)
def _implicit_head(tag: int, little: bool) -> Pack:  # noqa: FBT001 - a cached function is asked by position
    order = "<" if little else ">"
    return functools.partial(struct.Struct(order + "HHL").pack, tag >> 16, tag & 0xFFFF)


@functools.lru_cache(maxsize=16_384)
def _explicit_head(tag: int, vr: str, little: bool, large: bool) -> tuple[bytes, Pack]:  # noqa: FBT001 - as above
    """What stands before the length, and how the length is packed (PS3.5 7.1.2; UN for what is too long: 6.2.2)."""
    order = "<" if little else ">"
    numbers = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if vr in LONG_VRS or large:
        code = vr if vr in LONG_VRS else "UN"
        return numbers + code.encode() + b"\0\0", struct.Struct(order + "L").pack
    return numbers + vr.encode()[:2], struct.Struct(order + "H").pack
