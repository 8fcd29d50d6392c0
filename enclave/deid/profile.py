"""What happens with an attribute and why: Table E.1-1 with its options, and the rule for what it does not list. Pure.

Source of the rows: DICOM PS3.15 Annex E (see ``standard/edition.toml``). Rows are given, not read here.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from enclave.core.errors import InvalidError
from enclave.deid.actions import (
    ABSENT,
    ARRAY_VRS,
    BINARY_VRS,
    MANDATORY,
    NUMBER_VRS,
    TEXT_VRS,
    UNKNOWN,
    Action,
    resolve,
)
from enclave.deid.minimum import NOT_NEEDED, is_needed

RETAIN_DATES = ("retain_full_dates", "retain_modified_dates")
OPTIONS: dict[str, str] = {  # option → its code in CID 7050, for DeidentificationMethodCodeSequence
    "clean_pixel_data": "113101",
    "clean_recognizable_features": "113102",
    "clean_graphics": "113103",
    "clean_structured_content": "113104",
    "clean_descriptors": "113105",
    "retain_full_dates": "113106",
    "retain_modified_dates": "113107",
    "retain_patient_characteristics": "113108",
    "retain_device_identity": "113109",
    "retain_uids": "113110",
    "retain_safe_private": "113111",
    "retain_institution_identity": "113112",
}
DEFAULT_OPTIONS = (
    "retain_modified_dates",
    "retain_patient_characteristics",
    "retain_safe_private",
    "clean_descriptors",
    "clean_structured_content",
    "clean_graphics",
    "clean_pixel_data",
    "clean_recognizable_features",
)
PIXEL_OPTIONS = ("clean_pixel_data", "clean_recognizable_features")
_CONFLICTS = (("retain_full_dates", "retain_modified_dates", "a date either stays or moves"),)
# Where a row has entries for several active options the first of these decides.
_PRECEDENCE = (
    "retain_uids",
    "retain_full_dates",
    "retain_modified_dates",
    "clean_graphics",
    "clean_structured_content",
    "clean_descriptors",
    "retain_patient_characteristics",
    "retain_device_identity",
    "retain_institution_identity",
)
_REMOVED_BINARY = "binary content that the table does not list"
_MAX_KNOWN = 20_000  # rules: more than the standard has attributes
_MAY_LACK = frozenset({0x00080103})  # a scheme without its version is the scheme as it is today


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table; ``tag`` is eight hex digits, ``x`` where a repeating group has any digit."""

    tag: str
    name: str
    basic: str
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rule:
    """What happens with an attribute: the action, and the reason in words.

    ``listed``: the table has it. ``needed``: the IOD wants a value, so that one which does not survive is replaced by
    a dummy. ``bulk``: an array of numbers, kept as bytes.
    """

    action: Action
    because: str
    listed: bool = False
    needed: bool = False
    bulk: bool = False


class Profile:
    """The basic profile with a checked set of options; ``minimum``: the only attributes that are needed, None: all."""

    def __init__(self, rows: Iterable[Row], *, options: Iterable[str], minimum: frozenset[int] | None = None) -> None:
        self.options = check_options(options)
        self.minimum = minimum
        self._rows: dict[str, Row] = {row.tag: row for row in rows}
        self._known: dict[tuple[int, str, str], Rule] = {}

    @functools.cached_property
    def retained(self) -> frozenset[int]:
        """The attributes that an option keeps as they are: their values are wanted in the output, and no identity."""
        kept = (row for row in self._rows.values() if row.options.get(self._option(row)) == Action.KEEP)
        return frozenset(int(row.tag, 16) for row in kept if "x" not in row.tag)

    def row(self, tag: int) -> Row | None:
        """The row for ``tag``, of a repeating group too."""
        text = f"{tag:08x}"
        found = self._rows.get(text)
        if found is None and text[:2] in ("50", "60"):
            found = self._rows.get(f"{text[:2]}xx{text[4:]}") or self._rows.get(f"{text[:2]}xxxxxx")
        return found

    def listed(self, tag: int, *, iod_type: str = UNKNOWN) -> Rule | None:
        """The rule of the table for an attribute of this type in its IOD, None when it does not list ``tag``."""
        row = self.row(tag)
        return self._decide(row, iod_type) if row else None

    def rule(self, tag: int, *, vr: str, iod_type: str = UNKNOWN, top: bool = False) -> Rule:
        """The rule for any standard attribute: the table's, else the one for its value representation.

        A value that the IOD wants is replaced, not removed, where its representation has a dummy. ``top``: it stands at
        the top level, where the minimum decides about it and all that is in it.
        """
        if not top or self.minimum is None or iod_type in MANDATORY or is_needed(tag, self.minimum):
            return self._known_rule(tag, vr, iod_type)
        return Rule(Action.ZERO if iod_type in ("2", "2C") else Action.REMOVE, NOT_NEEDED, listed=True)

    def _known_rule(self, tag: int, vr: str, iod_type: str) -> Rule:
        """The same at all places of all objects: an attribute has many of them and few types."""
        rule = self._known.get((tag, vr, iod_type))
        if rule is None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            rule = self._known[tag, vr, iod_type] = self._rule(tag, vr=vr, iod_type=iod_type)
        return rule

    def _rule(self, tag: int, *, vr: str, iod_type: str) -> Rule:
        rule = self.listed(tag, iod_type=iod_type) or self.unlisted(vr)
        if iod_type not in MANDATORY or tag in _MAY_LACK:
            return rule
        if vr == "SQ" or vr in BINARY_VRS:
            return self._mandatory_bytes(tag, vr, rule)
        if not rule.listed and rule.action is Action.REMOVE:
            rule = replace(rule, action=Action.DUMMY, because=f"{rule.because}; a dummy, for {_type(iod_type)}")
        return replace(rule, needed=rule.action is not Action.REMOVE)

    def _mandatory_bytes(self, tag: int, vr: str, rule: Rule) -> Rule:
        """What has no dummy stays as it is when it is numbers, and goes when the table says so."""
        row = self.row(tag)
        if row is not None and row.basic == "X" and rule.action is Action.DUMMY:
            return Rule(Action.REMOVE, "basic profile: X", listed=True)
        if row is None and vr in ARRAY_VRS:
            return Rule(Action.KEEP, "numbers that the IOD cannot do without, searched", needed=True, bulk=True)
        return replace(rule, needed=rule.action is not Action.REMOVE)

    def unlisted(self, vr: str) -> Rule:
        """Default deny: numbers and codes stay after a check of their form, words by the vocabulary, the rest goes."""
        if vr in TEXT_VRS:
            return Rule(Action.CLEAN, "text that the table does not list: clinical vocabulary")
        if vr in NUMBER_VRS or vr == "CS":
            return Rule(Action.KEEP, "number or coded term that the table does not list")
        if vr == "SQ":
            return Rule(Action.KEEP, "sequence that the table does not list: each item by the same rules")
        if vr == "UI":
            keep = "retain_uids" in self.options
            return Rule(Action.KEEP if keep else Action.UID, "UID that the table does not list")
        if vr in ("DA", "DT", "TM"):
            return self._unlisted_date()
        if vr == "AS":
            keep = "retain_patient_characteristics" in self.options
            return Rule(Action.CLEAN if keep else Action.REMOVE, "age that the table does not list")
        if vr in BINARY_VRS:
            return Rule(Action.REMOVE, _REMOVED_BINARY)
        return Rule(Action.REMOVE, f"{vr} that the table does not list")

    def _unlisted_date(self) -> Rule:
        if "retain_full_dates" in self.options:
            return Rule(Action.KEEP, "date that the table does not list, option retain_full_dates")
        if "retain_modified_dates" in self.options:
            return Rule(Action.CLEAN, "date that the table does not list, option retain_modified_dates")
        return Rule(Action.REMOVE, "date that the table does not list")

    def _option(self, row: Row) -> str:
        """The active option that decides on a row; '' when none does."""
        return next((option for option in _PRECEDENCE if option in self.options and row.options.get(option)), "")

    def _decide(self, row: Row, iod_type: str) -> Rule:
        option = self._option(row)
        if option:
            return Rule(Action(row.options[option]), f"option {option}: {row.options[option]}", listed=True)
        action = resolve(row.basic, iod_type=iod_type)
        because = f"basic profile: {row.basic}"
        if row.basic != action.value:
            because += f", {_type(iod_type)}"
        return Rule(action, because, listed=True)


def _type(iod_type: str) -> str:
    if iod_type == ABSENT:
        return "not in the IOD"
    return "unknown IOD, so what keeps any IOD valid" if iod_type == UNKNOWN else f"type {iod_type} in the IOD"


def check_options(options: Iterable[str]) -> tuple[str, ...]:
    """The options in a fixed order; raises ``InvalidError`` for an unknown one and for two that contradict."""
    chosen = set(options)
    for option in chosen - set(OPTIONS):
        near = difflib.get_close_matches(option, OPTIONS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InvalidError(f"recipe options: wanted options of PS3.15, got {option!r}{hint}", code="option_unknown")
    for one, other, why in _CONFLICTS:
        if one in chosen and other in chosen:
            raise InvalidError(
                f"recipe options: wanted {one} or {other}, got both; {why}. Take one out", code="option_conflict"
            )
    return tuple(option for option in OPTIONS if option in chosen)
