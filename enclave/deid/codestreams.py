"""Where a JPEG, JPEG-LS or JPEG 2000 code stream holds words instead of an image: comments, application data, boxes,
tables that no scan uses.

Only places are given, and what to write over them: nothing moves, so that lengths, offsets and all coded samples stay.
A stream that does not keep the rules of its standard (ISO/IEC 10918-1 annex B, 14495-1 annex C, 15444-1 annexes A and
I) raises ``StreamError``, whatever its bytes are. Pure.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from enclave.deid.jpeg_tables import DHT, DQT, MAPPING, Table, TableError, Tables, parse_tables
from enclave.deid.text_in_bytes import ARRAY_RUN, holds_text

_PARAMETERS = frozenset({0xCC, 0xDC, 0xDD, 0xDE, 0xDF})  # DAC DNL DRI DHP EXP
_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_LS_FRAME, _LS_PARAMETERS = 0xF7, 0xF8
_SOI, _EOI, _SOS, _COM = 0xD8, 0xD9, 0xDA, 0xFE
_FIRST_ARITHMETIC = 0xC9  # of the frames
# A scan ends at a marker: in JPEG what is neither a stuffed zero nor a restart, in JPEG-LS one with the top bit.
_SCAN_END = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_LS_SCAN_END = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")
# What a decoder takes the meaning of colours from, by marker: how it begins, and how many of its bytes say it.
_COLOURS = {0xE0: (b"JFIF\0", 14), 0xEE: (b"Adobe", 12)}
_LS_COLOURS = {0xE8: (b"mrfx", 5)}

_SOC, _SIZ, _SOT, _SOD, _EOC, _J2K_COM = 0xFF4F, 0xFF51, 0xFF90, 0xFF93, 0xFFD9, 0xFF64
_J2K_SEGMENTS = frozenset(
    {0xFF50, _SIZ, 0xFF52, 0xFF53, 0xFF55, 0xFF58, 0xFF59, 0xFF5C, 0xFF5D, 0xFF5E, 0xFF5F, 0xFF60, 0xFF61, 0xFF63}
)  # without PLM, which nobody writes, and the extensions of part 2, which nobody here decodes
_TLM, _PLT = 0xFF55, 0xFF58
_JP2_START = b"\0\0\0\x0cjP  \r\n\x87\n"
_JP2_HEADER = frozenset({b"ihdr", b"bpcc", b"colr", b"pclr", b"cmap", b"cdef"})
_JP2_BRANDS = frozenset({b"jp2 ", b"jpx ", b"jpxb", b"jph ", b"J2P0", b"J2P1"})
_MAX_SEGMENTS = 1 << 16
_CODED_PERIODS = range(3, 9)  # bytes by which coded data repeat where nothing changes in the image


class StreamError(Exception):
    """The bytes are no code stream of their kind."""


class Family(Enum):
    """The standards whose streams are read here."""

    JPEG = "jpeg"
    JPEG_LS = "jpeg-ls"
    JPEG_2000 = "jpeg-2000"


@dataclass(frozen=True, slots=True)
class Blank:
    """Bytes ``start`` to ``end`` of a stream are words; ``fill`` is the byte to write over each."""

    start: int
    end: int
    fill: int = 0


def words_in(stream: bytes, *, family: Family) -> tuple[Blank, ...]:
    """The places of all that is no image by its marker or box in the code stream of one frame, in order, not blank yet.

    What stands behind the end of the stream counts, too. Raises ``StreamError`` for a stream that breaks its rules and
    for one with a text where image data belong, such as between the last coded sample and the marker that ends it; what
    is shorter than ``ARRAY_RUN`` cannot be told from them. Nothing else is raised.
    """
    try:
        if family is Family.JPEG_2000:
            found, judged = _jpeg_2000(stream), list[Blank]()
        else:
            found, judged = _Jpeg(stream, ls=family is Family.JPEG_LS).read()
    except (struct.error, IndexError, TableError):
        raise StreamError from None
    found.sort(key=lambda one: one.start)
    _check(not holds_words(without(stream, [*found, *judged])))
    return tuple(one for one in found if stream[one.start : one.end].strip(bytes([one.fill])))


def holds_words(coded: bytes) -> bool:
    """Whether a text stands in coded samples, of which a long row of printable bytes is none."""
    return holds_text(coded, run=ARRAY_RUN, periods=_CODED_PERIODS)


def without(stream: bytes, blanks: Iterable[Blank]) -> bytes:
    """``stream`` with zeros in these places, whatever their fill."""
    left = bytearray(stream)
    for blank in blanks:
        left[blank.start : blank.end] = bytes(len(left[blank.start : blank.end]))
    return bytes(left)


def written_over(pieces: Iterable[memoryview], *, start: int, blanks: tuple[Blank, ...]) -> Iterator[memoryview]:
    """The pieces of a value that begins at ``start``, with ``blanks``, which are in order, filled."""
    at = 0
    for piece in pieces:
        end = start + len(piece)
        changed: bytearray | None = None
        while at < len(blanks) and blanks[at].start < end:
            blank = blanks[at]
            changed = bytearray(piece) if changed is None else changed
            first, last = max(blank.start, start) - start, min(blank.end, end) - start
            changed[first:last] = bytes([blank.fill]) * (last - first)
            if blank.end > end:
                break  # it goes on in the next piece
            at += 1
        yield piece if changed is None else memoryview(changed)
        start = end


class _Jpeg:
    """The segments of one JPEG or JPEG-LS stream."""

    def __init__(self, stream: bytes, *, ls: bool) -> None:
        self._stream = stream
        self._ls = ls
        self._scan_end = _LS_SCAN_END if ls else _SCAN_END
        self._colours = {**_COLOURS, **(_LS_COLOURS if ls else {})}
        self._found: list[Blank] = []
        self._tables = Tables()
        self._frame = 0  # its marker
        self._components: dict[int, int] = {}  # of the frame, with the quantisation of each
        self._scans = 0

    def read(self) -> tuple[list[Blank], list[Blank]]:
        """What is no image, and the tables that are and were judged by themselves; in one pass."""
        if self._stream[:2] != b"\xff\xd8":
            raise StreamError
        at = 2
        for _ in range(_MAX_SEGMENTS):
            marker, at = self._marker(at)
            if marker == _EOI:
                return self._ended(at), [_blank(one) for one in self._tables.all]
            length = int.from_bytes(self._stream[at : at + 2], "big")
            end = at + length
            if length < 2 or end > len(self._stream):
                raise StreamError
            self._segment(marker, at + 2, end)
            at = self._after_scan(end) if marker == _SOS else end
        raise StreamError

    def _marker(self, at: int) -> tuple[int, int]:
        """The marker at ``at``, with any number of fill bytes before it (B.1.1.2), and where its segment begins."""
        if self._stream[at] != 0xFF:
            raise StreamError
        while self._stream[at] == 0xFF:
            at += 1
        return self._stream[at], at + 1

    def _segment(self, marker: int, start: int, end: int) -> None:
        body = self._stream[start:end]
        if marker == _COM:
            self._found.append(Blank(start, end, 0x20))
        elif 0xE0 <= marker <= 0xEF:
            sign, size = self._colours.get(marker, (b"", 0))
            known = bool(sign) and body.startswith(sign) and len(body) >= size
            self._found.append(Blank(start + size if known else start, end))
        elif marker in _FRAMES or (self._ls and marker == _LS_FRAME):
            self._begin_frame(marker, body)
        elif marker == _SOS:
            self._begin_scan(body)
        elif marker in (DHT, DQT):
            for table in parse_tables(marker, body, at=start):
                self._tables.define(table)
        elif marker in _PARAMETERS:
            _check_parameters(marker, body)
        else:
            _check(self._ls and marker == _LS_PARAMETERS and _is_ls_parameters(body))
            if body[0] in (2, 3):
                self._tables.define(Table((MAPPING, body[1]), start + 3, end, body[3:]), more=body[0] == 3)

    def _begin_frame(self, marker: int, body: bytes) -> None:
        _check(len(body) >= 6 and len(body) == 6 + 3 * body[5])
        self._frame = marker
        self._components = {body[at]: body[at + 2] for at in range(6, len(body), 3)}
        _check(all(number <= 3 for number in self._components.values()))

    def _begin_scan(self, body: bytes) -> None:
        """Takes note of the tables that the scan uses (B.2.3; 14495-1 C.2.3)."""
        _check(bool(body) and len(body) == 4 + 2 * body[0] and self._frame > 0)
        self._scans += 1
        first = body[-3]  # of the coefficients; in a lossless frame the predictor
        for at in range(1, len(body) - 3, 2):
            component, tables = body[at], body[at + 1]
            if self._frame == _LS_FRAME:
                self._tables.use((MAPPING, tables))
                continue
            _check(component in self._components)
            lossless, progressive = self._frame & 3 == 3, self._frame & 3 == 2
            if not lossless:
                self._tables.use((DQT, self._components[component]))
            if self._frame < _FIRST_ARITHMETIC:
                if lossless or not progressive or not first:
                    self._tables.use((DHT, tables >> 4))
                if not lossless and (not progressive or first):
                    self._tables.use((DHT, 1 << 4 | tables & 15))

    def _after_scan(self, at: int) -> int:
        found = self._scan_end.search(self._stream, at)
        if found is None:
            raise StreamError
        return found.start()

    def _ended(self, at: int) -> list[Blank]:
        _check(self._scans > 0)
        unused = [_blank(table) for table in self._tables.unused()]
        return [*self._found, *unused, *_behind(self._stream, at, start=b"\xff\xd8\xff")]


def _blank(table: Table) -> Blank:
    return Blank(table.start, table.end, table.fill)


def _is_ls_parameters(body: bytes) -> bool:
    """Whether the parameters of JPEG-LS have the length of their kind (ISO/IEC 14495-1 C.2.4.1)."""
    kind, rest = body[0], len(body)
    if kind == 1:
        return rest == 11
    if kind in (2, 3):
        width = body[2]
        return 1 <= width <= 3 and rest > 3 and (rest - 3) % width == 0
    return kind == 4 and 2 <= body[1] <= 4 and rest == 2 + 2 * body[1]


def _check_parameters(marker: int, body: bytes) -> None:
    """The length of each segment follows from what is in it: nothing can hide behind."""
    if marker == 0xDE:
        _check(len(body) >= 6 and len(body) == 6 + 3 * body[5])
    elif marker == 0xCC:  # DAC, B.2.4.3: a class and a number, then a value
        _check(len(body) % 2 == 0 and all(one >> 4 <= 1 and one & 15 <= 3 for one in body[::2]))
    else:
        _check(len(body) == {0xDC: 2, 0xDD: 2, 0xDF: 1}[marker])


def _jpeg_2000(stream: bytes) -> list[Blank]:
    """A bare code stream, or one in the boxes of a JP2 file."""
    if not stream.startswith(_JP2_START):
        return _codestream(stream, 0, len(stream))
    found: list[Blank] = []
    images = 0
    for kind, start, end in _boxes(stream, 0, len(stream)):
        if kind == b"jp2c":
            images += 1
            found += _codestream(stream, start, end)
        elif kind == b"jp2h":
            for inner, *place in _boxes(stream, start, end):
                found += _header_box(stream, inner, *place)
        elif kind == b"ftyp":
            _check(end - start >= 12 and (end - start) % 4 == 0 and stream[start : start + 4] in _JP2_BRANDS)
            places = (start + 4, *range(start + 8, end, 4))
            found += [Blank(at, at + 4) for at in places if stream[at : at + 4] not in _JP2_BRANDS]
        elif kind != b"jP  ":
            found.append(Blank(start, end))
    _check(images == 1)
    return found


def _header_box(stream: bytes, kind: bytes, start: int, end: int) -> list[Blank]:
    """What is no image in a box of the header. A profile of colours can say anything; in DICOM it says nothing."""
    if kind == b"ihdr":
        _check(end - start == 14)
    elif kind == b"colr":
        _check(end - start >= 3)
        return [Blank(min(end, start + (7 if stream[start] == 1 else 3)), end)]
    return [] if kind in _JP2_HEADER else [Blank(start, end)]


def _boxes(stream: bytes, at: int, end: int) -> list[tuple[bytes, int, int]]:
    """Kind, start and end of what is in each box (annex I.4)."""
    found: list[tuple[bytes, int, int]] = []
    while at < end:
        if end - at < 8 and end == len(stream) and not stream[at:].strip(b"\0"):
            break  # the zero that makes a fragment even
        length, kind = struct.unpack_from(">L4s", stream, at)
        start = at + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", stream, start)
            start += 8
        stop = at + length if length else end
        _check(start <= stop <= end and len(found) < _MAX_SEGMENTS)
        found.append((kind, start, stop))
        at = stop
    return found


def _codestream(stream: bytes, at: int, end: int) -> list[Blank]:
    found: list[Blank] = []
    _check(stream[at : at + 4] == b"\xff\x4f\xff\x51")
    lengths: list[bytes] = []
    sizes: list[int] = []
    at = _headers(stream, at + 2, end, until=_SOT, found=found, pointers=lengths)
    for _ in range(_MAX_SEGMENTS):
        marker = _word(stream, at, end)
        if marker == _EOC:
            _check(not lengths or _tile_lengths(lengths) == sizes)
            return [*found, *_behind(stream[:end], at + 2, start=b"\xff\x4f\xff\x51")]
        _check(marker == _SOT and at + 12 <= end and _word(stream, at + 2, end) == 10)
        (size,) = struct.unpack_from(">L", stream, at + 6)
        stop = at + size if size else _last(stream, end)
        packets: list[bytes] = []
        data = _headers(stream, at + 12, stop, until=_SOD, found=found, pointers=packets)
        _check(data + 2 <= stop <= end)
        _check(not packets or _packet_bytes(packets) == stop - data - 2)
        sizes.append(stop - at)
        at = stop
    raise StreamError


def _tile_lengths(segments: list[bytes]) -> list[int]:
    """The lengths of tile-parts that TLM segments state (15444-1 A.7.1)."""
    found: list[int] = []
    for body in segments:
        index, size = body[1] >> 4 & 3, 4 if body[1] >> 6 & 1 else 2
        _check((len(body) - 2) % (index + size) == 0)
        starts = range(2 + index, len(body), index + size)
        found += [int.from_bytes(body[at : at + size], "big") for at in starts]
    return found


def _packet_bytes(segments: list[bytes]) -> int:
    """The sum of the packet lengths that PLT segments state, seven bits a byte (15444-1 A.7.3)."""
    total = number = 0
    for byte in b"".join(body[1:] for body in segments):
        number = (number << 7 | byte & 0x7F) & 0xFFFFFFFF
        if not byte & 0x80:
            total, number = total + number, 0
    return total


def _headers(stream: bytes, at: int, end: int, *, until: int, found: list[Blank], pointers: list[bytes]) -> int:
    """Goes over marker segments up to the marker ``until``, and returns where that stands.

    ``pointers`` takes what those say that state lengths: of tile-parts in the main header, of packets in others.
    """
    for _ in range(_MAX_SEGMENTS):
        marker = _word(stream, at, end)
        if marker == until:
            return at
        length = _word(stream, at + 2, end)
        _check(length >= 2 and at + 2 + length <= end)
        if marker == _J2K_COM:  # A.9.2: its registration says whether the rest is text
            _check(length >= 4)
            is_text = _word(stream, at + 4, end) == 1
            found.append(Blank(at + 6, at + 2 + length, 0x20 if is_text else 0))
        else:
            _check(marker in _J2K_SEGMENTS and marker != (_PLT if until == _SOT else _TLM))
            if marker in (_TLM, _PLT):
                pointers.append(stream[at + 4 : at + 2 + length])
        at += 2 + length
    raise StreamError


def _word(stream: bytes, at: int, end: int) -> int:
    _check(at + 2 <= end)
    return stream[at] << 8 | stream[at + 1]


def _last(stream: bytes, end: int) -> int:
    """Where the end marker stands when the last tile-part does not say how long it is (A.4.2)."""
    whole = len(stream[:end].rstrip(b"\0"))
    _check(stream[whole - 2 : whole] == b"\xff\xd9")
    return whole - 2


def _behind(stream: bytes, at: int, *, start: bytes) -> list[Blank]:
    """What stands behind the end of a stream; another stream there is an image that nobody declared."""
    _check(start not in stream[at:])
    return [Blank(at, len(stream))]


def _check(right: bool) -> None:  # noqa: FBT001 - a statement about the bytes at hand
    if not right:
        raise StreamError
