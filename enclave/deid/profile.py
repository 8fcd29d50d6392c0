"""What happens with an attribute and why: Table E.1-1 with its options, and the rule for what it does not list. Pure.

Source of the rows: DICOM PS3.15 Annex E (see ``standard/edition.toml``). Rows are given, not read here.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from enclave.core.errors import InvalidError
from enclave.deid.actions import BINARY_VRS, NUMBER_VRS, TEXT_VRS, Action, resolve

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


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table; ``tag`` is eight hex digits, ``x`` where a repeating group has any digit."""

    tag: str
    name: str
    basic: str
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rule:
    """What happens with an attribute: the action, and the reason in words."""

    action: Action
    because: str


class Profile:
    """The basic profile with a checked set of options."""

    def __init__(self, rows: Iterable[Row], *, options: Iterable[str]) -> None:
        self.options = check_options(options)
        self._rows: dict[str, Row] = {row.tag: row for row in rows}
        self._known: dict[int, Rule | None] = {}

    def row(self, tag: int) -> Row | None:
        """The row for ``tag``, of a repeating group too."""
        text = f"{tag:08x}"
        found = self._rows.get(text)
        if found is None and text[:2] in ("50", "60"):
            found = self._rows.get(f"{text[:2]}xx{text[4:]}") or self._rows.get(f"{text[:2]}xxxxxx")
        return found

    def listed(self, tag: int) -> Rule | None:
        """The rule of the table, None when it does not list ``tag``."""
        if tag not in self._known:
            row = self.row(tag)
            self._known[tag] = self._decide(row) if row else None
        return self._known[tag]

    def rule(self, tag: int, *, vr: str) -> Rule:
        """The rule for any standard attribute: the table's, else the one for its value representation."""
        return self.listed(tag) or self.unlisted(vr)

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

    def _decide(self, row: Row) -> Rule:
        for option in _PRECEDENCE:
            letter = row.options.get(option)
            if option in self.options and letter:
                return Rule(Action(letter), f"option {option}: {letter}")
        return Rule(resolve(row.basic), f"basic profile: {row.basic}")


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
