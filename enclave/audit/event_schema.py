"""The event of every kind as one JSON Schema (Draft 2020-12), for who reads the ledger with other tools. Pure."""

from __future__ import annotations

from typing import Any, Final, get_args

from enclave.audit.event import Outcome
from enclave.audit.vocabulary import Kind, known_kinds

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_NEEDED: Final = ("id", "time", "kind", "actor", "outcome", "detail")
_TEXTS: Final = (
    *("time", "actor", "role", "reason", "project", "dataset", "session", "kernel", "cell"),
    *("source", "ticket", "trace"),
)


def event_schema() -> dict[str, Any]:
    """What ``check_event`` and ``check_kind`` take, spelled as JSON: no other kind, no other key of a detail."""
    kinds = sorted(known_kinds().values(), key=lambda kind: kind.name)
    return {
        "$schema": DIALECT,
        "title": "An event of the ledger, as it stands in a record under event",
        "$defs": {"event": _any_event(), **{kind.name: _of_kind(kind) for kind in kinds}},
        "oneOf": [{"$ref": f"#/$defs/{kind.name}"} for kind in kinds],
    }


def _any_event() -> dict[str, Any]:
    properties: dict[str, Any] = {name: {"type": "string"} for name in _TEXTS}
    properties |= {
        "id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
        "kind": {"type": "string"},
        "outcome": {"enum": list(get_args(Outcome))},
        "version": {"type": "integer"},
        "objects": {"type": "array", "items": {"type": "string"}},
        "detail": {"type": "object"},
    }
    return {
        "type": "object",
        "required": list(_NEEDED),
        "properties": dict(sorted(properties.items())),
        "additionalProperties": False,
        "if": {"properties": {"outcome": {"enum": ["refused", "failed"]}}},
        "then": {"required": ["reason"], "properties": {"reason": {"minLength": 1}}},
    }


def _of_kind(kind: Kind) -> dict[str, Any]:
    detail = {name: {"type": wanted} for name, wanted in sorted(kind.detail.items())}
    return {
        "description": f"{kind.what} Written by {kind.writer}; class {kind.kind_class}.",
        "$ref": "#/$defs/event",
        "properties": {
            "kind": {"const": kind.name},
            "detail": {"type": "object", "properties": detail, "additionalProperties": False},
        },
    }
