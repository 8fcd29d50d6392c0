"""Reads bytes that keep the encoding rules of PS3.5 7 as trees. Damaged sequences become ``BROKEN``."""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator

from enclave.deid.reasons import Quarantined
from enclave.deid.tree import (
    BROKEN,
    CHARSET,
    DEFAULT_ENCODINGS,
    LONG_VRS,
    MAX_DEPTH,
    VRS,
    Field,
    Items,
    Node,
    codecs_of,
    creator_of,
    dictionary_vr,
)

_LONG = {vr.encode(): vr for vr in LONG_VRS}
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
UNDEFINED = 0xFFFFFFFF
_REMEMBERED_BYTES = 4 << 10  # of a sequence: those that recur in every file of a series are small


class _BrokenError(Exception):
    """A sequence whose bytes are none."""


def items_of(field: Field) -> list[Node] | None:
    """The items of a sequence, not to be changed; None when its bytes are none.

    Raises ``Quarantined`` when they are nested too deep.
    """
    value = field[1]
    if not isinstance(value, Items):
        return value if isinstance(value, list) else None
    return (_read_again if len(value.data) <= _REMEMBERED_BYTES else _read_items)(value)


def walk(node: Node) -> Iterator[tuple[Node, int, Field]]:
    """All fields but broken ones, those of items after their sequence."""
    for tag, field in node.items():
        if field[0] == BROKEN:
            continue
        if field[0] != "SQ":
            yield node, tag, field
            continue
        items = items_of(field)
        if items is None:
            continue
        yield node, tag, field
        for item in items:
            yield from walk(item)


def end_of_sequence(data: bytes, start: int, *, implicit: bool, little: bool) -> int | None:
    """Where the items of a sequence without a length end and its delimiter begins; None when they do not."""
    try:
        reader = _Reader(data, implicit=implicit, little=little)
        return reader.items(start, len(data), DEFAULT_ENCODINGS, 1, open_end=True)[1] - 8
    except (_BrokenError, struct.error):
        return None


def _read_items(value: Items) -> list[Node] | None:
    for form in dict.fromkeys((value.implicit, True)):  # some writers put implicit items into explicit files
        try:
            reader = _Reader(value.data, implicit=form, little=value.little)
            return reader.items(0, len(value.data), value.encodings, value.depth, open_end=False)[0]
        except (_BrokenError, struct.error):
            continue
    return None


_read_again = functools.lru_cache(maxsize=4096)(_read_items)


class _Reader:
    """Reads the bytes of a sequence."""

    def __init__(self, data: bytes, *, implicit: bool, little: bool) -> None:
        self._data = data
        self._implicit = implicit
        self._little = little
        order = "<" if little else ">"
        self._head = struct.Struct(order + "HHL").unpack_from
        self._explicit = struct.Struct(order + "HH2sH").unpack_from
        self._length = struct.Struct(order + "L").unpack_from

    def items(
        self, at: int, end: int, encodings: tuple[str, ...], depth: int, *, open_end: bool
    ) -> tuple[list[Node], int]:
        """The items from ``at`` on, and where they end; up to a delimiter when ``open_end``."""
        if depth > MAX_DEPTH:
            raise Quarantined("nesting")
        found: list[Node] = []
        while at + 8 <= end:
            group, number, length = self._head(self._data, at)
            tag, at = group << 16 | number, at + 8
            if tag == _SEQUENCE_END:
                return found, at
            if tag != _ITEM or (length != UNDEFINED and at + length > end):
                raise _BrokenError
            node, at = self._elements(at, end if length == UNDEFINED else at + length, encodings, depth, length)
            found.append(node)
        if open_end or at != end:
            raise _BrokenError
        return found, at

    def _elements(self, at: int, end: int, encodings: tuple[str, ...], depth: int, length: int) -> tuple[Node, int]:
        node = Node(encodings, little=self._little, implicit=self._implicit)
        while at + 8 <= end:
            group, number, size = self._head(self._data, at)
            tag = group << 16 | number
            if tag == _ITEM_END:
                return node, at + 8
            vr, at, size = self._start(tag, at, size, node)
            if size == UNDEFINED:
                if vr not in ("SQ", "UN"):
                    raise _BrokenError
                nested = self if vr == "SQ" else _Reader(self._data, implicit=True, little=True)
                items, at = nested.items(at, end, node.encodings, depth + 1, open_end=True)
                node[tag] = ("SQ", items)
                continue
            if at + size > end:
                raise _BrokenError
            value = self._data[at : at + size]
            at += size
            if tag == CHARSET:
                node.encodings = codecs_of(value, encodings)
            implicit = self._implicit
            if vr == "UN":
                vr, implicit = dictionary_vr(tag, creator_of(node, tag)), True
            if vr == "SQ":
                node[tag] = (vr, Items(value, implicit, self._little, node.encodings, depth + 1))
            else:
                node[tag] = (vr, value)
        if length == UNDEFINED or at != end:
            raise _BrokenError
        return node, at

    def _start(self, tag: int, at: int, size: int, node: Node) -> tuple[str, int, int]:
        """The representation, where the value begins, its length."""
        if self._implicit:
            return dictionary_vr(tag, creator_of(node, tag)), at + 8, size
        _, _, code, short = self._explicit(self._data, at)
        long = _LONG.get(code)
        if long is not None:
            return long, at + 12, self._length(self._data, at + 8)[0]
        vr = code.decode("latin-1")
        if vr not in VRS:
            raise _BrokenError
        return vr, at + 8, short
