"""A dataset as plain values: by tag the representation and the bytes, or the items; read from pydicom's raw elements.

pydicom makes an object of each value that is looked at. Here bytes stay bytes until a rule asks for their text, and
what no rule changes is written again as it was. Damaged sequences become ``BROKEN`` and are removed by whoever cleans.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator, MutableMapping
from typing import Any

from pydicom._dicom_dict import DicomDictionary, RepeatersDictionary
from pydicom._private_dict import private_dictionaries
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS

from enclave.deid.reasons import Quarantined

MAX_DEPTH = 32
BROKEN = "??"  # no value representation: the element's bytes do not decode
LONG_VRS = frozenset(
    ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
)  # PS3.5 7.1.2: a length of four bytes
_LONG = frozenset(vr.encode() for vr in LONG_VRS)
_SHORT_NAMES = "AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US"
SHORT_VRS = frozenset(_SHORT_NAMES.split())
_VRS = LONG_VRS | SHORT_VRS
_WHOLE = frozenset(("ST", "LT", "UT", "UR"))  # a backslash is a character of theirs
_CHARSET_VRS = frozenset(("LO", "SH", "PN", "ST", "LT", "UT", "UC"))
_AMBIGUOUS = {"US or SS": "US", "US or SS or OW": "OW", "OB or OW": "OW", "US or OW": "OW"}
_NUMBER_FORMS = {
    "US": "H", "SS": "h", "UL": "L", "SL": "l", "UV": "Q", "SV": "q", "FL": "f", "FD": "d", "AT": "H",
}  # fmt: skip
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_CHARSET = 0x00080005
_DEFAULT = ("iso8859",)

Value = Any  # bytes; text already decoded; a list of Node for SQ
Field = tuple[str, Value]


class Node(dict[int, Field]):
    """A dataset or an item: tag → (representation, value); ``encodings`` are the codecs of its text."""

    __slots__ = ("encodings", "little")

    def __init__(self, encodings: tuple[str, ...], *, little: bool = True) -> None:
        super().__init__()
        self.encodings = encodings
        self.little = little


class _BrokenError(Exception):
    """A sequence whose bytes are none."""


def read_tree(dataset: Dataset, *, encodings: tuple[str, ...] = _DEFAULT, depth: int = 0) -> Node:
    """All elements of ``dataset`` at any depth; raises ``Quarantined`` when they are nested too deep."""
    if depth > MAX_DEPTH:
        raise Quarantined("nesting")
    raw = raw_elements(dataset)
    node = Node(_codecs(_charset_bytes(raw), encodings), little=dataset.original_encoding[1] is not False)
    for tag, element in raw.items():
        number = int(tag)
        node[number] = _field(number, element, node=node, depth=depth)
    return node


def raw_elements(dataset: Dataset) -> MutableMapping[BaseTag, Any]:
    """The elements as pydicom holds them, undecoded."""
    return dataset._dict  # noqa: SLF001 - every public way to an element decodes it


def text_at(dataset: Dataset, tag: int) -> str:
    """The text of one element, stripped; empty when it is absent or holds no text."""
    element = raw_elements(dataset).get(tag)  # type: ignore[call-overload] # a tag is an int
    if element is None:
        return ""
    little = dataset.original_encoding[1] is not False
    node = Node(_codecs(_charset_bytes(raw_elements(dataset)), _DEFAULT), little=little)
    field = _field(tag, element, node=node, depth=MAX_DEPTH)
    return "\\".join(texts(field, node=node)).strip(" \0")


def texts(field: Field, *, node: Node) -> list[str]:
    """The values of a field as text, without empty ones; of binary numbers their decimal form."""
    vr, value = field
    if isinstance(value, bytes):
        if vr in _NUMBER_FORMS:
            return [str(number) for number in numbers(field, little=node.little)]
        value = _decode(value, vr=vr, encodings=node.encodings)
    if not isinstance(value, str):
        return []
    if "\\" not in value or vr in _WHOLE:
        value = value.strip(" \0") if vr not in _WHOLE else value.rstrip(" \0")
        return [value] if value else []
    return [text for part in value.split("\\") if (text := part.strip(" \0"))]


def numbers(field: Field, *, little: bool = True) -> tuple[float, ...]:
    """The numbers of a binary field; empty when their size does not fit."""
    vr, value = field
    form = _NUMBER_FORMS[vr]
    size = struct.calcsize("<" + form)
    if not isinstance(value, bytes) or len(value) % size:
        return ()
    return struct.unpack(f"{'<' if little else '>'}{len(value) // size}{form}", value)


def walk_tree(node: Node) -> Iterator[tuple[Node, int, Field]]:
    """All fields but broken ones, those of items after their sequence."""
    for tag, field in node.items():
        if field[0] == BROKEN:
            continue
        yield node, tag, field
        if field[0] == "SQ":
            for item in field[1]:
                yield from walk_tree(item)


def write_tree(dataset: Dataset, node: Node, *, kept: frozenset[int]) -> None:
    """Makes ``node`` the content of ``dataset``; its elements with a tag of ``kept`` stay untouched."""
    implicit, little = (bool(part) for part in dataset.original_encoding)
    raw = raw_elements(dataset)
    before = {int(tag): element for tag, element in raw.items()}  # comparing pydicom's tags is slow
    raw.clear()
    for tag in kept & before.keys():
        raw[BaseTag(tag)] = before[tag]
    for tag, (vr, value) in node.items():
        if tag in kept:
            continue
        data = encode_value(vr, value, implicit=implicit, little=little)
        old, key = before.get(tag), BaseTag(tag)
        same = isinstance(old, RawDataElement) and old.value is data and old.length == len(data)
        raw[key] = old if same else RawDataElement(key, vr, len(data), data, 0, implicit, little)


def encode_elements(dataset: Dataset, *, split: int) -> tuple[bytes, bytes]:
    """The elements by ascending tag in the dataset's own encoding: those below ``split``, and those from there on."""
    implicit, little = (bool(part) for part in dataset.original_encoding)
    parts = Node(_DEFAULT, little=little), Node(_DEFAULT, little=little)
    for tag, element in raw_elements(dataset).items():
        number = int(tag)
        part = parts[number >= split]
        if isinstance(element, RawDataElement):
            part[number] = (element.VR or "UN", element.value or b"")
        else:
            part[number] = _decoded(element, node=part, depth=0)
    head, tail = (encode_node(part, implicit=implicit, little=little) for part in parts)
    return head, tail


def encode_node(node: Node, *, implicit: bool, little: bool) -> bytes:
    """The elements of ``node`` by ascending tag, sequences and items with their lengths."""
    order = "<" if little else ">"
    implicit_head, short_head, long_head = (
        struct.Struct(order + form).pack for form in ("HHL", "HH2sH", "HH2sHL")
    )  # fmt: skip
    parts = []
    for tag in sorted(node):
        if not tag & 0xFFFF and tag >> 16 > 6:
            continue  # a group length, retired
        vr, value = node[tag]
        data = encode_value(vr, value, implicit=implicit, little=little)
        size = len(data)
        if implicit:
            parts.append(implicit_head(tag >> 16, tag & 0xFFFF, size))
        elif vr in LONG_VRS or size > 0xFFFF:
            code = vr if vr in LONG_VRS else "UN"  # PS3.5 6.2.2
            parts.append(long_head(tag >> 16, tag & 0xFFFF, code.encode(), 0, size))
        else:
            parts.append(short_head(tag >> 16, tag & 0xFFFF, vr.encode(), size))
        parts.append(data)
    return b"".join(parts)


def encode_value(vr: str, value: Value, *, implicit: bool, little: bool) -> bytes:
    """The bytes of a value, even in length."""
    if isinstance(value, list):
        head = struct.Struct("<HHL" if little else ">HHL").pack
        parts: list[bytes] = []
        for item in value:
            data = encode_node(item, implicit=implicit, little=little)
            parts += (head(0xFFFE, 0xE000, len(data)), data)
        return b"".join(parts)
    data = value.encode("utf-8", "replace") if isinstance(value, str) else bytes(value) if value else b""
    if data is not value and isinstance(value, bytes) and value:
        data = value
    if len(data) & 1:
        data += b"\0" if vr in ("UI", "OB", "UN") else b" "
    return data


def end_of_sequence(data: bytes, start: int, *, implicit: bool, little: bool) -> int | None:
    """Where the items of a sequence without a length end and its delimiter begins; None when they do not."""
    try:
        reader = _Reader(data, implicit=implicit, little=little)
        return reader.items(start, len(data), _DEFAULT, 1, open_end=True)[1] - 8
    except (_BrokenError, struct.error):
        return None


# ── reading ─────────────────────────────────────────────────────────────────


def _field(tag: int, element: DataElement | RawDataElement, *, node: Node, depth: int) -> Field:
    if not isinstance(element, RawDataElement):
        return _decoded(element, node=node, depth=depth)
    vr = element.VR
    data = element.value or b""
    implicit = element.is_implicit_VR
    if vr is None or vr == "UN":
        known = _dictionary_vr(tag, _creator(node, tag))
        implicit = implicit or (vr == "UN" and known == "SQ")  # PS3.5 6.2.2: sequences in UN are implicit VR
        vr = known
    if vr == "SQ":
        form = {"implicit": implicit, "little": element.is_little_endian}
        return _sequence(data, **form, encodings=node.encodings, depth=depth)
    return (vr, data) if vr in _VRS else (BROKEN, b"")


def _decoded(element: DataElement, *, node: Node, depth: int) -> Field:
    """An element that somebody has looked at before."""
    vr = str(element.VR)
    value = element.value
    if vr == "SQ":
        return vr, [read_tree(item, encodings=node.encodings, depth=depth + 1) for item in value or ()]
    if isinstance(value, bytes):
        return vr, value
    many = [] if value is None else list(value) if isinstance(value, MultiValue | list | tuple) else [value]
    form = _NUMBER_FORMS.get(_AMBIGUOUS.get(vr, vr))
    if form:
        try:
            return vr, struct.pack(f"{'<' if node.little else '>'}{len(many)}{form}", *many)
        except (struct.error, TypeError, ValueError):
            return BROKEN, b""
    return vr, "\\".join(str(getattr(item, "original_string", item)) for item in many)


def _sequence(data: bytes, *, implicit: bool, little: bool, encodings: tuple[str, ...], depth: int) -> Field:
    for form in dict.fromkeys((implicit, True)):  # some writers put implicit items into explicit files
        try:
            reader = _Reader(data, implicit=form, little=little)
            return "SQ", reader.items(0, len(data), encodings, depth + 1, open_end=False)[0]
        except (_BrokenError, struct.error):
            continue
    return BROKEN, b""


class _Reader:
    """Reads the bytes of a sequence."""

    def __init__(self, data: bytes, *, implicit: bool, little: bool) -> None:
        self._data = data
        self._implicit = implicit
        self._little = little
        order = "<" if little else ">"
        self._head = struct.Struct(order + "HHL").unpack_from
        self._explicit = struct.Struct(order + "HH2sH").unpack_from
        self._length = struct.Struct(order + "L").unpack_from

    def items(
        self, at: int, end: int, encodings: tuple[str, ...], depth: int, *, open_end: bool
    ) -> tuple[list[Node], int]:
        """The items from ``at`` on, and where they end; up to a delimiter when ``open_end``."""
        if depth > MAX_DEPTH:
            raise Quarantined("nesting")
        found: list[Node] = []
        while at + 8 <= end:
            group, number, length = self._head(self._data, at)
            tag, at = group << 16 | number, at + 8
            if tag == _SEQUENCE_END:
                return found, at
            if tag != _ITEM or (length != _UNDEFINED and at + length > end):
                raise _BrokenError
            node, at = self._elements(at, end if length == _UNDEFINED else at + length, encodings, depth, length)
            found.append(node)
        if open_end or at != end:
            raise _BrokenError
        return found, at

    def _elements(self, at: int, end: int, encodings: tuple[str, ...], depth: int, length: int) -> tuple[Node, int]:
        node = Node(encodings, little=self._little)
        while at + 8 <= end:
            group, number, size = self._head(self._data, at)
            tag = group << 16 | number
            if tag == _ITEM_END:
                return node, at + 8
            vr, at, size = self._start(tag, at, size, node)
            if size == _UNDEFINED:
                if vr not in ("SQ", "UN"):
                    raise _BrokenError
                nested = self if vr == "SQ" else _Reader(self._data, implicit=True, little=True)
                items, at = nested.items(at, end, node.encodings, depth + 1, open_end=True)
                node[tag] = ("SQ", items)
                continue
            if at + size > end:
                raise _BrokenError
            value = self._data[at : at + size]
            at += size
            if tag == _CHARSET:
                node.encodings = _codecs(value, encodings)
            implicit = self._implicit
            if vr == "UN":
                vr = _dictionary_vr(tag, _creator(node, tag))
                implicit = True
            node[tag] = (
                _sequence(value, implicit=implicit, little=self._little, encodings=node.encodings, depth=depth)
                if vr == "SQ"
                else (vr, value)
            )
        if length == _UNDEFINED or at != end:
            raise _BrokenError
        return node, at

    def _start(self, tag: int, at: int, size: int, node: Node) -> tuple[str, int, int]:
        """The representation, where the value begins, its length."""
        if self._implicit:
            return _dictionary_vr(tag, _creator(node, tag)), at + 8, size
        _, _, code, short = self._explicit(self._data, at)
        if code in _LONG:
            return code.decode(), at + 12, self._length(self._data, at + 8)[0]
        vr = code.decode("latin-1")
        if vr not in _VRS:
            raise _BrokenError
        return vr, at + 8, short


def _creator(node: Node, tag: int) -> str:
    if not tag >> 16 & 1 or tag & 0xFFFF < 0x1000:
        return ""
    found = node.get(tag & 0xFFFF0000 | tag >> 8 & 0xFF)
    return "".join(texts(("LO", found[1]), node=node)) if found else ""


@functools.lru_cache(maxsize=65_536)
def _dictionary_vr(tag: int, creator: str) -> str:
    if tag >> 16 & 1:
        if 0x10 <= tag & 0xFFFF < 0x100:
            return "LO"
        known = private_dictionaries.get(creator, {})
        keys = (f"{tag:08x}", f"{tag >> 16:04x}xx{tag & 0xFF:02x}")
        found = next((known[key][0] for key in keys if key in known), "UN")
        return _AMBIGUOUS.get(found, found)
    if not tag & 0xFFFF:
        return "UL"
    entry = DicomDictionary.get(tag)
    vr = entry[0] if entry else _repeater_vr(tag)
    return _AMBIGUOUS.get(vr, vr)


def _repeater_vr(tag: int) -> str:
    text = f"{tag:08x}"
    for pattern in (f"{text[:2]}xx{text[4:]}", f"{text[:4]}{text[4:6]}x{text[7]}", f"{text[:4]}xx{text[6:]}"):
        if pattern in RepeatersDictionary:
            return str(RepeatersDictionary[pattern][0])
    return "UN"


# ── text ────────────────────────────────────────────────────────────────────


def _charset_bytes(raw: MutableMapping[BaseTag, Any]) -> bytes:
    element = raw.get(_CHARSET)  # type: ignore[call-overload] # a tag is an int
    if element is None:
        return b""
    value = element.value
    if isinstance(value, bytes):
        return value
    many = value if isinstance(value, MultiValue | list | tuple) else [value or ""]
    return "\\".join(str(item) for item in many).encode("ascii", "replace")


@functools.lru_cache(maxsize=256)
def _codecs(charset: bytes, parent: tuple[str, ...]) -> tuple[str, ...]:
    if not charset.strip(b" \0"):
        return parent
    try:
        names = [name.strip(" \0") for name in charset.decode("ascii").split("\\")]
        return tuple(convert_encodings(names))
    except (LookupError, UnicodeDecodeError, ValueError, IndexError):
        return parent


def _decode(data: bytes, *, vr: str, encodings: tuple[str, ...]) -> str:
    if data.isascii() and b"\x1b" not in data:
        return data.decode("ascii")
    if vr not in _CHARSET_VRS:
        return data.decode("latin-1")
    if len(encodings) == 1 and b"\x1b" not in data:
        return data.decode(encodings[0], "replace")
    try:
        if vr == "PN":  # each component group begins with the first codec again (PS3.5 6.1.2.5.3)
            return "=".join(decode_bytes(part, list(encodings), PN_DELIMS) for part in data.split(b"="))
        return decode_bytes(data, list(encodings), TEXT_VR_DELIMS)
    except (LookupError, UnicodeError):
        return data.decode("latin-1")
