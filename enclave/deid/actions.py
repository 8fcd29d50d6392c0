"""The six actions of PS3.15 Table E.1-1 on values, by value representation. Pure."""

from __future__ import annotations

from enum import StrEnum


class Action(StrEnum):
    """What is done with an attribute (PS3.15 E.3)."""

    DUMMY = "D"
    ZERO = "Z"
    REMOVE = "X"
    KEEP = "K"
    CLEAN = "C"
    UID = "U"


# Combinations leave the choice to the type the attribute has in its IOD. Taken is always the letter that keeps any
# IOD valid: D before Z before X. It removes as much and loses no conformance.
_COMBINED = {
    "X/Z": Action.ZERO,
    "X/D": Action.DUMMY,
    "Z/D": Action.DUMMY,
    "X/Z/D": Action.DUMMY,
    "X/Z/U*": Action.UID,
}

TEXT_VRS = frozenset({"LO", "SH", "ST", "LT", "UT", "UC"})
NUMBER_VRS = frozenset({"US", "SS", "UL", "SL", "UV", "SV", "FL", "FD", "AT", "IS", "DS"})
BINARY_VRS = frozenset({"OB", "OW", "OF", "OD", "OL", "OV", "UN", "OB or OW", "US or OW"})

_DUMMIES = {
    "PN": "Removed",
    "LO": "Removed",
    "SH": "Removed",
    "ST": "Removed",
    "LT": "Removed",
    "UT": "Removed",
    "UC": "Removed",
    "CS": "REMOVED",
    "AE": "REMOVED",
    "UR": "urn:removed",
    "DA": "19000101",
    "DT": "19000101000000",
    "TM": "000000",
    "AS": "000Y",
    "IS": "0",
    "DS": "0",
}


def resolve(letters: str) -> Action:
    """The one action for an entry of the table such as ``X/Z/D``."""
    return _COMBINED.get(letters) or Action(letters)


def dummy(vr: str) -> str | int | float | bytes:
    """A value of ``vr`` that says nothing: the D of the table."""
    if vr in _DUMMIES:
        return _DUMMIES[vr]
    if vr in ("FL", "FD"):
        return 0.0
    return 0 if vr in NUMBER_VRS else b""
