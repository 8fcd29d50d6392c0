"""The tables of a JPEG or JPEG-LS stream: a scan uses them, or they are no image and may hold anything. Pure.

Sources: ISO/IEC 10918-1 B.2.4 (tables), K.1 (those that most encoders scale); 14495-1 C.2.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from enclave.deid.text_in_bytes import ARRAY_RUN, holds_text

DHT, DQT, MAPPING = 0xC4, 0xDB, 0xF8
Destination = tuple[int, int]  # the marker that defines a table, and its number

_MOST_CODES = 256
_MOST_BITS = 16  # that a difference of samples has
_DESTINATIONS = 4
_MOST_IN_A_BYTE = 255
_FILLS = {DHT: 0, DQT: 1, MAPPING: 0}  # a quantisation by zero would be none
# Zigzag order, quality 50.
_LUMINANCE: Final = bytes.fromhex(
    "100b0c0e0c0a100e0d0e1211101318281a181616183123251d283a333d3c3933383740485c4e404457453738506d51575f626768673e4d71797064"
    "785c656763"
)
_CHROMINANCE: Final = bytes.fromhex("1112121815182f1a1a2f63423842") + b"\x63" * 50


class TableError(Exception):
    """A table breaks its rules, or a text stands in the place of one that the image needs."""


@dataclass(frozen=True, slots=True)
class Table:
    """The numbers of one table, and where they stand in the stream: from ``start`` to ``end``."""

    destination: Destination
    start: int
    end: int
    numbers: bytes

    @property
    def fill(self) -> int:
        """The number that may stand in the place of each when no scan uses them."""
        return _FILLS[self.destination[0]]


class Tables:
    """The tables of one stream, in the order in which they come: a later one takes the place of an earlier one."""

    def __init__(self) -> None:
        self.all: list[Table] = []
        self._current: dict[Destination, list[Table]] = {}
        self._used: set[int] = set()  # where they start

    def define(self, table: Table, *, more: bool = False) -> None:
        """Takes note of ``table``; with ``more`` it goes on with the one before it."""
        self.all.append(table)
        before = self._current.get(table.destination, []) if more else []
        self._current[table.destination] = [*before, table]

    def use(self, destination: Destination) -> None:
        """A scan uses what stands there by now; raises ``TableError`` when that is no table of an image."""
        for table in self._current.get(destination, ()):
            if table.start not in self._used:
                _check_used(table)
                self._used.add(table.start)

    def unused(self) -> list[Table]:
        """Those that no scan used."""
        return [table for table in self.all if table.start not in self._used]


def parse_tables(marker: int, body: bytes, *, at: int) -> list[Table]:
    """The tables in a segment DHT or DQT whose ``body`` begins at ``at`` in its stream.

    Their lengths follow from what is in them: nothing can hide behind. Raises ``TableError``.
    """
    found: list[Table] = []
    start = 0
    while start < len(body):
        kind, number = body[start] >> 4, body[start] & 15
        _check(kind <= 1 and number < _DESTINATIONS)
        first, size = start + 1, 128 if kind else 64
        if marker == DHT:  # a class, sixteen counts, so many values
            first, size = start + 17, sum(body[start + 1 : start + 17])
            _check(size <= _MOST_CODES)
        _check(first + size <= len(body))
        name = kind << 4 | number if marker == DHT else number
        found.append(Table((marker, name), at + first, at + first + size, body[first : first + size]))
        start = first + size
    return found


def _check_used(table: Table) -> None:
    """A text is refused. Of Huffman codes each has another value, of which those for differences are numbers of bits;
    nearly all quantisation tables are one of two, scaled; in other numbers no words are seen."""
    marker, number = table.destination
    if marker == DHT:
        _check(len(set(table.numbers)) == len(table.numbers))
        _check(number >> 4 == 1 or max(table.numbers, default=0) <= _MOST_BITS)
    elif marker != DQT or not any(_is_scaled(table.numbers, one) for one in (_LUMINANCE, _CHROMINANCE)):
        _check(not holds_text(table.numbers, run=ARRAY_RUN))


def _is_scaled(numbers: bytes, table: bytes) -> bool:
    """Whether ``numbers`` are those of ``table`` by one factor, give or take one, and within a byte."""
    if len(numbers) != len(table):
        return False
    pairs = list(zip(numbers, table, strict=True))
    least = max((number - 1) / one for number, one in pairs)
    return least <= min(((number + 1) / one for number, one in pairs if number < _MOST_IN_A_BYTE), default=least)


def _check(right: bool) -> None:  # noqa: FBT001 - a statement about the bytes at hand
    if not right:
        raise TableError
