"""Canonical JSON: one byte string per value, so that a hash of it means something.

Keys sorted by code point, no white space, UTF-8, no NaN or infinity, no duplicate keys.
Subset of RFC 8785: numbers are Python's shortest representation.
"""

from __future__ import annotations

import hashlib
import json
import json.encoder
import math
from collections.abc import Callable
from typing import Any

from enclave.core.errors import InvalidError

JsonValue = Any  # None, bool, int, float, str, list and str-keyed dict of the same


def _spelling() -> Callable[[JsonValue], str]:
    """What spells a value: made once, for json.dumps makes an encoder for each call and JSONEncoder.encode one inside.

    The inner one is the encoder that JSONEncoder itself makes on CPython, given the same; elsewhere that one is used.
    """
    form = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return form.encode
    spell = json.encoder.encode_basestring
    parts = make(None, form.default, spell, None, ":", ",", True, False, False)  # noqa: FBT003 - it takes them so
    return lambda value: "".join(parts(value, 0))


_spell = _spelling()


def canonical_bytes(value: JsonValue) -> bytes:
    """The one encoding of ``value``; raises ``InvalidError`` for what JSON cannot hold."""
    try:
        return _spell(value).encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidError(
            f"canonical JSON: wanted JSON values, got {type(error).__name__}; convert the value first"
        ) from None


def parse_canonical(data: bytes) -> JsonValue:
    """The value of ``data``; refuses every second spelling of the same value."""
    value = parse_json(data)
    if canonical_bytes(value) != data:
        raise InvalidError("canonical JSON: wanted the canonical spelling, got another one")
    return value


def parse_json(data: bytes | str) -> JsonValue:
    """Strict JSON from outside: duplicate keys, NaN and deep nesting are errors."""
    try:
        return json.loads(data, object_pairs_hook=_no_duplicates, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError, UnicodeDecodeError):
        raise InvalidError("JSON: wanted a well-formed document without duplicate keys, got something else") from None


def digest_hex(value: JsonValue) -> str:
    """SHA-256 over the canonical bytes, in hex."""
    return hashlib.sha256(canonical_bytes(value)).hexdigest()


def _no_duplicates(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("duplicate key")
    return result


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("beyond the numbers of JSON")
    return value


def _no_constant(_name: str) -> JsonValue:
    raise ValueError("not a JSON number")
