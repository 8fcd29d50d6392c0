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


# Types of an attribute in an IOD (PS3.5 7.4), the strictest first; ABSENT stands for what the IOD does not define.
ABSENT, UNKNOWN = "absent", "unknown"
TYPES = ("1", "1C", "2", "2C", "3", ABSENT)
MANDATORY = frozenset({"1", "1C"})  # present with a value; 1C and 2C hold for what is present in an instance
_MAY_BE_EMPTY = frozenset({"2", "2C"})

# Without a known IOD the letter that keeps any IOD valid is taken: D before Z before X.
_SAFE = {
    "X/Z": Action.ZERO,
    "X/D": Action.DUMMY,
    "Z/D": Action.DUMMY,
    "X/Z/D": Action.DUMMY,
    "X/Z/U*": Action.UID,
}
_MILDEST_FIRST = (Action.REMOVE, Action.ZERO, Action.DUMMY)

TEXT_VRS = frozenset({"LO", "SH", "ST", "LT", "UT", "UC"})
NUMBER_VRS = frozenset({"US", "SS", "UL", "SL", "UV", "SV", "FL", "FD", "AT", "IS", "DS"})
ARRAY_VRS = frozenset({"OF", "OD", "OL", "OV", "OW"})  # numbers, many of them
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


def resolve(letters: str, *, iod_type: str = UNKNOWN) -> Action:
    """The one action for an entry of the table such as ``X/Z/D``, by the attribute's type in the IOD (PS3.15 E.1).

    A combination becomes the first of X, Z, D among its letters with which the IOD stays valid: D for type 1, Z for
    type 2, X for type 3 and for what the IOD does not define. D stands in where its letters have none for the type.
    ``X/Z/U*`` keeps the items, with new UIDs, for every type: they say as little as an empty value (PS3.15 Table
    E.1-1a), and an image still says which others it belongs to. A plain X or Z of a type 1 attribute becomes D.
    """
    if iod_type == UNKNOWN:
        return _SAFE.get(letters) or Action(letters)
    if letters == "X/Z/U*":
        return Action.UID
    if letters in ("X", "Z"):
        return Action.DUMMY if iod_type == "1" else Action(letters)
    if "/" not in letters:
        return Action(letters)
    least = 2 if iod_type in MANDATORY else 1 if iod_type in _MAY_BE_EMPTY else 0
    allowed = [action for action in _MILDEST_FIRST[least:] if action.value in letters.split("/")]
    return allowed[0] if allowed else Action.DUMMY


def dummy(vr: str) -> str | int | float | bytes:
    """A value of ``vr`` that says nothing: the D of the table."""
    if vr in _DUMMIES:
        return _DUMMIES[vr]
    if vr in ("FL", "FD"):
        return 0.0
    return 0 if vr in NUMBER_VRS else b"\0\0"
