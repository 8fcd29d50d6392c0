"""Memory without a name in any folder, which its owner can seal (memfd_create(2))."""

from __future__ import annotations

import os

_MFD_NOEXEC_SEAL = 0x0008  # Linux 6.3: can never be made executable; older kernels say EINVAL


def new_memory(name: str) -> int:
    """A new memfd that takes seals and that no program inherits; the descriptor is the caller's.

    Raises ``OSError``. ``name`` shows in ``/proc`` only.
    """
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create(name, flags | _MFD_NOEXEC_SEAL)
    except OSError:
        return os.memfd_create(name, flags)
