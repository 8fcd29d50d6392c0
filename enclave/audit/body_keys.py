"""A key for the bodies of each month, so that their destruction can be made final: ``body-keys/YYYY-MM``, sealed under
the ledger's body key.

A body says which month's key it is under. When the last body of a month is gone its key goes too, and then no copy of
the bodies' files, however old, can be read any more; that is why backups of ``body-keys`` must be short-lived.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import threading
from pathlib import Path

from enclave.audit.tiles import write_file
from enclave.core.clock import Clock
from enclave.core.errors import IntegrityError, UnavailableError
from enclave.core.secret import Secret
from enclave.keys.box import Box, box_of
from enclave.keys.files import KEY_BYTES
from enclave.runtime.durable import sync_folder
from enclave.runtime.home import ensure_private_dir

_FORMAT = b"\x02"  # a box of the base key itself begins with 01
_MONTH = re.compile(rb"[0-9]{4}-[0-9]{2}")
_MONTH_BYTES = 7


class BodyKeys:
    """Seals under this month's key, opens under the key that a body names. Thread-safe."""

    def __init__(self, folder: Path, *, base: Box, clock: Clock) -> None:
        self._folder, self._base, self._clock = folder, base, clock
        self._boxes: dict[bytes, Box] = {}
        self._guard = threading.Lock()

    def seal(self, data: bytes, *, context: bytes) -> bytes:
        """As ``Box.seal``; raises ``UnavailableError`` when a new month's key cannot be kept."""
        month = self._clock.now().strftime("%Y-%m").encode()
        return _FORMAT + month + self._box(month, make=True).seal(data, context=context + month)

    def open(self, sealed: bytes, *, context: bytes) -> bytes:
        """As ``Box.open``; a body whose key was destroyed raises ``IntegrityError``."""
        month = month_of(sealed)
        if month is None:
            return self._base.open(sealed, context=context)
        return self._box(month, make=False).open(sealed[1 + _MONTH_BYTES :], context=context + month)

    def months(self) -> set[bytes]:
        """The months that have a key."""
        with contextlib.suppress(FileNotFoundError):
            return {path.name.encode() for path in self._folder.iterdir() if _MONTH.fullmatch(path.name.encode())}
        return set()

    def destroy(self, month: bytes) -> None:
        """Overwrites and removes one month's key; nothing under it can be opened again."""
        with self._guard:
            self._boxes.pop(month, None)
            erase(self._folder / month.decode())

    def _box(self, month: bytes, *, make: bool) -> Box:
        with self._guard:
            found = self._boxes.get(month)
            if found is None:
                found = self._boxes[month] = box_of(Secret(self._read(month, make=make)))
            return found

    def _read(self, month: bytes, *, make: bool) -> bytes:
        path, context = self._folder / month.decode(), b"enclave.audit.body-key:" + month
        try:
            return self._base.open(path.read_bytes(), context=context)
        except FileNotFoundError:
            if not make:
                raise IntegrityError("body: wanted its month's key, got none; it was shredded") from None
        key = secrets.token_bytes(KEY_BYTES)
        try:
            ensure_private_dir(self._folder)
            write_file(path, self._base.seal(key, context=context), durable=True)
        except OSError:
            raise UnavailableError(
                "ledger: wanted to keep a new body key, the disk refused; nothing was done", code="ledger_unavailable"
            ) from None
        return key


def month_of(sealed: bytes) -> bytes | None:
    """The month whose key a body is under; None for an older one, under the ledger's body key itself."""
    month = sealed[1 : 1 + _MONTH_BYTES]
    return month if sealed[:1] == _FORMAT and _MONTH.fullmatch(month) else None


def erase(path: Path) -> None:
    """Overwrites a file's bytes in place, then removes it.

    A disk may keep older blocks all the same (wear levelling, snapshots): that is what the keys are destroyed for.
    """
    with path.open("r+b") as file:
        overwrite(file.fileno())
    path.unlink()
    sync_folder(path.parent)


def overwrite(fd: int) -> None:
    """Zeros over everything that an open file holds, durably."""
    size = os.fstat(fd).st_size
    block = bytes(1 << 20)
    for at in range(0, size, len(block)):
        os.pwrite(fd, block[: size - at], at)
    os.fsync(fd)
