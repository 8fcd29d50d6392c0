"""Values as they are written again: text in the character set that we declare, or nothing at all. Pure."""

from __future__ import annotations

from enclave.deid.actions import BINARY_VRS
from enclave.deid.tree import NUMBER_FORMS, Field, Node, texts


def empty(field: Field) -> Field:
    """The same element without a value."""
    return (field[0], []) if field[0] == "SQ" else (field[0], b"")


def joined(values: list[str]) -> bytes:
    """Several values of one element; no bytes when all of them are empty."""
    return "\\".join(values).encode("utf-8", "replace") if any(values) else b""


def as_utf_8(node: Node, field: Field) -> Field:
    """The same text in UTF-8; what is ASCII stays the same bytes."""
    vr, value = field
    if isinstance(value, bytes) and (
        vr in BINARY_VRS or vr in NUMBER_FORMS or (value.isascii() and b"\x1b" not in value)
    ):
        return field
    return vr, joined(texts(field, node=node))
