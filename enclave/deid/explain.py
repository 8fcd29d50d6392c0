"""What happens with each attribute under a recipe, and why: for people, and for the table in the docs."""

from __future__ import annotations

import difflib
import re
from collections import Counter

from pydicom._uid_dict import UID_dictionary
from pydicom.datadict import dictionary_description, dictionary_has_tag, dictionary_VR

from enclave.core.errors import InvalidError
from enclave.deid.iods import iod_of, item_types, top_types
from enclave.deid.places import Places
from enclave.deid.profile import Profile, Row, Rule
from enclave.deid.recipe import Recipe
from enclave.deid.table import table_rows

_TAG = re.compile(r"\(?([0-9a-fA-F]{4}),?\s*([0-9a-fA-F]{4})\)?")
_PRIVATE = "private: removed unless creator and element are on the safe list or in the recipe"
_UNLISTED = ("LO", "PN", "CS", "DS", "UI", "DA", "TM", "AS", "SQ", "OB", "AE", "UR")
_INSTEAD = {  # a value of Z may be one that says nothing (PS3.15 E.3)
    0x00100010: "; the patient's pseudonym stands in its place",
    0x00100020: "; the patient's pseudonym stands in its place",
    0x00080050: "; a pseudonym stands in its place",
    0x00420011: "; of a PDF a new one with its cleaned text, where clean_descriptors holds; others hold the file back",
}
_TYPE_1 = (
    "a value of type 1 or 1C that does not survive becomes a dummy; a number that may not stay holds the file back; "
    "number arrays (OF, OD, OL, OV, OW) of type 1 that the table does not list stay and are searched"
)


def explain_all(recipe: Recipe, *, sop_class: str = "") -> list[dict[str, str]]:
    """One entry for each row of Table E.1-1, then the rules for what it does not list.

    ``sop_class``, a UID or a keyword such as ``CTImageStorage``, resolves each row by its IOD; raises
    ``InvalidError`` for what is no SOP class.
    """
    explainer = _Explainer(recipe, sop_class)
    listed = [explainer.row(row) for row in table_rows()]
    unlisted = [_entry(f"unlisted {vr}", "", explainer.profile.unlisted(vr)) for vr in _UNLISTED]
    others = [
        {"tag": tag, "name": "", "action": action, "because": why}
        for tag, action, why in (("type 1", "D", _TYPE_1), ("odd groups", "X", _PRIVATE))
    ]
    return [*listed, *unlisted, *others]


def explain_tag(text: str, *, recipe: Recipe, sop_class: str = "") -> dict[str, str]:
    """The entry of one attribute; raises ``InvalidError`` for what is no tag, and for what is no SOP class."""
    found = _TAG.fullmatch(text.strip())
    if not found:
        raise InvalidError("deid explain: wanted a tag such as 0010,0010, got another form")
    tag = int(found.group(1) + found.group(2), 16)
    explainer = _Explainer(recipe, sop_class)
    shown = f"{found.group(1)},{found.group(2)}".lower()
    if tag >> 16 & 1:
        return {"tag": shown, "name": "", "action": "X", "because": _PRIVATE}
    row = explainer.profile.row(tag)
    if row is not None:
        return {**explainer.row(row), "tag": shown}
    name = dictionary_description(tag) if dictionary_has_tag(tag) else ""
    return _entry(shown, name, explainer.unlisted(tag))


class _Explainer:
    def __init__(self, recipe: Recipe, sop_class: str) -> None:
        self.profile = Profile(table_rows(), options=recipe.options, minimum=recipe.needed())
        self._place = Places(self.profile).top(_sop_class(sop_class)) if sop_class else None

    def row(self, row: Row) -> dict[str, str]:
        """What happens with a row: in the IOD that was asked for, else in each."""
        tag = int(row.tag.replace("x", "0"), 16)
        vr = _vr(tag)
        shown = f"{row.tag[:4]},{row.tag[4:]}"
        if self._place is not None:
            return _entry(shown, row.name, self._place[tag, vr], also=_INSTEAD.get(tag, ""))
        unknown = self.profile.rule(tag, vr=vr, top=True)
        if not unknown.because.startswith("basic profile"):
            return _entry(shown, row.name, unknown)
        tops = self._actions(tag, vr, top_types()[tag], top=True)
        items = self._actions(tag, vr, item_types()[tag], top=False)
        if {*tops, *items} == {row.basic}:
            return _entry(shown, row.name, unknown, also=_INSTEAD.get(tag, ""))
        parts = [f"top level: {_counted(tops)} of the SOP classes", f"unknown IOD: {unknown.action.value}"]
        if items:
            parts.insert(1, f"items: {_counted(items)} of the sequences that have it")
        because = f"basic profile: {row.basic}, by the type in the IOD; {'; '.join(parts)}"
        return {"tag": shown, "name": row.name, "action": row.basic, "because": because + _INSTEAD.get(tag, "")}

    def _actions(self, tag: int, vr: str, types: Counter[str], *, top: bool) -> Counter[str]:
        found: Counter[str] = Counter()
        for iod_type, times in types.items():
            if times:
                found[self.profile.rule(tag, vr=vr, iod_type=iod_type, top=top).action.value] += times
        return found

    def unlisted(self, tag: int) -> Rule:
        """The rule of an attribute that has no row."""
        vr = _vr(tag)
        return self.profile.rule(tag, vr=vr, top=True) if self._place is None else self._place[tag, vr]


def _counted(actions: Counter[str]) -> str:
    return ", ".join(f"{action} in {actions[action]}" for action in "DZUX" if actions[action])


def _sop_class(text: str) -> str:
    """The UID of a SOP class given as UID or keyword."""
    by_keyword = {facts[4]: uid for uid, facts in UID_dictionary.items() if facts[1] == "SOP Class"}
    uid = by_keyword.get(text.strip(), text.strip())
    if uid in by_keyword.values() or iod_of(uid) is not None:
        return uid
    near = difflib.get_close_matches(text, by_keyword, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise InvalidError(f"deid explain: wanted the UID or keyword of a SOP class, got another word{hint}")


def _vr(tag: int) -> str:
    return dictionary_VR(tag).split(" or ")[0] if dictionary_has_tag(tag) else "UN"


def _entry(shown: str, name: str, rule: Rule, *, also: str = "") -> dict[str, str]:
    return {"tag": shown, "name": name, "action": rule.action.value, "because": rule.because + also}
