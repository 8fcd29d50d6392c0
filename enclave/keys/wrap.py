"""Wrapping: a secret goes in under the public half of the key-encryption key; this half cannot take it out again."""

from __future__ import annotations

from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from enclave.core.secret import Secret
from enclave.keys.files import read_public_half
from enclave.keys.uri import open_by_scheme, path_of
from enclave.keys.wrapped import FORMAT, SUITE, info_for, key_id


class Wrapper(Protocol):
    """Wraps under one key-encryption key."""

    def wrap(self, secret: Secret, *, context: bytes) -> bytes:
        """``secret`` for whoever holds the private half, usable only with the same ``context``."""
        ...


def open_wrapper(uri: str) -> Wrapper:
    """The wrapper of a ``.pub`` file at ``uri``; raises ``InvalidError`` for an unknown scheme."""
    return open_by_scheme(uri, {"file": _FileWrapper}, purpose="wrapping")


class _FileWrapper:
    def __init__(self, uri: str) -> None:
        self._public = read_public_half(path_of(uri), kind="x25519-public")

    def wrap(self, secret: Secret, *, context: bytes) -> bytes:
        key = X25519PublicKey.from_public_bytes(self._public)
        return FORMAT + key_id(self._public) + SUITE.encrypt(secret.reveal(), key, info=info_for(context))
