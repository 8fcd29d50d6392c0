"""Series bytes as arrays."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np


def read_only_array(memory: mmap.mmap | bytes, header: dict[str, Any]) -> np.ndarray[Any, Any]:
    """The array over the mapped bytes, in C order, without a copy; ``array.copy()`` is the way to a writable one."""
    flat = np.frombuffer(memory, dtype=np.dtype(header["dtype"]))
    return flat.reshape(tuple(header["shape"]))
