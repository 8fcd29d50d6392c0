"""Intermediate results: kept sealed for the project, with the limits of the data that they come from."""

from __future__ import annotations

import fcntl
import mmap
import os
from typing import Any

from enclave_kernel.dataset import _lease, _map

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def save(name: str, value: Any) -> str:
    """Keeps bytes, a NumPy array or a DataFrame under ``name`` for this project; says until when.

    It expires with the first dataset that this kernel has opened, and whoever may not open them cannot load it.
    """
    from enclave_kernel_views.kept import parts_of

    kind, header, parts = parts_of(value)
    fd = os.memfd_create("kept", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        for part in parts:
            rest = memoryview(part).cast("B")
            while rest:
                rest = rest[os.write(fd, rest) :]
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
        body = {"name": name, "kind": kind, "header": header}
        reply, _ = _lease.ask("lease.save", body, descriptors=[fd])
    finally:
        os.close(fd)
    return f"kept until {reply['expires'][:10]}"


def load(name: str) -> Any:
    """Gets back what ``save`` kept under ``name``, by any member of the project."""
    from enclave_kernel_views.kept import value_of

    reply, descriptors = _lease.ask("lease.load", {"name": name}, max_descriptors=1)
    try:
        memory: mmap.mmap | bytes = _map(descriptors[0], reply["size_bytes"])
    finally:
        for fd in descriptors:
            os.close(fd)
    return value_of(reply["kind"], reply["header"], memory)
