"""A folder of small files as one piece of sealed memory, on its way between two processes; never on a disk.

Bytes: four of length, an index (canonical JSON), then contents. ``at`` of a file counts from the end of the index; a
file whose content the other side has already has none and is named by its SHA-256 alone.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from enclave.core.canonical import canonical_bytes, parse_json
from enclave.core.errors import InvalidError
from enclave.sealed.memory import Put, sealed_memory

MAX_FILES: Final = 5_000
MAX_PATH_BYTES: Final = 1_024
ABSENT: Final = -1
_MAX_INDEX: Final = 16 << 20
_LENGTH: Final = struct.Struct(">I")


@dataclass(frozen=True, slots=True, kw_only=True)
class BundledFile:
    """One file: ``path`` below the folder with slashes, nanoseconds of its last change, where its bytes are."""

    path: str
    size_bytes: int
    mtime_ns: int
    sha256: str
    at: int = ABSENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What a descriptor holds; read with ``content``."""

    folders: tuple[str, ...]
    files: tuple[BundledFile, ...]
    start: int = 0

    @property
    def size_bytes(self) -> int:
        """All files together."""
        return sum(one.size_bytes for one in self.files)


def make_bundle(folders: Sequence[str], files: Iterable[tuple[BundledFile, bytes | None]]) -> int:
    """A sealed memory descriptor, the caller's; the content None leaves a file's bytes out. ``at`` is set here."""
    rows: list[list[Any]] = []
    contents: list[bytes] = []
    at = 0
    for one, content in files:
        rows.append([one.path, one.size_bytes, one.mtime_ns, one.sha256, ABSENT if content is None else at])
        if content is not None:
            contents.append(content)
            at += len(content)
    index = canonical_bytes({"folders": sorted(folders), "files": sorted(rows)})

    def fill(put: Put) -> None:
        put(memoryview(_LENGTH.pack(len(index)) + index))
        for content in contents:
            put(memoryview(content))

    return sealed_memory(_LENGTH.size + len(index) + at, fill=fill)


def read_bundle(fd: int) -> Bundle:
    """The index of what ``fd`` holds; raises ``InvalidError`` for anything that ``make_bundle`` does not make."""
    head = os.pread(fd, _LENGTH.size, 0)
    (length,) = _LENGTH.unpack(head) if len(head) == _LENGTH.size else (0,)
    if not 0 < length <= _MAX_INDEX:
        raise _malformed()
    try:
        value = parse_json(os.pread(fd, length, _LENGTH.size))
        files = tuple(
            BundledFile(
                path=check_path(path), size_bytes=_whole(size), mtime_ns=_whole(mtime), sha256=_hex(digest), at=at
            )
            for path, size, mtime, digest, at in value["files"]
        )
        folders = tuple(check_path(one) for one in value["folders"])
    except (KeyError, TypeError, ValueError):
        raise _malformed() from None
    bundle = Bundle(folders=folders, files=files, start=_LENGTH.size + length)
    room = os.fstat(fd).st_size - bundle.start
    for one in files:
        if type(one.at) is not int or not (one.at == ABSENT or 0 <= one.at <= room - one.size_bytes):
            raise _malformed()
    if len({one.path for one in files}) != len(files) or len(files) + len(folders) > MAX_FILES:
        raise _malformed()
    return bundle


def content(fd: int, bundle: Bundle, one: BundledFile) -> bytes:
    """The bytes of a file that is not absent; raises ``InvalidError`` when they are not those of its SHA-256."""
    parts, at = [], bundle.start + one.at
    while at < bundle.start + one.at + one.size_bytes:
        part = os.pread(fd, bundle.start + one.at + one.size_bytes - at, at)
        if not part:
            raise _malformed()
        parts.append(part)
        at += len(part)
    data = b"".join(parts)
    if hashlib.sha256(data).hexdigest() != one.sha256:
        raise _malformed()
    return data


def check_path(path: Any) -> str:
    """``path`` when it names something below a folder and nothing else; raises ``InvalidError``."""
    parts = path.split("/") if isinstance(path, str) else [""]
    if any(part in ("", ".", "..") or "\0" in part for part in parts) or not _encodes(path):
        raise _malformed()
    return str(path)


def _encodes(path: str) -> bool:
    try:
        return len(path.encode("utf-8")) <= MAX_PATH_BYTES
    except UnicodeEncodeError:
        return False


def _whole(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise _malformed()
    return value


def _hex(value: Any) -> str:
    if not isinstance(value, str) or len(value) != 64 or not set(value) <= set("0123456789abcdef"):
        raise _malformed()
    return value


def _malformed() -> InvalidError:
    return InvalidError("bundle of files: wanted an index and the contents it names, got something else")
