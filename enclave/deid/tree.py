"""A dataset as plain values: by tag the representation and the bytes; sequences stay bytes until somebody looks inside.

pydicom makes an object of each value that is looked at. Here bytes stay bytes until a rule asks for their text, what
no rule changes is written again as it was, and what was seen before is known again by its bytes.
"""

from __future__ import annotations

import functools
import struct
from typing import Any, NamedTuple

from pydicom._dicom_dict import DicomDictionary, RepeatersDictionary
from pydicom._private_dict import private_dictionaries
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS

from enclave.deid.quiet import quiet_parsing

MAX_DEPTH = 32
BROKEN = "??"  # no value representation: the element's bytes do not decode
LONG_VRS = frozenset(
    ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
)  # PS3.5 7.1.2: a length of four bytes
_SHORT_NAMES = "AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US"
SHORT_VRS = frozenset(_SHORT_NAMES.split())
VRS = LONG_VRS | SHORT_VRS
_WHOLE = frozenset(("ST", "LT", "UT", "UR"))  # a backslash is a character of theirs
_CHARSET_VRS = frozenset(("LO", "SH", "PN", "ST", "LT", "UT", "UC"))
AMBIGUOUS = {"US or SS": "US", "US or SS or OW": "OW", "OB or OW": "OW", "US or OW": "OW"}
NUMBER_FORMS = {
    "US": "H", "SS": "h", "UL": "L", "SL": "l", "UV": "Q", "SV": "q", "FL": "f", "FD": "d", "AT": "H",
}  # fmt: skip
CHARACTER_VRS = VRS - NUMBER_FORMS.keys() - {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "UN"}
CHARSET = 0x00080005
DEFAULT_ENCODINGS = ("iso8859",)

Value = Any  # bytes; text already decoded; of SQ ``Items``, or a list of Node
Field = tuple[str, Value]


class Items(NamedTuple):
    """The items of a sequence as bytes, with all that is needed to read them: equal ones hold equal items."""

    data: bytes
    implicit: bool
    little: bool
    encodings: tuple[str, ...]
    depth: int


class Node(dict[int, Field]):
    """A dataset or an item: tag → (representation, value); ``encodings`` are the codecs of its text."""

    __slots__ = ("encodings", "implicit", "little")

    def __init__(self, encodings: tuple[str, ...], *, little: bool = True, implicit: bool = False) -> None:
        super().__init__()
        self.encodings = encodings
        self.little = little
        self.implicit = implicit


# ── text and numbers ────────────────────────────────────────────────────────


def texts(field: Field, *, node: Node) -> list[str]:
    """The values of a field as text, without empty ones; of binary numbers their decimal form."""
    vr, value = field
    if isinstance(value, bytes):
        if vr in NUMBER_FORMS:
            return [str(number) for number in numbers(field, little=node.little)]
        plain = value.isascii() and b"\x1b" not in value
        value = value.decode("ascii") if plain else _decode(value, vr=vr, encodings=node.encodings)
    elif not isinstance(value, str):
        return []
    if "\\" not in value or vr in _WHOLE:
        value = value.strip(" \0") if vr not in _WHOLE else value.rstrip(" \0")
        return [value] if value else []
    return [text for part in value.split("\\") if (text := part.strip(" \0"))]


def text_at(node: Node, tag: int) -> str:
    """The text of one element, stripped; empty when it is absent or holds no text."""
    field = node.get(tag)
    if field is None:
        return ""
    found = texts(field, node=node)
    return found[0].strip(" \0") if len(found) == 1 else "\\".join(found).strip(" \0")


def number_at(node: Node, tag: int) -> int | None:
    """The whole number in one element; None when it is absent or empty. Raises ``ValueError`` for anything else."""
    field = node.get(tag)
    if field is None or not field[1]:
        return None
    if field[0] == "US" and field[1].__class__ is bytes and len(field[1]) == 2:  # nearly all that is asked for
        return int.from_bytes(field[1], "little" if node.little else "big")
    found = texts(field, node=node)
    if len(found) > 1 or (not found and field[0] in NUMBER_FORMS):
        raise ValueError(tag)
    number = float(found[0]) if found else 0.0
    if not number.is_integer():
        raise ValueError(tag)
    return int(number) if found else None


def numbers(field: Field, *, little: bool = True) -> tuple[float, ...]:
    """The numbers of a binary field; empty when their size does not fit."""
    vr, value = field
    form = NUMBER_FORMS[vr]
    size = struct.calcsize("<" + form)
    if not isinstance(value, bytes) or len(value) % size:
        return ()
    return struct.unpack(f"{'<' if little else '>'}{len(value) // size}{form}", value)


@functools.lru_cache(maxsize=256)
def codecs_of(charset: bytes, parent: tuple[str, ...]) -> tuple[str, ...]:
    """The codecs of a (0008,0005) value; those of ``parent`` when it is empty or names none."""
    if not charset.strip(b" \0"):
        return parent
    try:
        names = [name.strip(" \0") for name in charset.decode("ascii").split("\\")]
        with quiet_parsing():
            return tuple(convert_encodings(names))
    except (LookupError, UnicodeDecodeError, ValueError, IndexError):
        return parent


def _decode(data: bytes, *, vr: str, encodings: tuple[str, ...]) -> str:
    if vr not in _CHARSET_VRS:
        return data.decode("latin-1")
    if len(encodings) == 1 and b"\x1b" not in data:
        return data.decode(encodings[0], "replace")
    try:
        with quiet_parsing():
            if vr == "PN":  # each component group begins with the first codec again (PS3.5 6.1.2.5.3)
                return "=".join(decode_bytes(part, list(encodings), PN_DELIMS) for part in data.split(b"="))
            return decode_bytes(data, list(encodings), TEXT_VR_DELIMS)
    except (LookupError, UnicodeError):
        return data.decode("latin-1")


# ── the data dictionary ─────────────────────────────────────────────────────


def creator_of(node: Node, tag: int) -> str:
    """The private creator of the block in which ``tag`` stands; empty for elements that have none."""
    if not tag >> 16 & 1 or tag & 0xFFFF < 0x1000:
        return ""
    found = node.get(tag & 0xFFFF0000 | tag >> 8 & 0xFF)
    return "".join(texts(("LO", found[1]), node=node)) if found else ""


@functools.lru_cache(maxsize=65_536)
def dictionary_vr(tag: int, creator: str) -> str:
    """The representation by the data dictionary (PS3.6), ``UN`` for what it does not know."""
    if tag >> 16 & 1:
        if 0x10 <= tag & 0xFFFF < 0x100:
            return "LO"
        known = private_dictionaries.get(creator, {})
        keys = (f"{tag:08X}", f"{tag >> 16:04X}xx{tag & 0xFF:02X}")  # as pydicom spells them
        found = next((known[key][0] for key in keys if key in known), "UN")
        return AMBIGUOUS.get(found, found)
    if not tag & 0xFFFF:
        return "UL"
    entry = DicomDictionary.get(tag) or repeater_of(tag)
    vr = str(entry[0]) if entry else "UN"
    return AMBIGUOUS.get(vr, vr)


def repeater_of(tag: int) -> tuple[str, ...] | None:
    """The entry of the data dictionary for an attribute of a repeating group; None when there is none."""
    text = f"{tag:08X}"
    for pattern in (f"{text[:2]}xx{text[4:]}", f"{text[:4]}{text[4:6]}x{text[7]}", f"{text[:4]}xx{text[6:]}"):
        if pattern in RepeatersDictionary:
            return RepeatersDictionary[pattern]
    return None
