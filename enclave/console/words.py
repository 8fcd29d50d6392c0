"""How times, sizes, states and places are written on a page. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from enclave.core.clock import parse_time
from enclave.core.errors import EnclaveError

# state → (words, tone); tones are classes of the style sheet
STATES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "submitted": ("frozen", "calm"),
        "checking": ("being checked", "calm"),
        "awaiting_review": ("waiting for review", "wait"),
        "blocked": ("blocked by a check", "stop"),
        "returned": ("returned to its author", "wait"),
        "rejected": ("rejected", "stop"),
        "approved": ("approved", "good"),
        "released": ("released", "good"),
        "delivered": ("delivered", "calm"),
        "withdrawn": ("withdrawn", "calm"),
        "candidate": ("candidate", "wait"),
        "received": ("received", "calm"),
        "deidentifying": ("being de-identified", "calm"),
        "measuring": ("being measured", "calm"),
        "sealing": ("being sealed", "calm"),
        "sealed": ("sealed", "good"),
        "active": ("active", "good"),
        "shredded": ("shredded", "stop"),
        "waits": ("waiting for a confirmation", "wait"),
        "live": ("in force", "good"),
        "not_begun": ("not begun", "wait"),
        "ended": ("ended", "stop"),
        "requested": ("waiting for a decision", "wait"),
        "refused": ("refused", "stop"),
        "queued": ("queued", "calm"),
        "running": ("running", "calm"),
        "done": ("done", "good"),
        "failed": ("failed", "stop"),
        "open": ("open", "stop"),
        "spent": ("used up, to be reviewed", "wait"),
        "over": ("over, to be reviewed", "wait"),
        "lapsed": ("lapsed", "calm"),
        "reviewed": ("reviewed", "good"),
        "closed": ("closed", "calm"),
        "draft": ("draft", "calm"),
        "under_assessment": ("under assessment", "wait"),
        "signed": ("signed", "good"),
        "declined": ("declined", "stop"),
        "revoked": ("revoked", "stop"),
        "expired": ("expired", "stop"),
        "pass": ("nothing found", "good"),
        "review": ("look closely", "wait"),
        "block": ("cannot leave", "stop"),
        "acknowledged": ("taken up", "wait"),
        "resolved": ("closed", "good"),
        "low": ("low", "calm"),
        "medium": ("medium", "wait"),
        "high": ("high", "stop"),
        "critical": ("critical", "stop"),
        "unsigned": ("not signed off", "wait"),
        "ok": ("ok", "good"),
        "intent": ("begun", "calm"),
        "": ("not checked yet", "calm"),
    }
)
ROLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "researcher": "researcher",
        "expert": "expert",
        "honest_broker": "honest broker",
        "output_checker": "output checker",
        "data_steward": "data steward",
        "auditor": "auditor",
        "operator": "operator",
    }
)
_UNKNOWN: Final = "—"
_FIRST: Final = ("results", "counts", "thresholds", "quality", "assumptions", "methods", "deidentification")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def state_words(state: str) -> str:
    """A state in words."""
    return STATES.get(state, (state.replace("_", " "), "calm"))[0]


def state_tone(state: str) -> str:
    """The tone of a state: good, wait, stop or calm."""
    return STATES.get(state, ("", "calm"))[1]


def role_words(role: str) -> str:
    """A role in words."""
    return ROLES.get(role, role.replace("_", " "))


def time_words(text: str) -> str:
    """RFC 3339 as ``22 Nov 2026, 15:04 UTC``; what is no time stays as it is."""
    try:
        at = parse_time(text)
    except EnclaveError:
        return text
    return f"{at.day} {_MONTHS[at.month - 1]} {at.year}, {at.hour:02}:{at.minute:02} UTC"


def moment_words(text: str) -> str:
    """As ``time_words`` with seconds: ``22 Nov 15:04:31``, for tables of what happened today or lately."""
    try:
        at = parse_time(text)
    except EnclaveError:
        return text
    return f"{at.day} {_MONTHS[at.month - 1]} {at.hour:02}:{at.minute:02}:{at.second:02}"


def size_words(size_bytes: int) -> str:
    """A size for people."""
    if size_bytes < 1_000:
        return f"{size_bytes} bytes"
    if size_bytes < 1_000_000:
        return f"{size_bytes / 1_000:.1f} kB"
    return f"{size_bytes / 1_000_000:.1f} MB"


def place_words(where: Any) -> str:
    """The place of a finding: ``line 3, cell B3``."""
    if not isinstance(where, dict) or where.get("file"):
        return "whole file"
    parts = []
    for name in ("page", "sheet", "cell", "line", "region"):
        if name in where:
            value = where[name]
            shown = "×".join(str(v) for v in value[2:]) if name == "region" and isinstance(value, list) else value
            parts.append(f"{name} {shown}")
    return ", ".join(parts) or "whole file"


def cell_words(value: Any) -> str:
    """One value of a query's answer: lists joined, objects as ``name: value``, nothing for nothing."""
    if value is None:
        return ""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return cell_words(json.loads(value))
        except ValueError:
            return value
    if isinstance(value, list):
        shown = [cell_words(item) for item in value[:6]]
        return ", ".join(shown) + (f" and {len(value) - 6} more" if len(value) > 6 else "")
    if isinstance(value, dict):
        return " · ".join(f"{name}: {_short(cell_words(item))}" for name, item in value.items())
    return str(value)


def _short(text: str) -> str:
    return text[:8] + "…" if len(text) > 60 or re.fullmatch(r"[0-9a-f]{24,}", text) else text


Rows = list[tuple[str, str]]


def grouped(value: Any) -> list[tuple[str, Rows]]:
    """A JSON summary as titled groups of name and value; what a decision rests on comes first."""
    if not isinstance(value, dict):
        return []
    plain = {name: item for name, item in value.items() if not isinstance(item, dict)}
    groups = [(str(name).replace("_", " "), flat(item)) for name, item in value.items() if isinstance(item, dict)]
    order = {name: place for place, name in enumerate(_FIRST)}
    found = [("in short", flat(plain)), *sorted(groups, key=lambda group: order.get(group[0], len(order)))]
    known = [(title, [row for row in rows if row[1] != _UNKNOWN]) for title, rows in found]
    return [(title, rows) for title, rows in known if rows]


def flat(value: dict[str, Any], *, depth: int = 3) -> Rows:
    """A JSON object as rows of name and value, nested names joined by ``·``."""
    rows: Rows = []
    for name, item in value.items():
        words = str(name).replace("_", " ")
        if isinstance(item, dict) and depth > 1:
            rows += [(f"{words} · {inner}", text) for inner, text in flat(item, depth=depth - 1)]
        elif isinstance(item, list):
            plain = all(isinstance(i, str | int | float) for i in item)
            rows.append((words, ", ".join(map(_number, item[:12])) if plain else f"{len(item)} entries"))
        elif not isinstance(item, dict):
            rows.append((words, _number(item)))
    return rows


def _number(item: Any) -> str:
    if isinstance(item, float):
        return f"{item:.4g}"
    if isinstance(item, bool):
        return "yes" if item else "no"
    return _UNKNOWN if item is None else str(item).replace("_", " ")
