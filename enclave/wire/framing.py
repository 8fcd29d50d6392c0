"""The frame of the wire, as the kernel package defines it: both ends run the same code."""

from __future__ import annotations

from enclave_kernel.wire import (
    MAX_DESCRIPTORS,
    MAX_FRAME_BYTES,
    VERSION,
    WireError,
    decode,
    encode,
    receive_frame,
    send_encoded,
    send_frame,
)

__all__ = [
    "MAX_DESCRIPTORS",
    "MAX_FRAME_BYTES",
    "VERSION",
    "WireError",
    "decode",
    "encode",
    "receive_frame",
    "send_encoded",
    "send_frame",
]
