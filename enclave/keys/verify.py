"""The public side of ``sign``: whoever holds the public half can check."""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from enclave.keys.files import read_public_half


def verify_ed25519(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether ``signature`` is over exactly ``message`` by the owner of ``public`` (RFC 8032); never raises."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def read_public(path: Path) -> bytes:
    """The Ed25519 public half in a ``.pub`` file, 32 bytes; errors as ``files.read_secret``."""
    return read_public_half(path, kind="ed25519-public")
