"""Space that the newest segment takes beforehand, so that a commit changes bytes of the file and not its length.

fdatasync(2) then has nothing to write but the records: no new length, no new blocks (ext4, 2026-12-01: 0.12 ms in place
of 0.19). The space is filled with words that no record, no disk and no torn write leaves there; zeros, which are what a
disk leaves that lost something, stay damage. Only the newest segment has it: one is cut to its records, and that made
durable, before the next one begins.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from pathlib import Path

SPARE_BYTES = 1 << 16
_WORDS = b"not written yet\n"  # no byte of it is zero, as the first byte of every record is; repeats from offset 0 on


def spare_at(offset: int) -> bytes:
    """What fills a segment whose records end at ``offset``."""
    return _filling(offset, SPARE_BYTES + -(offset + SPARE_BYTES) % len(_WORDS))


def written_in(data: bytes) -> int:
    """How many bytes of a whole segment are not spare at its end."""
    start = max(0, len(data) - SPARE_BYTES - len(_WORDS))
    return start + _before_spare(data[start:], start)


def written_size(path: Path) -> int:
    """The same of a file; it may be growing. Exact for records, which end in a brace."""
    with path.open("rb") as file:
        start = max(0, os.fstat(file.fileno()).st_size - SPARE_BYTES - len(_WORDS))
        file.seek(start)
        return start + _before_spare(file.read(), start)


def cut_spare(path: Path) -> None:
    """Leaves a segment that nobody writes to with what was written."""
    size = written_size(path)
    if size < path.stat().st_size:
        os.truncate(path, size)


def _filling(offset: int, count: int) -> bytes:
    phase = offset % len(_WORDS)
    return (_WORDS * (count // len(_WORDS) + 2))[phase : phase + count]


def _before_spare(tail: bytes, offset: int) -> int:
    """Where the longest end of ``tail`` begins that is spare."""
    wanted, size = _filling(offset, len(tail)), len(tail)
    longer = range(size + 1)
    return size + 1 - bisect_left(longer, True, key=lambda count: tail[size - count :] != wanted[size - count :])  # noqa: FBT003 - what is looked for
