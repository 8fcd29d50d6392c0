"""Event kinds as data: ``kinds/*.toml``, one file per writing service, read once.

An event whose kind is unknown, or whose detail holds a key or a type that the kind does not name, is refused
where it is made. So the ledger can hold nothing that nobody declared.
"""

from __future__ import annotations

import functools
import importlib.resources
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from enclave.audit.event import Event
from enclave.core.errors import InvalidError

_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list, tuple),
    "object": (dict,),
}
_KEYS = {"what", "writer", "detail", "class"}
CLASSES = ("ordinary", "control", "refusal")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of event: what it says, which process writes it, the JSON types of its detail.

    ``kind_class`` decides what a full disk or a flood does to it: *control* and *refusal* are written from reserved
    space, *control* is never counted against a quota.
    """

    name: str
    what: str
    writer: str
    detail: Mapping[str, str] = field(default_factory=dict)
    kind_class: str = "ordinary"


@functools.cache
def known_kinds() -> Mapping[str, Kind]:
    """Every declared kind by name; raises ``InvalidError`` when a file is malformed or two files declare one kind."""
    found: dict[str, Kind] = {}
    folder = importlib.resources.files("enclave.audit") / "kinds"
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if not file.name.endswith(".toml"):
            continue
        for kind in parse_kinds(file.read_text("utf-8"), where=file.name):
            if kind.name in found:
                raise InvalidError(f"event kinds: wanted one declaration of {kind.name}, got a second in {file.name}")
            found[kind.name] = kind
    return MappingProxyType(found)


def parse_kinds(text: str, *, where: str) -> list[Kind]:
    """The kinds declared in one file; raises ``InvalidError`` naming file and kind."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidError(f"event kinds {where}: wanted TOML, got a syntax error: {error}") from None
    return [_kind(name, table, where) for name, table in document.items()]


def _kind(name: str, table: Any, where: str) -> Kind:
    if not isinstance(table, dict) or not set(table) <= _KEYS or not {"what", "writer"} <= set(table):
        raise InvalidError(f"event kinds {where}: wanted what, writer and detail for {name}, got other keys")
    detail = table.get("detail", {})
    if not isinstance(detail, dict) or not set(detail.values()) <= set(_TYPES):
        raise InvalidError(f"event kinds {where}: wanted JSON type names in the detail of {name}, got something else")
    kind_class = table.get("class", "ordinary")
    if kind_class not in CLASSES:
        raise InvalidError(f"event kinds {where}: wanted ordinary, control or refusal as class of {name}, got another")
    return Kind(name, str(table["what"]), str(table["writer"]), MappingProxyType(detail), kind_class)


def class_of(kind: str, outcome: str) -> str:
    """The class of one event: that of its kind, but any refusal counts as one."""
    declared = known_kinds()[kind].kind_class
    return "refusal" if declared == "ordinary" and outcome == "refused" else declared


def check_kind(event: Event) -> Event:
    """Raises ``InvalidError`` unless the event's kind is declared and its detail is what the kind names."""
    kind = known_kinds().get(event.kind)
    if kind is None:
        raise InvalidError(f"event kind {event.kind}: wanted a declared one, got none; add it to audit/kinds/")
    if detail_fits(kind, event.detail):
        return event
    for key, value in event.detail.items():
        wanted = kind.detail.get(key)
        if wanted is None:
            raise InvalidError(f"event {event.kind}: wanted declared detail keys only, got one that is not")
        if not isinstance(value, _TYPES[wanted]) or (isinstance(value, bool) and wanted != "boolean"):
            raise InvalidError(f"event {event.kind}: wanted {wanted} for detail {key}, got {type(value).__name__}")
    return event


def detail_fits(kind: Kind, detail: Mapping[str, Any]) -> bool:
    """Whether every key is one that the kind names, of its type."""
    for key, value in detail.items():
        wanted = kind.detail.get(key)
        if (
            wanted is None
            or not isinstance(value, _TYPES[wanted])
            or (value is True or value is False) != (wanted == "boolean")
        ):
            return False
    return True
