"""Disk space kept for what must be written on a full disk: control, revocations, refusals.

The space is a file that holds nothing. While it is not whole, ordinary events are refused; a write that finds the disk
full makes it shorter and tries again.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

STEP_BYTES = 1 << 20


class Reserve:
    """One file; not thread-safe, the ledger's committing thread and its housekeeping take turns."""

    def __init__(self, path: Path, *, size_bytes: int) -> None:
        self._path, self._size = path, size_bytes
        self.whole = False
        self.refill()

    def refill(self) -> bool:
        """Takes the space again if there is enough; True when the reserve is whole."""
        if self.whole:
            return True
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                os.posix_fallocate(fd, 0, max(self._size, 1))
            finally:
                os.close(fd)
        except OSError:
            return False
        self.whole = True
        return True

    def give(self) -> bool:
        """Frees a part for the next write; False when nothing is left."""
        self.whole = False
        try:
            left = self._path.stat().st_size
            if left == 0:
                return False
            os.truncate(self._path, max(0, left - STEP_BYTES))
        except OSError:
            return False
        return True

    def release(self) -> None:
        """Frees all of it: a ledger that is closed writes nothing."""
        self.whole = False
        with contextlib.suppress(OSError):
            self._path.unlink()
