"""The control catalogue: which safeguard is held by what, shown by which events and tests. Data, read once."""

from __future__ import annotations

import functools
import importlib.resources
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from enclave.audit.vocabulary import known_kinds
from enclave.core.errors import InvalidError

KINDS: Final = ("administrative", "physical", "technical")
WORKFLOWS: Final = ("ingest", "view", "share", "export")
_SECTION = re.compile(r"(164\.\d{3})?(\([a-zA-Z0-9]+\))*(-\([A-Za-z0-9]+\))?")
_ROW = re.compile(r"S(?:[1-9]|1[0-6])\.[1-9][0-9]?")
_NEEDED: Final = {"kind", "safeguard", "section", "workflow", "rows", "mechanism"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """One safeguard. ``by`` says who holds it: the product, or the organisation, which the product can only support."""

    id: str
    kind: str
    safeguard: str
    section: str
    workflow: tuple[str, ...]
    rows: tuple[str, ...]
    mechanism: str
    events: tuple[str, ...]
    tests: tuple[str, ...]
    by: str


@functools.cache
def known_controls() -> tuple[Control, ...]:
    """The catalogue of this release; raises ``InvalidError`` when it is malformed."""
    return parse_controls((importlib.resources.files("enclave.audit") / "controls.toml").read_text("utf-8"))


def parse_controls(text: str) -> tuple[Control, ...]:
    """All controls in ``text``, in its order; raises ``InvalidError`` naming the control and what is wrong with it."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidError(f"control catalogue: wanted TOML, got a syntax error: {error}") from None
    return tuple(_control(name, table) for name, table in document.items())


def _control(name: str, table: Any) -> Control:
    if not isinstance(table, dict) or not _NEEDED <= set(table) <= _NEEDED | {"events", "tests", "by"}:
        raise _fault(name, f"{', '.join(sorted(_NEEDED))}, and perhaps events, tests, by", "other keys")
    texts = {key: str(table[key]) for key in ("kind", "safeguard", "section", "mechanism")}
    lists = {key: tuple(map(str, table.get(key, ()))) for key in ("workflow", "rows", "events", "tests")}
    found = Control(id=name, by=str(table.get("by", "product")), **texts, **lists)  # type: ignore[arg-type]  # texts and lists by their names
    sections = found.section.split(", ")
    for wanted, holds in (
        ("a kind of safeguard", found.kind in KINDS),
        ("sections of 45 CFR 164", all(map(_SECTION.fullmatch, sections)) and sections[0].startswith("164.")),
        ("workflows, or all", bool(found.workflow) and set(found.workflow) <= {*WORKFLOWS, "all"}),
        ("rows of the register", all(map(_ROW.fullmatch, found.rows))),
        ("declared events", set(found.events) <= set(known_kinds())),
        ("product or organisation", found.by in ("product", "organisation")),
        ("rows, events and tests for what the product holds", found.by != "product" or _is_held(found)),
    ):
        if not holds:
            raise _fault(name, wanted, "another word or none")
    return found


def _is_held(control: Control) -> bool:
    return bool(control.rows and control.events and control.tests)


def _fault(name: str, wanted: str, got: str) -> InvalidError:
    return InvalidError(f"control {name}: wanted {wanted}, got {got}")


def evidence_of(control: Control, counts: Sequence[tuple[str, str, int]]) -> Mapping[str, Any]:
    """A control with how often each of its events stands in ``counts`` (kind, outcome, number)."""
    events: dict[str, dict[str, int]] = {kind: {} for kind in control.events}
    for kind, outcome, number in counts:
        if kind in events:
            events[kind][outcome] = number
    return {
        "id": control.id,
        "kind": control.kind,
        "safeguard": control.safeguard,
        "section": f"45 CFR {control.section}",
        "workflow": list(WORKFLOWS) if "all" in control.workflow else list(control.workflow),
        "rows": list(control.rows),
        "mechanism": control.mechanism,
        "held_by": control.by,
        "tests": list(control.tests),
        "events": events,
    }
