"""Where an image in run lengths (PS3.5 annex G) holds other bytes than samples: in its header, and behind a segment.

Pure.
"""

from __future__ import annotations

import struct
from itertools import pairwise

from enclave.deid.codestreams import Blank, StreamError

_HEADER = struct.Struct("<16L")
_MOST_SEGMENTS = 15
_NOTHING = 0x80  # a byte of which a decoder makes no sample (G.3.2)
# By the first byte of a run: how many samples it gives, and how many bytes it takes.
_GIVES = (*range(1, 129), 0, *range(128, 1, -1))
_TAKES = (*range(2, 130), 1, *[2] * 127)


def words_in_runs(stream: bytes, *, segments: int, samples: int) -> tuple[Blank, ...]:
    """The places of all that is no sample in one frame of ``segments``, each of ``samples`` bytes when decoded.

    Raises ``StreamError`` for another number of segments, for gaps that no segment explains, and for runs that give
    less than that, or more.
    """
    if not 1 <= segments <= _MOST_SEGMENTS or len(stream) < _HEADER.size:
        raise StreamError
    count, *offsets = _HEADER.unpack_from(stream)
    places = [*offsets[:segments], len(stream)]
    if count != segments or places[0] != _HEADER.size or any(one >= other for one, other in pairwise(places)):
        raise StreamError
    found = [Blank(4 + 4 * segments, _HEADER.size)]
    for start, end in pairwise(places):
        found.append(Blank(_end_of_runs(stream, start, end, samples=samples), end, _NOTHING))
    return tuple(one for one in found if stream[one.start : one.end].strip(b"\0") and not _is_filled(stream, one))


def _is_filled(stream: bytes, blank: Blank) -> bool:
    return not stream[blank.start : blank.end].strip(bytes([blank.fill]))


def _end_of_runs(stream: bytes, at: int, end: int, *, samples: int) -> int:
    """Where the last run of a segment ends (G.3.2)."""
    left = samples
    try:
        while left > 0:
            code = stream[at]
            left -= _GIVES[code]
            at += _TAKES[code]
    except IndexError:
        raise StreamError from None
    if left or at > end:
        raise StreamError
    return at
