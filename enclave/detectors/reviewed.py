"""Model files of other people's packages: what somebody reviewed, byte for byte, or nothing."""

from __future__ import annotations

import hashlib
import time
from importlib.resources.abc import Traversable
from pathlib import Path

from enclave.core.errors import IntegrityError

_SETTLED_NS = 2_000_000_000  # a change within one tick of the file system's clock would show in no time of the file
_State = tuple[int, int, int, int, int]
_known: dict[Path, tuple[_State, str]] = {}


def check_reviewed(folder: Path, listed: Traversable, *, name: str) -> str:
    """The digest of the list; raises ``IntegrityError`` unless each file on it has the hash that stands there.

    ``listed``: lines of SHA-256, two spaces and a path below ``folder``, as sha256sum(1) writes them.
    """
    text = listed.read_text("ascii")
    for line in text.splitlines():
        wanted, file = line.split("  ", 1)
        try:
            got = _sha256(folder / file)
        except OSError:
            got = ""
        if got != wanted:
            raise IntegrityError(
                f"{name}: wanted {file} as it was reviewed, got other bytes; install the locked package again",
                code="model_changed",
            )
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _sha256(path: Path) -> str:
    """The digest of a file; of one that this process has read before only after any change of it.

    The kernel notes each write in the time of the last change (ctime, inode(7)), which nobody can set.
    """
    before = _state(path)
    known = _known.get(path)
    if known is not None and known[0] == before:
        return known[1]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if _state(path) == before and time.time_ns() - before[4] > _SETTLED_NS:
        _known[path] = (before, digest)
    return digest


def _state(path: Path) -> _State:
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
