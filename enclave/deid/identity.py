"""Which attributes hold identities: their values are denied everywhere else. Pure.

Kinds: a *name* is searched by its parts, a *number* in squeezed form, a *place* as a whole and by its longer words.
"""

from __future__ import annotations

from typing import Literal

Kind = Literal["name", "number", "place"]

_NUMBERS = (
    "00080050 00100020 00101000 00101090 00102154 00080094 00081195 00180000 00181000 00181002 00181004 00181007 "
    "00181008 0018700a 00181010 00181011 00200010 00380010 00380060 00400009 00401001 00400253 00402016 00402017 "
    "0040a124 00101050 00102155 00401103 00189371 0018937f 00120040 00120042 00189937 00100022 00321070"
)
_PLACES = (
    "00080080 00080081 00081040 00081010 00101040 00102150 00102152 00080092 00321033 00380300 00380400 00400001 "
    "00400010 00400011 00400241 00400242 00400243 00401005 00402008 00402009 00402010 00401102 00402400 00100021 "
    "00120010 00120030 00120031 00120020 00120021 00380011 00380061 00402001 00081049 00020016 00020017 00020018"
)
_KINDS: dict[int, Kind] = {
    **{int(tag, 16): "number" for tag in _NUMBERS.split()},
    **{int(tag, 16): "place" for tag in _PLACES.split()},
}

_TECHNICAL_TAGS = (
    "00080070 00081090 00181020 00181210 00181250 00181251 00180024 00181160 00189005 00187005 00180015 00189073 "
    "00187001 00187006 00187008 00181016 00181017 00181018 00181019 00181260 00181261 00280030 00281055 00540414 "
    "00541001 00541101 00541103 00541105 00080104 00080102 00080100 00540202 00181400 00181401"
)
# Whole values may stay when many patients share them (a scanner's words, not a person's).
TECHNICAL = frozenset(int(tag, 16) for tag in _TECHNICAL_TAGS.split())
_DESCRIPTIVE_TAGS = "00081030 0008103e 00181030 00400254 00321060 00400007 00204000 00181400"
# Single words of these may stay when many patients share them.
DESCRIPTIVE = frozenset(int(tag, 16) for tag in _DESCRIPTIVE_TAGS.split())


def identity_kind(tag: int, *, vr: str) -> Kind | None:
    """The kind of identity that an attribute holds, None when it holds none."""
    if vr == "PN":
        return "name"
    if vr == "AE":
        return "place"
    return _KINDS.get(tag)
