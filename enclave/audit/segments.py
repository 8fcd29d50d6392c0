"""Segment files: the truth of the ledger, appended to and never changed.

``segments/FIRST.seg`` begins with 16 bytes (``ENCLSEG1`` and its first sequence number); each record follows as
length, CRC-32 and sequence number (big endian, 4 + 4 + 8 bytes) and that many bytes of canonical JSON. The CRC covers
sequence number and payload; it finds accidents, the Merkle tree finds intent. Behind the last record of the newest
segment there may be space that is taken already (``spare``).
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from enclave.audit.spare import spare_at
from enclave.core.errors import IntegrityError
from enclave.runtime.durable import sync_folder

MAGIC = b"ENCLSEG1"
FILE_HEAD = struct.Struct(">8sQ")
RECORD_HEAD = struct.Struct(">IIQ")
_HEAD, _SEQ = struct.Struct(">II"), struct.Struct(">Q")
MAX_RECORD_BYTES = 65_535  # what a tlog entry may hold (C2SP tlog-tiles)
ROTATE_BYTES = 64 << 20
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_WINDOW_BYTES = 4 << 20  # of a segment, per read


@dataclass(frozen=True, slots=True)
class Record:
    """One stored record and where it stands."""

    seq: int
    payload: bytes
    segment: str
    offset: int


@dataclass(frozen=True, slots=True)
class BadBytes:
    """From ``offset`` on a segment does not hold records: a torn write, or somebody's work."""

    segment: str
    offset: int
    lost_bytes: int


def frame(seq: int, payload: bytes) -> bytes:
    """The bytes of one record as they stand in a segment."""
    number = _SEQ.pack(seq)
    return b"%b%b%b" % (_HEAD.pack(len(payload), zlib.crc32(payload, zlib.crc32(number))), number, payload)


def record_crc(seq: int, payload: bytes) -> int:
    """CRC-32 over sequence number and payload."""
    return zlib.crc32(payload, zlib.crc32(_SEQ.pack(seq)))


def segment_name(first_seq: int) -> str:
    """The file name of the segment that begins with ``first_seq``."""
    return f"{first_seq:012d}.seg"


def segment_files(folder: Path) -> list[Path]:
    """All segments of a store, oldest first."""
    return sorted(folder.glob("*.seg"))


def read_segment(
    path: Path, *, offset: int = 0, size_bytes: int = -1, max_record: int = MAX_RECORD_BYTES
) -> Iterator[Record | BadBytes]:
    """Records from ``offset`` on (0 = the first); between good records, a ``BadBytes`` for what is none."""
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(size_bytes)
    name, at = path.name, 0
    if offset == 0:
        if data[:8] != MAGIC or len(data) < FILE_HEAD.size:
            yield BadBytes(name, 0, min(len(data), FILE_HEAD.size))
        at = FILE_HEAD.size
    end, head, unpack, crc32 = len(data), RECORD_HEAD.size, RECORD_HEAD.unpack_from, zlib.crc32
    while at < end:
        if at + head <= end:
            length, crc, seq = unpack(data, at)
            stop = at + head + length
            # The checksum covers the sequence number and the payload, which stand side by side.
            if 0 < length <= max_record and stop <= end and crc32(data[at + 8 : stop]) == crc:
                yield Record(seq, data[at + head : stop], name, offset + at)
                at = stop
                continue
        resume = _next_record(data, at + 1, max_record)
        yield BadBytes(name, offset + at, resume - at)
        at = resume


def _is_record(data: bytes, at: int, max_record: int) -> bool:
    start = at + RECORD_HEAD.size
    if start > len(data):
        return False
    length, crc, _ = RECORD_HEAD.unpack_from(data, at)
    stop = start + int(length)
    # Most positions fail on the length alone, before a CRC is computed.
    return 0 < length <= max_record and stop <= len(data) and bool(zlib.crc32(data[at + 8 : stop]) == crc)


def _next_record(data: bytes, at: int, max_record: int) -> int:
    """Where records begin again after bytes that are none; the end when they do not."""
    high = (max_record >> 24).to_bytes(1, "big")
    while at < len(data):
        at = data.find(high, at)
        if at < 0:
            break
        if _is_record(data, at, max_record):
            return at
        at += 1
    return len(data)


class SegmentReader:
    """Reads records in order from a store that still grows; remembers where it was."""

    def __init__(self, folder: Path, *, next_seq: int = 0, max_record: int = MAX_RECORD_BYTES) -> None:
        self._folder = folder
        self._next = next_seq
        self._max_record = max_record
        self._path: Path | None = None
        self._offset = 0

    def read(self, *, upto: int, count: int) -> list[Record]:
        """At most ``count`` records below ``upto``, those that cannot be read left out."""
        found: list[Record] = []
        while self._next < upto and len(found) < count:
            path = self._segment_of(self._next)
            if path is None:
                return found
            if path != self._path:
                self._path, self._offset = path, 0
            before = self._offset
            self._take(path, found, upto, count)
            # A window may hold nothing but records below the first one wanted: only standing still is the end.
            if self._offset == before and not self._skip_to_later_segment(path, upto):
                return found
        return found

    def _take(self, path: Path, found: list[Record], upto: int, count: int) -> None:
        offset, wanted, room = self._offset, self._next, count - len(found)
        for item in read_segment(path, offset=offset, size_bytes=_WINDOW_BYTES, max_record=self._max_record):
            if isinstance(item, BadBytes):
                continue
            if item.seq >= upto or not room:
                break
            offset = item.offset + RECORD_HEAD.size + len(item.payload)
            if item.seq >= wanted:
                found.append(item)
                wanted = item.seq + 1
                room -= 1
        self._offset, self._next = offset, wanted

    def _segment_of(self, seq: int) -> Path | None:
        """The segment that ``seq`` is in, or the first one when it begins later."""
        files = segment_files(self._folder)
        earlier = [path for path in files if first_seq_of(path) <= seq]
        return next(iter(earlier[-1:] or files[:1]), None)

    def _skip_to_later_segment(self, path: Path, upto: int) -> bool:
        for later in segment_files(self._folder):
            if later.name > path.name and first_seq_of(later) < upto:
                self._next = max(self._next, first_seq_of(later))
                return True
        return False


def first_seq_of(path: Path) -> int:
    """The sequence number in a segment's name."""
    try:
        return int(path.stem)
    except ValueError:
        raise IntegrityError(f"segment {path.name}: wanted a number as its name, got another form") from None


class SegmentWriter:
    """Appends to the newest segment; after any error it starts again from the last durable byte.

    While it is open the segment has spare space behind its records; none is taken while ``sparing``, which is for the
    owner to say and begins by itself on a full disk. Not thread-safe: the ledger's committing thread alone writes.
    ``OSError`` leaves it usable.
    """

    def __init__(self, folder: Path, *, rotate_bytes: int = ROTATE_BYTES) -> None:
        self._folder = folder
        self._rotate_bytes = rotate_bytes
        self._fd = -1
        self._path: Path | None = None
        self._durable = self._waiting = self._size = 0
        self._asked = False
        self.sparing = False

    def resume(self, path: Path, *, size_bytes: int) -> None:
        """Goes on in an existing segment whose first ``size_bytes`` are good."""
        self._path, self._durable = path, size_bytes

    def write(self, data: bytes, *, first_seq: int) -> None:
        """Appends whole records and returns when they are durable (fdatasync(2)); raises ``OSError``."""
        try:
            self.put(data, first_seq=first_seq)
            self.sync()
        except OSError:
            self.close()
            raise
        self.keep()

    def put(self, data: bytes, *, first_seq: int) -> None:
        """The first of three steps of ``write``; after an ``OSError`` in the first two ``close`` undoes them."""
        if self._fd < 0 or self._asked or self._durable >= self._rotate_bytes:
            self._open(first_seq)
        if self._durable + len(data) > self._size:
            self._lengthen(data)
        else:
            _write_all(self._fd, data, self._durable)
        self._waiting = len(data)

    def sync(self) -> None:
        """The second: returns when what was put is durable; another thread may do it."""
        os.fdatasync(self._fd)

    def keep(self) -> None:
        """The third: what was put belongs to the file from now on."""
        self._durable += self._waiting

    def rotate(self) -> None:
        """Makes the next write begin a new segment, so that the ones before never change again; any thread may ask."""
        self._asked = True

    def close(self) -> None:
        """Cuts the file to what is durable and closes it; the next write opens it again."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):  # then it is cut when it is opened again
                os.ftruncate(self._fd, self._durable)
            os.close(self._fd)
            self._fd = -1

    def _lengthen(self, data: bytes) -> None:
        """Writes records and spare space behind them; on a full disk the records alone."""
        end = self._durable + len(data)
        spare = b"" if self.sparing else spare_at(end)
        try:
            _write_all(self._fd, data + spare, self._durable)
            self._size = end + len(spare)
        except OSError as error:
            if error.errno not in FULL or not spare:
                raise
            self.sparing = True
            os.ftruncate(self._fd, self._durable)
            _write_all(self._fd, data, self._durable)
            self._size = end

    def _open(self, first_seq: int) -> None:
        self.close()
        if self._path is not None:
            self._fd = self._cut(self._path)
        if self._path is None or self._asked or self._durable >= self._rotate_bytes:
            self.close()
            self._create(first_seq)
            self._asked = False

    def _cut(self, path: Path) -> int:
        """The open file, durably no longer than its records: what a failed write left got no receipt."""
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.ftruncate(fd, self._durable)
            os.fsync(fd)
        except OSError:
            os.close(fd)
            raise
        self._size = self._durable
        return fd

    def _create(self, first_seq: int) -> None:
        path = self._folder / segment_name(first_seq)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write_all(fd, FILE_HEAD.pack(MAGIC, first_seq), 0)
            os.fsync(fd)
            sync_folder(self._folder)
        except OSError:
            os.close(fd)
            raise
        self._fd, self._path, self._durable = fd, path, FILE_HEAD.size
        self._size = self._durable


def _write_all(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        offset += written
        view = view[written:]
