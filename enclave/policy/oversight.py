"""Checks for what auditors do: alerts and the review of weeks."""

from __future__ import annotations

from enclave.policy.checks import Case, Check


def alert_of_another(*states: str) -> Check:
    """An alert in one of these states that is about somebody else."""

    def check_alert(case: Case) -> str | None:
        found = case.facts.oversight
        if found is None or not found.subject:
            return "missing_fact"
        if found.id != case.resource.id:
            return "other_resource"
        if found.subject == case.actor.name:
            return "own_alert"
        return None if found.state in states else "alert_state"

    return check_alert


def week_to_sign(case: Case) -> str | None:
    """A week that is over, whose alerts were all taken up, and that the actor has not signed."""
    found = case.facts.oversight
    if found is None:
        return "missing_fact"
    if found.id != case.resource.id:
        return "other_resource"
    if not found.over:
        return "week_not_over"
    if found.untouched:
        return "alerts_untouched"
    return "signed_already" if case.actor.name in found.signed_by else None
