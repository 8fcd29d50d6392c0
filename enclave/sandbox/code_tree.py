"""Reading and filling a folder that a hostile server writes to at the same time: plain files and folders, nothing else.

Every step goes by descriptor and follows no link, so what is read lies below the folder whatever is renamed meanwhile.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from enclave.core.errors import InvalidError
from enclave.sandbox.sandboxed import HostUser
from enclave.sealed import bundle
from enclave.sealed.bundle import MAX_FILES, BundledFile, check_path

MAX_DEPTH: Final = 32
_FRESH_NS: Final = 50_000_000  # a change within one tick of the file system's clock does not show in its times
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Stamp = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Seen:
    """One file at the last look; without a ``stamp`` it is read again."""

    sha256: str
    stamp: Stamp | None


@dataclass(slots=True)
class Tree:
    """What lies in a folder. ``contents`` holds those that were read now."""

    folders: list[str] = field(default_factory=list)
    files: list[BundledFile] = field(default_factory=list)
    seen: dict[str, Seen] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)

    @property
    def summary(self) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
        """Equal for two trees that hold the same."""
        return tuple(sorted(self.folders)), tuple(sorted((one.path, one.sha256) for one in self.files))


def read_tree(root: Path, *, before: dict[str, Seen], limit_bytes: int) -> Tree:
    """All of ``root``; a file that looks as in ``before`` is not read again.

    Links, devices and names that are no text are left out. Raises ``InvalidError`` when there is too much.
    """
    reader = _Reader(before, limit_bytes)
    top = os.open(root, _FOLDER)
    try:
        reader.folder(top, "", 0)
    finally:
        os.close(top)
    return reader.tree


def fill(root: Path, fd: int, owner: HostUser) -> None:
    """Writes the bundle in ``fd`` into the empty ``root``; nobody else may reach that folder yet."""
    found = bundle.read_bundle(fd)
    for name in sorted(found.folders):
        make_folder(root / name, owner)
    for one in found.files:
        place = root / one.path
        make_folder(place.parent, owner)
        write_file(place, bundle.content(fd, found, one), owner)
        os.utime(place, ns=(one.mtime_ns, one.mtime_ns))


def make_folder(path: Path, owner: HostUser) -> None:
    """A folder of ``owner`` that kernels can read; nothing happens when it is there."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o755)
        path.chmod(0o755)
        _give(path, owner)


def write_file(path: Path, data: bytes, owner: HostUser) -> None:
    """A new file of ``owner`` that kernels can read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644), "wb") as file:
        file.write(data)
    path.chmod(0o644)
    _give(path, owner)


def _give(path: Path, owner: HostUser) -> None:
    if owner.uid is not None:
        os.chown(path, owner.uid, owner.uid, follow_symlinks=False)


class _Reader:
    def __init__(self, before: dict[str, Seen], limit_bytes: int) -> None:
        self.tree = Tree()
        self._before = before
        self._left = limit_bytes
        self._limit = limit_bytes

    def folder(self, fd: int, prefix: str, depth: int) -> None:
        for name in sorted(os.listdir(fd)):
            path = f"{prefix}{name}"
            try:
                check_path(path)
                found = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if stat.S_ISDIR(found.st_mode):
                    self._subfolder(fd, name, path, depth)
                elif stat.S_ISREG(found.st_mode):
                    self._file(fd, name, path)
            except OSError:
                continue  # gone, or something else by now: the next look sees it
            except InvalidError as error:
                if error.code == "code_too_large":
                    raise

    def _subfolder(self, fd: int, name: str, path: str, depth: int) -> None:
        if depth >= MAX_DEPTH:
            raise self._too_large()
        inner = os.open(name, _FOLDER, dir_fd=fd)
        try:
            self.tree.folders.append(path)
            self._count()
            self.folder(inner, f"{path}/", depth + 1)
        finally:
            os.close(inner)

    def _file(self, fd: int, name: str, path: str) -> None:
        file = os.open(name, _FILE, dir_fd=fd)
        try:
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode):
                return
            stamp = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
            known = self._before.get(path)
            size = found.st_size
            if known is not None and known.stamp == stamp:
                digest = known.sha256
            else:
                data = self._read(file)
                size, digest = len(data), hashlib.sha256(data).hexdigest()
                self.tree.contents[digest] = data
        finally:
            os.close(file)
        self._left -= size
        settled = time.time_ns() - found.st_ctime_ns > _FRESH_NS and size == found.st_size
        self.tree.seen[path] = Seen(digest, stamp if settled else None)
        mtime = max(0, found.st_mtime_ns)
        self.tree.files.append(BundledFile(path=path, size_bytes=size, mtime_ns=mtime, sha256=digest))
        self._count()

    def _read(self, file: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        while part := os.read(file, 1 << 20):
            size += len(part)
            if size > self._left:
                raise self._too_large()
            parts.append(part)
        return b"".join(parts)

    def _count(self) -> None:
        if len(self.tree.files) + len(self.tree.folders) > MAX_FILES or self._left < 0:
            raise self._too_large()

    def _too_large(self) -> InvalidError:
        return InvalidError(
            f"code folder: wanted at most {self._limit >> 20} MB in {MAX_FILES} files and folders, got more; "
            "nothing of it was kept since. Delete what is no notebook and no module",
            code="code_too_large",
        )
