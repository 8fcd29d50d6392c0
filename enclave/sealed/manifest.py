"""The list of what a dataset version holds, and the one hash that stands for all of it. Pure.

The content root is the Merkle tree hash (RFC 6962, section 2.1) over the canonical JSON of the object entries in the
order of their names; an entry holds the SHA-256 of the object's plaintext and its header.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, get_args

from enclave.audit.merkle import leaf_hash, tree_root
from enclave.core.canonical import JsonValue, canonical_bytes, parse_canonical
from enclave.core.clock import format_time, parse_time
from enclave.core.errors import IntegrityError, InvalidError
from enclave.core.ids import VersionName

Kind = Literal["table", "series", "document", "review"]
FOLDER_OF_KIND: dict[str, str] = {
    "table": "tables",
    "series": "series",
    "document": "documents",
    "review": "review",
}
_OBJECT = re.compile(r"([a-z]+)/[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_KEYS = {"name", "kind", "size_bytes", "sha256", "header"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectEntry:
    """One object: ``sha256`` (hex) and ``size_bytes`` are of its plaintext."""

    name: str
    kind: str
    size_bytes: int
    sha256: str
    header: JsonValue

    def to_json(self) -> dict[str, JsonValue]:
        """The entry as it is hashed and stored."""
        return {
            "name": self.name,
            "kind": self.kind,
            "size_bytes": self.size_bytes,
            "sha256": self.sha256,
            "header": self.header,
        }


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one immutable version holds; ``entries`` in the order of their names, ``sealed_at`` in RFC 3339."""

    name: VersionName
    entries: tuple[ObjectEntry, ...]
    sealed_at: str

    @property
    def content_root(self) -> str:
        """The Merkle root over the entries, in hex."""
        return tree_root([leaf_hash(canonical_bytes(entry.to_json())) for entry in self.entries]).hex()

    @property
    def size_bytes(self) -> int:
        """Plaintext bytes of all objects together."""
        return sum(entry.size_bytes for entry in self.entries)

    def to_bytes(self) -> bytes:
        """The manifest's canonical JSON."""
        return canonical_bytes(
            {
                "format": 1,
                "dataset": self.name.dataset,
                "version": self.name.version,
                "sealed_at": self.sealed_at,
                "objects": [entry.to_json() for entry in self.entries],
            }
        )


def parse_manifest(data: bytes) -> Manifest:
    """The manifest in ``data``; raises ``IntegrityError`` when it is not one that ``to_bytes`` wrote."""
    try:
        value = parse_canonical(data)
        if set(value) != {"format", "dataset", "version", "sealed_at", "objects"} or value["format"] != 1:
            raise InvalidError("manifest: wanted format 1, got another")
        name = VersionName.parse(f"{value['dataset']}@{value['version']}")
        entries = tuple(_parse_entry(item) for item in value["objects"])
        sealed_at = format_time(parse_time(value["sealed_at"]))
    except (InvalidError, TypeError, AttributeError):
        raise IntegrityError("manifest: wanted a manifest of format 1, got something else") from None
    names = [entry.name for entry in entries]
    if not entries or names != sorted(set(names)):
        raise IntegrityError("manifest: wanted its objects once each and in order, got another list")
    return Manifest(name, entries, sealed_at)


def check_object_name(name: str, *, kind: str) -> None:
    """Raises ``InvalidError`` unless ``name`` is in the folder of its kind, such as ``tables/…`` or ``documents/…``."""
    if kind not in get_args(Kind):
        raise InvalidError("object kind: wanted table, series, document or review, got another word")
    found = _OBJECT.fullmatch(name)
    if found is None or found.group(1) != FOLDER_OF_KIND[kind] or ".." in name:
        raise InvalidError(
            f"object name: wanted {FOLDER_OF_KIND[kind]}/ and letters, digits, dots, dashes (at most 128), got another"
        )


def _parse_entry(item: Any) -> ObjectEntry:
    if set(item) != _KEYS or type(item["size_bytes"]) is not int or item["size_bytes"] < 0:
        raise InvalidError("manifest: wanted an object entry, got something else")
    check_object_name(item["name"], kind=item["kind"])
    if not _SHA256.fullmatch(item["sha256"]):
        raise InvalidError("manifest: wanted a SHA-256 in hex, got something else")
    return ObjectEntry(**item)
