"""The minimum necessary: of all that may stay, only the attributes that the purpose of a data set needs. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from pydicom.datadict import keyword_dict, tag_for_keyword

from enclave.core.errors import InvalidError

_TAG = re.compile(r"\(?([0-9a-fA-F]{4}),?\s*([0-9a-fA-F]{4})\)?")
_ALWAYS = frozenset(  # whose object it is, which one, and how its pixels are to be read
    {0x00080005, 0x00080016, 0x00080018, 0x00080060, 0x00100010, 0x00100020, 0x0020000D, 0x0020000E}
)
_PIXEL_GROUPS = frozenset({0x0028, 0x7FE0})
NOT_NEEDED = "not among the attributes that the purpose needs"


def parse_attributes(names: Iterable[str]) -> frozenset[int]:
    """The tags of keywords such as ``KVP`` and of tags such as ``0018,0060``; raises ``InvalidError``."""
    return frozenset(map(_tag, names))


def is_needed(tag: int, attributes: frozenset[int]) -> bool:
    """Whether an attribute at the top level is on the list, or one without which no object can be told or shown."""
    return tag in attributes or tag in _ALWAYS or tag >> 16 in _PIXEL_GROUPS


def _tag(name: str) -> int:
    found = _TAG.fullmatch(name.strip())
    by_name = tag_for_keyword(name.strip()) if name.strip() else None
    tag = int(found.group(1) + found.group(2), 16) if found else by_name
    if tag is None or tag >> 16 & 1:
        near = difflib.get_close_matches(name, keyword_dict, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InvalidError(
            f"recipe minimum.attributes: wanted keywords or tags of the standard, got {name!r}{hint}",
            code="attribute_unknown",
        )
    return tag
