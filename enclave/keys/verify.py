"""The public side of ``sign``: whoever holds the public half can check."""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from enclave.keys.files import read_public_half
from enclave.keys.uri import open_by_scheme, path_of


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


def public_half_of(uri: str) -> bytes:
    """The public half (32 bytes) of the signing key at ``uri``, without its secret or PIN.

    For ``file:`` it is the ``.pub`` beside the key. Raises ``InvalidError`` for an unknown scheme, else as
    ``read_public`` and ``TokenSigner``.
    """
    return open_by_scheme(uri, {"file": _beside, "pkcs11": _on_token}, purpose="signing")


def _beside(uri: str) -> bytes:
    return read_public(path_of(uri).with_suffix(".pub"))


def _on_token(uri: str) -> bytes:
    from enclave.keys.token import token_public_half  # the library is loaded by who has a token

    return token_public_half(uri)
