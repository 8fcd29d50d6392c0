"""Ed25519 signatures (RFC 8032) by a key that stays with its provider."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from enclave.core.secret import Secret
from enclave.keys.files import read_secret
from enclave.keys.uri import open_by_scheme, path_of


class Signer(Protocol):
    """Signs with one key."""

    @property
    def public_key(self) -> bytes:
        """The public half, 32 bytes."""
        ...

    def sign(self, message: bytes) -> bytes:
        """The signature over ``message``, 64 bytes."""
        ...


def open_signer(uri: str, *, ask_pin: Callable[[], Secret] | None = None) -> Signer:
    """The signer of the key at ``uri``: a file, or a token (RFC 7512), whose PIN ``ask_pin`` gives when no file does.

    Raises ``InvalidError`` for an unknown scheme, else as ``read_secret`` and ``TokenSigner``.
    """
    return open_by_scheme(uri, {"file": _FileSigner, "pkcs11": lambda at: _on_token(at, ask_pin)}, purpose="signing")


def _on_token(uri: str, ask_pin: Callable[[], Secret] | None) -> Signer:
    from enclave.keys.token import TokenSigner  # the library is loaded by who has a token

    return TokenSigner(uri, ask_pin)


class _FileSigner:
    def __init__(self, uri: str) -> None:
        secret = read_secret(path_of(uri), kind="ed25519")
        self._key = Ed25519PrivateKey.from_private_bytes(secret.reveal())
        self._public = self._key.public_key().public_bytes_raw()

    @property
    def public_key(self) -> bytes:
        return self._public

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)
