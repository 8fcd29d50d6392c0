"""A page of memory that one process writes and others can only read: what they must know at any moment, without asking.

Its owner maps it first and then seals it against every other writable mapping, every write and every change of size
(fcntl(2): F_SEAL_FUTURE_WRITE, Linux 5.1). Who gets the descriptor can read and do no more, and nobody can make a
reader fault by taking the memory away (SIGBUS).

The page holds one value and a check over its name and that value. Who looks while the owner writes finds a check that
does not fit and looks again: a part of two values is never taken for one.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import re
import time
import weakref
from typing import Final

from enclave.core.errors import InvalidError, UnavailableError
from enclave.runtime.memory import new_memory

PAGE_BYTES: Final = mmap.PAGESIZE
VALUE_BYTES: Final = 32
LOOK_S: Final = 0.05  # how long a reader looks for a whole value; an owner takes less than a microsecond to write one
_CHECK_BYTES: Final = 16
_PAUSE_S: Final = 0.0005
_NOTHING: Final = bytes(VALUE_BYTES)
_CELL: Final = re.compile(rb"[0-9a-f]{32}")
# linux/fcntl.h; the standard library does not name these two
_SEAL_FUTURE_WRITE: Final = 0x0010
_SEAL_EXEC: Final = 0x0020
_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | _SEAL_FUTURE_WRITE


class _Page:
    """The owner's end. To be written by one thread at a time."""

    def __init__(self, name: str) -> None:
        self._name = name
        try:
            self._fd = new_memory("enclave-page")
            weakref.finalize(self, os.close, self._fd)
            os.ftruncate(self._fd, PAGE_BYTES)
            self._map = mmap.mmap(self._fd, PAGE_BYTES, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
            self._map.madvise(mmap.MADV_DONTFORK)
            self._write(_NOTHING)
            fcntl.fcntl(self._fd, fcntl.F_ADD_SEALS, _SEALS)
        except OSError as error:
            words = f"shared page: wanted sealed memory, got {error.strerror}; Linux 5.1 or newer has it"
            raise UnavailableError(words, code="no_memory") from None

    def descriptor(self) -> int:
        """One to be sent to who may read; the caller closes it."""
        return os.dup(self._fd)

    def _write(self, value: bytes) -> None:
        self._map[: VALUE_BYTES + _CHECK_BYTES] = value + _check(self._name, value)


class _View:
    """A reader's end. ``descriptor`` stays the caller's; raises ``InvalidError`` unless it is a page with all seals."""

    def __init__(self, descriptor: int, *, name: str) -> None:
        self._name = name
        try:
            seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & ~_SEAL_EXEC
            size_bytes = os.fstat(descriptor).st_size
            if seals != _SEALS or size_bytes != PAGE_BYTES:
                raise ValueError
            self._map = mmap.mmap(descriptor, PAGE_BYTES, mmap.MAP_SHARED, mmap.PROT_READ)
        except (OSError, ValueError):
            words = "shared page: wanted sealed memory of one page, got something else"
            raise InvalidError(words, code="page_not_sealed") from None

    def _read(self) -> bytes:
        """The value; raises ``UnavailableError`` when there is no whole one of this name."""
        end = time.monotonic() + LOOK_S
        while True:
            record = self._map[: VALUE_BYTES + _CHECK_BYTES]
            value = record[:VALUE_BYTES]
            if record[VALUE_BYTES:] == _check(self._name, value):
                return value
            if time.monotonic() >= end:
                words = "shared page: wanted a whole value under its name, got none; wait a moment and try again"
                raise UnavailableError(words, code="page_torn")
            time.sleep(_PAUSE_S)


class ExecutionPage(_Page):
    """On which the tap says what runs in its kernel; at first that nothing does."""

    def __init__(self, kernel: str) -> None:
        super().__init__(_execution(kernel))

    def show(self, cell: str | None) -> None:
        """From now on ``cell`` runs (32 hex digits), or nothing; raises ``InvalidError`` for what is no such id."""
        value = _NOTHING if cell is None else cell.encode("utf-8", "replace")
        if cell is not None and not _CELL.fullmatch(value):
            raise InvalidError("execution: wanted an id of 32 hex digits, got another text")
        self._write(value)


class ExecutionView(_View):
    """The same as broker and airlock see it."""

    def __init__(self, descriptor: int, *, kernel: str) -> None:
        super().__init__(descriptor, name=_execution(kernel))

    def running(self) -> str | None:
        """What runs now; None: nothing. Raises ``UnavailableError`` when that cannot be read."""
        value = self._read()
        if value != _NOTHING and not _CELL.fullmatch(value):
            raise execution_unknown()
        return None if value == _NOTHING else value.decode("ascii")


class ChangePage(_Page):
    """On which the broker says how often a kernel's leases have changed; at first 0."""

    def __init__(self, kernel: str) -> None:
        super().__init__(_change(kernel))

    def tell(self, change: int) -> None:
        """From now on it is ``change``."""
        self._write(change.to_bytes(VALUE_BYTES, "big"))


class ChangeView(_View):
    """The same as the tap sees it."""

    def __init__(self, descriptor: int, *, kernel: str) -> None:
        super().__init__(descriptor, name=_change(kernel))

    def change(self) -> int:
        """How often by now; raises ``UnavailableError`` when that cannot be read."""
        return int.from_bytes(self._read(), "big")


def execution_unknown() -> UnavailableError:
    """What a kernel hears as long as its tap has not said what runs in it."""
    return UnavailableError(
        "kernel: wanted the word of its tap for what runs, got none; wait a moment and try again",
        code="execution_unknown",
    )


def _execution(kernel: str) -> str:
    return f"execution {kernel}"


def _change(kernel: str) -> str:
    return f"leases {kernel}"


def _check(name: str, value: bytes) -> bytes:
    return hashlib.blake2b(value, digest_size=_CHECK_BYTES, key=name.encode("utf-8")[:64]).digest()
