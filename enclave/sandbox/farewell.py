"""Why a kernel ends or stands still, since when, and whom to ask: the words that its person reads. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Final

_STEWARD: Final = "a data steward of this enclave"
_EXPERT: Final = "the expert who certified the data, or a data steward"
_OPERATOR: Final = "an operator of this enclave"
_REASONS: Final[dict[str, tuple[str, str]]] = {
    "certificate_revoked": ("the expert determination of a dataset that it had open was revoked", _EXPERT),
    "certificate_expired": ("the expert determination of a dataset that it had open has expired", _EXPERT),
    "certificate_missing": ("a dataset that it had open has no expert determination any more", _EXPERT),
    "certificate_superseded": ("the expert determination of a dataset that it had open was replaced", _EXPERT),
    "grant_revoked": ("the grant to a dataset that it had open was revoked", _STEWARD),
    "grant_over": ("the grant to a dataset that it had open is over", _STEWARD),
    "not_granted": ("there is no grant to a dataset that it had open any more", _STEWARD),
    "engagement_over": ("the engagement as an expert for a dataset that it had open is over", _STEWARD),
    "version_not_usable": ("a dataset version that it had open was withdrawn or destroyed", _STEWARD),
    "not_a_member": ("you are no member of its project any more", _STEWARD),
    "project_not_open": ("its project was closed", _STEWARD),
    "not_released": ("a dataset version that it had open is not released to its project any more", _STEWARD),
    "root_mismatch": ("a dataset that it had open is not what was certified", _OPERATOR),
    "run_time_over": ("its longest running time is over", _OPERATOR),
    "display_budget": ("cells went on showing output after the display budget was spent", _STEWARD),
    "by_operator": ("an operator or a data steward froze it", _STEWARD),
}


def ended_words(reason: str, *, at: datetime) -> str:
    """``reason`` is the code with which policy, broker or launcher ended a kernel at ``at``."""
    why, whom = _known(reason)
    return (
        f"This kernel was ended by the enclave: {why} ({reason}). Since {_time(at)}. What it had in memory is gone. "
        f"Ask {whom}. A restart begins anew with what you may open then."
    )


def frozen_words(reason: str, *, at: datetime) -> str:
    """The same for a kernel that stands still."""
    why, whom = _known(reason)
    return (
        f"This kernel is frozen by the enclave: {why} ({reason}). Since {_time(at)}. It runs nothing more and keeps "
        f"what it has until it is ended. Ask {whom}."
    )


def _known(reason: str) -> tuple[str, str]:
    return _REASONS.get(reason, ("it may not go on", _STEWARD))


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")
