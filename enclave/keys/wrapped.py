"""What a wrapped key looks like, so that both halves agree.

HPKE base mode (RFC 9180): DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM, with the caller's context in
``info``. Bytes: ``01``, eight bytes that name the wrapping key (SHA-256 of its public half), then enc and ciphertext.
"""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
FORMAT = b"\x01"
KEY_ID_BYTES = 8
_INFO = b"enclave wrapped key v1\x00"


def key_id(public: bytes) -> bytes:
    """Eight bytes that name a wrapping key without saying anything about it."""
    return hashlib.sha256(public).digest()[:KEY_ID_BYTES]


def info_for(context: bytes) -> bytes:
    """HPKE's ``info``: what the secret is for. Another context, another key schedule: it cannot be unwrapped."""
    return _INFO + context
