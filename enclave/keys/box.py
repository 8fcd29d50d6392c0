"""Encryption of a process's own state: AES-256-GCM under a key derived afresh for each box.

Bytes: ``01``, 32 bytes of salt, then ciphertext and tag. The key of one box is HKDF-SHA256 over the file key with
that salt, so the number of boxes has no practical bound and the nonce can be constant.
"""

from __future__ import annotations

import secrets
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from enclave.core.errors import IntegrityError
from enclave.core.secret import Secret
from enclave.keys.files import KEY_BYTES, read_symmetric
from enclave.keys.uri import open_by_scheme, path_of

_FORMAT = b"\x01"
_SALT_BYTES = 32
_NONCE = bytes(12)
_INFO = b"enclave box v1"


class Box(Protocol):
    """Seals and opens under one key; ``context`` says what the data are and must be the same both times."""

    def seal(self, data: bytes, *, context: bytes) -> bytes:
        """``data`` encrypted and authenticated together with ``context``."""
        ...

    def open(self, sealed: bytes, *, context: bytes) -> bytes:
        """The data; raises ``IntegrityError`` for another key, another context or changed bytes."""
        ...


def open_box(uri: str) -> Box:
    """The box of the AES-256 key at ``uri``; raises ``InvalidError`` for an unknown scheme."""
    return open_by_scheme(uri, {"file": lambda found: box_of(read_symmetric(path_of(found)))}, purpose="box")


def box_of(key: Secret) -> Box:
    """The box of an AES-256 key that its process holds itself (32 bytes), such as one that another box sealed."""
    return _KeyBox(key)


class _KeyBox:
    def __init__(self, key: Secret) -> None:
        self._key = key

    def seal(self, data: bytes, *, context: bytes) -> bytes:
        salt = secrets.token_bytes(_SALT_BYTES)
        return _FORMAT + salt + _derive(self._key, salt).encrypt(_NONCE, data, _FORMAT + context)

    def open(self, sealed: bytes, *, context: bytes) -> bytes:
        head = len(_FORMAT) + _SALT_BYTES
        if sealed[: len(_FORMAT)] == _FORMAT and len(sealed) >= head:
            try:
                aead = _derive(self._key, sealed[len(_FORMAT) : head])
                return aead.decrypt(_NONCE, sealed[head:], _FORMAT + context)
            except InvalidTag:
                pass
        raise IntegrityError(
            "box: wanted the bytes and the purpose they were sealed for, got others", code="box_damaged"
        )


def _derive(key: Secret, salt: bytes) -> AESGCM:
    return AESGCM(HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=_INFO).derive(key.reveal()))
