"""An input file held open: small ones in memory, large ones read piece by piece, deflated ones inflated up to a limit.

Links are never followed, and nothing but a regular file is read.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from enclave.deid.reasons import Quarantined

SMALL_BYTES = 32 << 20  # up to here a file is read whole
MAX_HEADER_BYTES = 160 << 20  # all that is not pixel data, decoded in memory
MAX_INFLATED_BYTES = 1 << 29
PIECE_BYTES = 1 << 20
_PREFIX_AT = 128
_META_BYTES = 1 << 16  # what is searched for the end of the file meta information
_LONG_VRS = frozenset({b"OB", b"OW", b"UN", b"SQ", b"UT", b"OF", b"OD", b"OL", b"UC", b"UR", b"OV", b"SV", b"UV"})


@dataclass(frozen=True, slots=True)
class Source:
    """One open input. ``content`` is the file, or what a deflated file holds; ``size`` and ``start`` are of it.

    ``syntax`` is the UID that the file meta information gives, '' without one; the dataset begins at ``start``.
    """

    file: BinaryIO
    content: BinaryIO
    size: int
    modified_ns: int
    syntax: str
    start: int
    deflated: bool = False

    @property
    def is_large(self) -> bool:
        """Whether it must not be read whole."""
        return self.size > SMALL_BYTES

    @property
    def data(self) -> bytes | None:
        """All of the content; None when it must not be read whole."""
        return self.content.getvalue() if isinstance(self.content, io.BytesIO) and not self.is_large else None

    def head(self, count: int) -> bytes:
        """The first bytes."""
        self.content.seek(0)
        return self.content.read(count)

    def pieces(self, start: int, end: int) -> Iterator[memoryview]:
        """The content from ``start`` to ``end``; a piece is valid until the next one is asked for."""
        yield from _pieces(self.content, start, end)

    def file_pieces(self) -> Iterator[memoryview]:
        """The whole file as it is stored."""
        yield from _pieces(self.file, 0, self.file.seek(0, os.SEEK_END))


@contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """The regular file at ``path``; raises ``Quarantined`` for links, other entries, empty files and deflate bombs."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):
        raise Quarantined("symlink" if path.is_symlink() else "unreadable") from None
    with io.FileIO(fd) as raw:
        state = os.fstat(fd)
        if not stat.S_ISREG(state.st_mode):
            raise Quarantined("symlink")
        if not state.st_size:
            raise Quarantined("empty")
        try:
            if state.st_size > SMALL_BYTES:
                file: BinaryIO = _Limited(raw, size=state.st_size)
            else:
                file = io.BytesIO(raw.read(state.st_size))
        except OSError:
            raise Quarantined("unreadable") from None
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        head = file.read(_META_BYTES)
        source = Source(file, file, size, state.st_mtime_ns, *meta_of(head))
        yield _inflated(source, head) if source.syntax == DeflatedExplicitVRLittleEndian else source


def sha256_of(path: Path) -> str:
    """The hash of a regular file's bytes; empty when it cannot be read."""
    try:
        with open_source(path) as source:
            return digest_of(source.file_pieces())
    except (Quarantined, OSError):
        return ""


def digest_of(pieces: Iterator[memoryview]) -> str:
    """SHA-256 over pieces, as hex."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def meta_of(data: bytes) -> tuple[str, int]:
    """The transfer syntax and the end of the file meta information (explicit VR little endian, PS3.10 7.1)."""
    at, syntax = _PREFIX_AT + 4, ""
    if data[_PREFIX_AT:at] != b"DICM":
        return syntax, 0
    while at + 8 <= len(data):
        group, element, vr, length = struct.unpack_from("<HH2sH", data, at)
        if group != 2:
            break
        head = 8
        if vr in _LONG_VRS:
            if at + 12 > len(data):
                break
            (length,), head = struct.unpack_from("<I", data, at + 8), 12
        if element == 0x0010:
            syntax = data[at + head : at + head + length].decode("ascii", "replace").strip(" \0")
        at += head + length
    return syntax, at


class _Limited(io.BufferedReader):
    """A file whose decoder may take so many bytes and no more, whatever lengths the file claims."""

    def __init__(self, raw: io.FileIO, *, size: int) -> None:
        super().__init__(raw, 1 << 16)
        self._size = size
        self._left = MAX_HEADER_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = self._size if size is None or size < 0 else size
        if wanted > 4096:  # a read beyond the end costs nothing
            wanted = max(0, min(wanted, self._size - self.tell()))
        self._left -= wanted
        if self._left < 0:
            raise Quarantined("too_large")
        return super().read(wanted)


def _pieces(file: BinaryIO, start: int, end: int) -> Iterator[memoryview]:
    if isinstance(file, io.BytesIO):
        yield file.getbuffer()[start:end]
        return
    file.seek(start)
    buffer = memoryview(bytearray(min(PIECE_BYTES, max(1, end - start))))
    left = end - start
    while left > 0:
        got = file.readinto(buffer[: min(len(buffer), left)])  # type: ignore[attr-defined] # every binary file has it
        if not got:
            return  # the file became shorter while it was read; the hash tells
        yield buffer[:got]
        left -= got


def _inflated(source: Source, head: bytes) -> Source:
    """The content of a deflated source written out plainly (PS3.5 A.5), never more than allowed."""
    start = source.start
    name = str(DeflatedExplicitVRLittleEndian).encode()
    plain = head[:start].replace(name, str(ExplicitVRLittleEndian).encode().ljust(len(name), b"\0"))
    content: BinaryIO = io.BytesIO()
    content.write(plain)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for piece in _pieces(source.file, start, source.size):
            waiting = bytes(piece)
            while waiting and not inflater.eof:
                content.write(inflater.decompress(waiting, PIECE_BYTES))
                waiting = inflater.unconsumed_tail
                if content.tell() > MAX_INFLATED_BYTES:
                    raise Quarantined("too_large")
                content = _moved(content)
        content.write(inflater.flush())
    except zlib.error:
        raise Quarantined("unreadable") from None
    if not inflater.eof:
        raise Quarantined("truncated")
    size = content.tell()
    if not isinstance(content, io.BytesIO):
        content.flush()
        content = _Limited(io.FileIO(os.dup(content.fileno())), size=size)
    syntax = str(ExplicitVRLittleEndian)
    return Source(source.file, content, size, source.modified_ns, syntax, len(plain), deflated=True)


def _moved(content: BinaryIO) -> BinaryIO:
    """What has grown large goes to memory outside of this process's own, which is read in pieces as a file is."""
    if not isinstance(content, io.BytesIO) or content.tell() <= SMALL_BYTES:
        return content
    file = os.fdopen(os.memfd_create("inflated", os.MFD_CLOEXEC), "w+b")
    file.write(content.getbuffer())
    return file
