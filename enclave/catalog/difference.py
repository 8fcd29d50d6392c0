"""What is another in a version than in the one before it, as the release desk shows it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from enclave.wire.messages.schema import Json

SECTIONS: Final = ("counts", "column_roles", "deidentification", "methods", "results", "quality", "recipe")
_SKIPPED: Final = ("deidentification.actions", "deidentification.private_removed", "results.profile")
_MOST: Final = 60  # as many as somebody reads; the rest is counted


@dataclass(frozen=True, slots=True)
class Change:
    """One statement about the two versions; '' where a version does not make it."""

    name: str
    before: str
    after: str


def difference(before: Json, after: Json) -> tuple[Change, ...]:
    """What the summaries say differently, by name; at most sixty rows, then one that counts the others."""
    old, new = dict(_leaves(before)), dict(_leaves(after))
    names = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
    rows = tuple(Change(name, old.get(name, ""), new.get(name, "")) for name in names[:_MOST])
    rest = len(names) - len(rows)
    return (*rows, Change("further differences", "", str(rest))) if rest else rows


def _leaves(summary: Json) -> Iterator[tuple[str, str]]:
    sections = summary if isinstance(summary, dict) else {}
    for section in SECTIONS:
        if section in sections:
            yield from _named(section, sections[section])


def _named(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if name in _SKIPPED:
        return
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _named(f"{name}.{key}", item)
    elif isinstance(value, list):
        yield name, ", ".join(str(item) for item in value[:40])
    elif value is not None:
        yield name, f"{value:.6g}" if isinstance(value, float) else str(value)
