"""What happens with each attribute under a recipe, and why: for people, and for the table in the docs."""

from __future__ import annotations

import re

from pydicom.datadict import dictionary_description, dictionary_has_tag, dictionary_VR

from enclave.core.errors import InvalidError
from enclave.deid.profile import Profile, Row
from enclave.deid.recipe import Recipe
from enclave.deid.table import table_rows

_TAG = re.compile(r"\(?([0-9a-fA-F]{4}),?\s*([0-9a-fA-F]{4})\)?")
_PRIVATE = "private: removed unless creator and element are on the safe list or in the recipe"


def explain_all(recipe: Recipe) -> list[dict[str, str]]:
    """One entry for each row of Table E.1-1, then the rules for what it does not list."""
    profile = Profile(table_rows(), options=recipe.options)
    listed = [_entry(row, profile) for row in table_rows()]
    unlisted = [
        {"tag": f"unlisted {vr}", "name": "", "action": rule.action.value, "because": rule.because}
        for vr in ("LO", "PN", "CS", "DS", "UI", "DA", "TM", "AS", "SQ", "OB", "AE", "UR")
        for rule in (profile.unlisted(vr),)
    ]
    return [*listed, *unlisted, {"tag": "odd groups", "name": "", "action": "X", "because": _PRIVATE}]


def explain_tag(text: str, *, recipe: Recipe) -> dict[str, str]:
    """The entry of one attribute; raises ``InvalidError`` for what is no tag."""
    found = _TAG.fullmatch(text.strip())
    if not found:
        raise InvalidError("deid explain: wanted a tag such as 0010,0010, got another form")
    tag = int(found.group(1) + found.group(2), 16)
    profile = Profile(table_rows(), options=recipe.options)
    shown = f"{found.group(1)},{found.group(2)}".lower()
    if tag >> 16 & 1:
        return {"tag": shown, "name": "", "action": "X", "because": _PRIVATE}
    row = profile.row(tag)
    if row is not None:
        return {**_entry(row, profile), "tag": shown}
    vr = dictionary_VR(tag) if dictionary_has_tag(tag) else "UN"
    name = dictionary_description(tag) if dictionary_has_tag(tag) else ""
    rule = profile.unlisted(vr.split(" or ")[0])
    return {"tag": shown, "name": name, "action": rule.action.value, "because": rule.because}


def _entry(row: Row, profile: Profile) -> dict[str, str]:
    number = row.tag.replace("x", "0")
    rule = profile.listed(int(number, 16))
    assert rule is not None  # noqa: S101 - the row is in the table
    return {
        "tag": f"{row.tag[:4]},{row.tag[4:]}",
        "name": row.name,
        "action": rule.action.value,
        "because": rule.because,
    }
