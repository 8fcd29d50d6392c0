"""Which type an attribute has in the IOD of a SOP class, from ``standard/attribute_types.csv``."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files

from enclave.deid.actions import ABSENT, TYPES, UNKNOWN

TOP = 0  # stands for the sequence above an attribute that is in none
Types = Mapping[int, Mapping[int, str]]  # the sequence above, the attribute, its type


@dataclass(frozen=True, slots=True)
class Iod:
    """The attribute types of one IOD, the strictest of all its modules; ``whole`` when all of those are known."""

    name: str
    types: Types = field(repr=False)
    whole: bool = True

    def type_of(self, tag: int, *, sequence: int = TOP) -> str:
        """``1`` to ``3``, ``absent``, or ``unknown``; of an item's attribute by the sequence that it stands in.

        A sequence that the IOD does not define is judged as the other IODs define it: its macro is the same.
        """
        inside = self.types.get(sequence)
        if inside is None:
            inside = macros().get(sequence)
            return inside.get(tag, ABSENT) if inside is not None else UNKNOWN
        return inside.get(tag, ABSENT if self.whole else UNKNOWN)


@dataclass(frozen=True, slots=True)
class _Facts:
    edition: str
    classes: Mapping[str, str]
    iods: Mapping[str, tuple[bool, tuple[str, ...]]]
    modules: Mapping[str, tuple[str, ...]]
    blocks: Mapping[str, tuple[str, str]]


def types_edition() -> str:
    """The edition of PS3.3 that the types are of, such as ``2026b``."""
    return _facts().edition


def iod_names() -> Mapping[str, str]:
    """The name of its IOD for each storage SOP class that is known, by UID."""
    return _facts().classes


def iod_of(sop_class: str) -> Iod | None:
    """The IOD of a SOP class; None for a retired one, a private one, and one that is newer than our facts."""
    name = _facts().classes.get(sop_class)
    return _iod(name) if name is not None else None


@functools.cache
def macros() -> Types:
    """The types inside of each sequence over all IODs, the strictest first."""
    return _merged(text for text in _facts().blocks.values() if text[0] != "top")


class _ByTag(dict[int, Counter[str]]):
    """Counts per attribute; ``elsewhere`` is the count of one that stands nowhere."""

    def __init__(self, elsewhere: Mapping[str, int]) -> None:
        super().__init__()
        self._elsewhere = elsewhere

    def __missing__(self, tag: int) -> Counter[str]:
        return Counter(self._elsewhere)


@functools.cache
def top_types() -> Mapping[int, Counter[str]]:
    """For each attribute how many SOP classes have it as which type at their top level, ``absent`` ones counted too."""
    classes = Counter(iod_names().values())
    elsewhere = Counter(dict.fromkeys((ABSENT, UNKNOWN), 0))
    for name, count in classes.items():
        elsewhere[ABSENT if _iod(name).whole else UNKNOWN] += count
    found = _ByTag(elsewhere)
    for name, count in classes.items():
        for tag, kind in _iod(name).types[TOP].items():
            counted = found.setdefault(tag, found[tag])
            counted[kind] += count
            counted[ABSENT if _iod(name).whole else UNKNOWN] -= count
    return found


@functools.cache
def item_types() -> Mapping[int, Counter[str]]:
    """For each attribute in how many sequences it has which type."""
    found = _ByTag({})
    for types in macros().values():
        for tag, kind in types.items():
            found.setdefault(tag, found[tag])[kind] += 1
    return found


@functools.cache
def _iod(name: str) -> Iod:
    facts = _facts()
    whole, modules = facts.iods[name]
    return Iod(name, _merged(facts.blocks[number] for module in modules for number in facts.modules[module]), whole)


def _merged(blocks: Iterable[tuple[str, str]]) -> Types:
    found: dict[int, dict[int, str]] = {}
    for sequence, text in blocks:
        inside = found.setdefault(TOP if sequence == "top" else int(sequence, 16), {})
        for part in text.split():
            kind, _, tags = part.partition(":")
            for tag in tags.split(","):
                number = int(tag, 16)
                inside[number] = min(inside.get(number, ABSENT), kind, key=TYPES.index)
    return found


@functools.cache
def _facts() -> _Facts:
    text = files("enclave.deid").joinpath("standard/attribute_types.csv").read_text("utf-8")
    edition = ""
    classes: dict[str, str] = {}
    iods: dict[str, tuple[bool, tuple[str, ...]]] = {}
    modules: dict[str, tuple[str, ...]] = {}
    blocks: dict[str, tuple[str, str]] = {}
    for line in text.splitlines():
        kind, _, rest = line.partition(";")
        name, _, rest = rest.partition(";")
        match kind:
            case "edition":
                edition = name
            case "class":
                classes[name] = rest
            case "iod":
                whole, _, parts = rest.partition(";")
                iods[name] = (whole == "whole", tuple(parts.split()))
            case "module":
                modules[name] = tuple(rest.split())
            case "block":
                sequence, _, types = rest.partition(";")
                blocks[name] = (sequence, types)
    return _Facts(edition, classes, iods, modules, blocks)
