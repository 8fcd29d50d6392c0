"""Takes over as a tree what pydicom has read: files that break the rules, and large ones."""

from __future__ import annotations

import struct
from collections.abc import MutableMapping
from typing import Any

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

from enclave.deid.reasons import Quarantined
from enclave.deid.tree import (
    AMBIGUOUS,
    BROKEN,
    CHARSET,
    DEFAULT_ENCODINGS,
    MAX_DEPTH,
    NUMBER_FORMS,
    VRS,
    Field,
    Items,
    Node,
    codecs_of,
    creator_of,
    dictionary_vr,
)


def read_tree(dataset: Dataset, *, encodings: tuple[str, ...] = DEFAULT_ENCODINGS, depth: int = 0) -> Node:
    """All elements of ``dataset`` at any depth; raises ``Quarantined`` when they are nested too deep."""
    if depth > MAX_DEPTH:
        raise Quarantined("nesting")
    raw = raw_elements(dataset)
    implicit, little = dataset.original_encoding
    node = Node(codecs_of(_charset_bytes(raw), encodings), little=little is not False, implicit=bool(implicit))
    for tag, element in raw.items():
        number = int(tag)
        node[number] = _field(number, element, node=node, depth=depth)
    return node


def raw_elements(dataset: Dataset) -> MutableMapping[BaseTag, Any]:
    """The elements as pydicom holds them, undecoded."""
    return dataset._dict  # noqa: SLF001 - every public way to an element decodes it


def _field(tag: int, element: DataElement | RawDataElement, *, node: Node, depth: int) -> Field:
    if not isinstance(element, RawDataElement):
        return _decoded(element, node=node, depth=depth)
    vr = element.VR
    data = element.value or b""
    implicit = element.is_implicit_VR
    if vr is None or vr == "UN":
        known = dictionary_vr(tag, creator_of(node, tag))
        implicit = implicit or (vr == "UN" and known == "SQ")  # PS3.5 6.2.2: sequences in UN are implicit VR
        vr = known
    if vr == "SQ":
        return vr, Items(data, implicit, element.is_little_endian, node.encodings, depth + 1)
    return (vr, data) if vr in VRS else (BROKEN, b"")


def _decoded(element: DataElement, *, node: Node, depth: int) -> Field:
    """An element that somebody has looked at before."""
    vr = str(element.VR)
    value = element.value
    if vr == "SQ":
        return vr, [read_tree(item, encodings=node.encodings, depth=depth + 1) for item in value or ()]
    if isinstance(value, bytes):
        return vr, value
    many = [] if value is None else list(value) if isinstance(value, MultiValue | list | tuple) else [value]
    form = NUMBER_FORMS.get(AMBIGUOUS.get(vr, vr))
    if form:
        try:
            return vr, struct.pack(f"{'<' if node.little else '>'}{len(many)}{form}", *many)
        except (struct.error, TypeError, ValueError):
            return BROKEN, b""
    return vr, "\\".join(map(_spelling, many))


def _spelling(value: Any) -> str:
    """A number as the file spells it; a name has undecoded bytes there, or nothing."""
    spelled = getattr(value, "original_string", None)
    return spelled if isinstance(spelled, str) else str(value)


def _charset_bytes(raw: MutableMapping[BaseTag, Any]) -> bytes:
    element = raw.get(CHARSET)  # type: ignore[call-overload] # a tag is an int
    if element is None:
        return b""
    value = element.value
    if isinstance(value, bytes):
        return value
    many = value if isinstance(value, MultiValue | list | tuple) else [value or ""]
    return "\\".join(str(item) for item in many).encode("ascii", "replace")
