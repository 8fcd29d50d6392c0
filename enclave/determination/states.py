"""The life of a determination: one table, who may move it, nothing else. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, get_args

from enclave.core.errors import ConflictError

State = Literal["draft", "under_assessment", "signed", "declined", "expired", "revoked", "superseded"]
STATES: Final[tuple[State, ...]] = get_args(State)

TRANSITIONS: Final[Mapping[State, frozenset[State]]] = MappingProxyType(
    {
        "draft": frozenset({"under_assessment"}),
        "under_assessment": frozenset({"signed", "declined"}),
        "signed": frozenset({"expired", "revoked", "superseded"}),
        "declined": frozenset(),
        "expired": frozenset(),
        "revoked": frozenset(),
        "superseded": frozenset(),
    }
)

MOVED_BY: Final[Mapping[tuple[State, State], str]] = MappingProxyType(
    {
        ("draft", "under_assessment"): "the named expert begins (determination.begin, or by signing or declining)",
        ("under_assessment", "signed"): "the named expert signs (determination.sign)",
        ("under_assessment", "declined"): "the named expert declines (determination.decline)",
        ("signed", "expired"): "time passes its end (the registry, at the next look)",
        ("signed", "revoked"): "the named expert or an honest broker revokes (determination.revoke)",
        ("signed", "superseded"): "a newer determination that names it is signed (the registry)",
    }
)


def may_move(old: str, new: str) -> bool:
    """Whether the table has the step from ``old`` to ``new``."""
    return new in TRANSITIONS.get(old, frozenset())  # type: ignore[call-overload]  # any text may be asked


def check_move(old: str, new: str) -> None:
    """Raises ``ConflictError`` (code ``determination_state``) when the table has no such step."""
    if not may_move(old, new):
        raise ConflictError(
            f"determination: wanted a state from which it can become {new}, got {old}; see its history",
            code="determination_state",
        )
