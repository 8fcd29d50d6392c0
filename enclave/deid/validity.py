"""Which values that the IOD wants an object has: what was there before cleaning must be there after it."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from enclave.deid.actions import BINARY_VRS
from enclave.deid.decoding import items_of
from enclave.deid.pixel_data import PIXEL_TAGS
from enclave.deid.places import Place, Places
from enclave.deid.tree import BROKEN, Field, Node, numbers, texts

# Wanted of every object, whatever its IOD; those of images as far as they are there.
_ALWAYS = frozenset({
    0x00080016, 0x00080018, 0x00080060, 0x0020000D, 0x0020000E,
    0x00280002, 0x00280004, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102, 0x00280103,
})  # fmt: skip
_SET_ANEW = frozenset({*PIXEL_TAGS, 0x00080005, 0x00120062, 0x00120063, 0x00120064, 0x00280303})
_SOP_CLASS = 0x00080016
_REPEATING = frozenset({0x50, 0x60})  # curves and overlays go as whole modules
_DECIMAL = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*")
_BINARY_NUMBERS = frozenset({"US", "SS", "UL", "SL", "UV", "SV", "FL", "FD", "AT"})
Path = tuple[int, ...]  # the sequences above, then the attribute


@dataclass(frozen=True, slots=True)
class Mandatory:
    """How often each attribute of type 1 or 1C has a value, and how many items each sequence has."""

    values: Counter[Path]
    items: Counter[Path]

    def lost(self, after: Mandatory) -> int:
        """How many attributes have fewer values ``after``, in places that are still there."""
        return sum(
            after.values[path] < count
            for path, count in self.values.items()
            if len(path) == 1 or after.items[path[:-1]]
        )


def mandatory_values(tree: Node, *, places: Places) -> Mandatory:
    """Counts over a whole object. A number that is none, or has another representation, is no value."""
    found = Mandatory(Counter(), Counter())
    if _SOP_CLASS in tree:
        _count(tree, places.top("".join(texts(tree[_SOP_CLASS], node=tree))), (), found)
    return found


def _count(node: Node, place: Place, above: Path, found: Mandatory) -> None:
    for tag, field in node.items():
        if tag >> 16 & 1 or tag >> 24 in _REPEATING or tag in _SET_ANEW or field[0] == BROKEN:
            continue
        path = (*above, tag)
        if (place[tag, field[0]].needed or (not above and tag in _ALWAYS)) and _has_value(field, node):
            found.values[path] += 1
        if field[0] == "SQ":
            items = items_of(field) or []
            found.items[path] += len(items)
            inside = place.within(tag)
            for item in items:
                _count(item, inside, path, found)


def _has_value(field: Field, node: Node) -> bool:
    vr, value = field
    if vr == "SQ":
        return bool(items_of(field))
    if vr in BINARY_VRS:
        return bool(value)
    if vr in _BINARY_NUMBERS:
        return bool(numbers(field, little=node.little))
    found = texts(field, node=node)
    return bool(found) and (vr not in ("DS", "IS") or all(map(_DECIMAL.fullmatch, found)))
