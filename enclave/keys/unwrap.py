"""Unwrapping: only the process that holds the private half of the key-encryption key can do it.

Who may import this module is held by an import contract: ``sealed.reader``, ``audit.daemon``, ``reidentification``.
"""

from __future__ import annotations

from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from enclave.core.errors import IntegrityError
from enclave.core.secret import Secret
from enclave.keys.files import read_secret
from enclave.keys.uri import open_by_scheme, path_of
from enclave.keys.wrapped import FORMAT, KEY_ID_BYTES, SUITE, info_for, key_id


class Unwrapper(Protocol):
    """Unwraps what was wrapped under one key-encryption key."""

    def unwrap(self, wrapped: bytes, *, context: bytes) -> Secret:
        """The secret; raises ``IntegrityError`` for another key, another context or changed bytes."""
        ...


def open_unwrapper(uri: str) -> Unwrapper:
    """The unwrapper of the private key at ``uri``; raises ``InvalidError`` for an unknown scheme."""
    return open_by_scheme(uri, {"file": _FileUnwrapper}, purpose="unwrapping")


class _FileUnwrapper:
    def __init__(self, uri: str) -> None:
        secret = read_secret(path_of(uri), kind="x25519")
        self._key = X25519PrivateKey.from_private_bytes(secret.reveal())
        self._id = key_id(self._key.public_key().public_bytes_raw())

    def unwrap(self, wrapped: bytes, *, context: bytes) -> Secret:
        head = len(FORMAT) + KEY_ID_BYTES
        if wrapped[: len(FORMAT)] != FORMAT or wrapped[len(FORMAT) : head] != self._id:
            raise IntegrityError(
                "wrapped key: wanted one wrapped for this key-encryption key, got another one", code="unwrap_other_key"
            )
        try:
            return Secret(SUITE.decrypt(wrapped[head:], self._key, info=info_for(context)))
        except (InvalidTag, ValueError):
            raise IntegrityError(
                "wrapped key: wanted the bytes and the purpose it was wrapped for, got others", code="unwrap_failed"
            ) from None
