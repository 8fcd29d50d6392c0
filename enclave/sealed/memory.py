"""Sealed memory: decrypted bytes live in a memfd that nobody can change any more, and nowhere else (S4.5).

Source: memfd_create(2), fcntl(2) "File Sealing". Filled by ``pwrite`` (faster than a mapping, and sealing cannot
fail with EBUSY as it would beside a live writable mapping).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable

from enclave.runtime.memory import new_memory

Put = Callable[[memoryview], None]
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def sealed_memory(size_bytes: int, *, fill: Callable[[Put], object]) -> int:
    """A sealed memfd with what ``fill`` puts into it, piece by piece; the descriptor is the caller's.

    When ``fill`` raises, the memory is given back and nothing is left of it. ``size_bytes`` reserves the size;
    the result has exactly as many bytes as were put.
    """
    fd = new_memory("enclave")
    try:
        os.ftruncate(fd, size_bytes)
        at = 0

        def put(piece: memoryview) -> None:
            nonlocal at
            while piece:
                done = os.pwrite(fd, piece, at)
                at, piece = at + done, piece[done:]

        fill(put)
        os.ftruncate(fd, at)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd


def fresh_readonly(fd: int) -> int:
    """A new read-only open file description of the same memory, to be handed out: own offset, no way to write."""
    return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
