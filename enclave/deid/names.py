"""Pseudonyms under a key, and the forms in which a name or a number is found again in text. Pure."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import re
import unicodedata
from collections.abc import Iterable

# Parts of names that are words of every text, too: titles, particles, suffixes.
_COMMON = frozenset(
    {
        *("dr", "prof", "md", "phd", "mr", "mrs", "ms", "miss", "sir", "jr", "sr", "ii", "iii", "iv"),
        *("van", "von", "der", "den", "del", "dos", "das", "bin", "ibn", "the", "and"),
        *("de", "la", "le", "el", "al", "di", "da"),
    }
)
MIN_NAME_PART = 3
MIN_PIECE = 5
_NOT_WORD = re.compile(r"[^0-9a-z]+")


def pseudonym(value: str, *, key: bytes, prefix: str, length: int = 14) -> str:
    """``prefix`` and ``length`` base32 characters of HMAC-SHA-256: five bits each, safe in paths and SH values."""
    digest = hmac.new(key, value.encode("utf-8", "surrogateescape"), hashlib.sha256).digest()
    return prefix + base64.b32encode(digest).decode("ascii")[:length]


@functools.lru_cache(maxsize=65_536)
def fold(text: str) -> str:
    """Lower case without diacritics, each run of other characters one space: how texts are compared.

    Letters outside of Latin stay themselves and count as letters.
    """
    if text.isascii():
        return " ".join(_NOT_WORD.sub(" ", text.lower()).split())
    plain = unicodedata.normalize("NFKD", text).casefold()
    kept = "".join(char if char.isalnum() else " " for char in plain if not unicodedata.combining(char))
    return " ".join(kept.split())


def squeeze(text: str) -> str:
    """As ``fold``, without the spaces: finds numbers however they are hyphenated."""
    return fold(text).replace(" ", "")


def name_parts(name: str) -> frozenset[str]:
    """The parts of a person's name that identify: folded, at least three characters, no titles."""
    return frozenset(part for part in fold(name).split() if len(part) >= _least(part) and part not in _COMMON)


def _least(part: str) -> int:
    return MIN_NAME_PART if part.isascii() else 1  # one character of Han is a surname


def own_parts(name: str) -> frozenset[str]:
    """The parts of a patient's name that go from that patient's texts: two letters are enough, titles stay."""
    return frozenset(part for part in fold(name).split() if len(part) > 1 and part not in _COMMON)


def name_initials(name: str) -> frozenset[str]:
    """The two and three letters that a person signs with: given name, middle name and family name, in both orders."""
    parts = [part for part in fold(name).split() if part not in _COMMON]
    if len(parts) < 2:
        return frozenset()
    family, *given = (part[0] for part in parts)
    letters = "".join(given[:2])
    return frozenset({letters + family, family + letters, given[0] + family, family + given[0]})


def number_forms(identifier: str) -> frozenset[str]:
    """Squeezed forms of a number or code that identify: itself, its digits, their last six; at least five long."""
    whole = squeeze(identifier)
    digits = re.sub(r"\D", "", whole)
    forms = {whole, digits, digits[-6:] if len(digits) >= 7 else ""}
    return frozenset(form for form in forms if len(form) >= MIN_PIECE and len(set(form)) > 1)


def folded_set(values: Iterable[str]) -> frozenset[str]:
    """All of ``values`` folded, empty ones left out."""
    return frozenset(folded for folded in map(fold, values) if folded)
