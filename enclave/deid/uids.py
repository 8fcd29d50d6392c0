"""UIDs under a key: the same original gives the same new UID, and nobody without the key can link the two. Pure."""

from __future__ import annotations

import hashlib
import hmac
import re

STANDARD_ROOT = "1.2.840.10008."  # UIDs of the standard itself (PS3.6); they name classes and syntaxes, not instances
_FIXED_BITS = 0xF << 76 | 0x3 << 62  # version and variant of a UUID
_VERSION_8 = 0x8 << 76 | 0x2 << 62
_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")


def map_uid(original: str, *, key: bytes) -> str:
    """``2.25.`` and the decimal of a version 8 UUID made of HMAC-SHA-256 (PS3.5 B.2, RFC 9562 5.8).

    At most 44 characters. UIDs of the standard and empty ones stay as they are. 122 bits are left of the digest:
    among 10^9 instances two meet with a probability below 10^-18.
    """
    text = original.strip(" \0")
    if not text or text.startswith(STANDARD_ROOT):
        return text
    digest = int.from_bytes(hmac.digest(key, text.encode("utf-8", "surrogateescape"), hashlib.sha256)[:16], "big")
    return f"2.25.{digest & ~_FIXED_BITS | _VERSION_8}"


def may_be_uid(text: str) -> bool:
    """Whether ``text`` has the form of a UID (PS3.5 9.1)."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None
