"""Checks about security keys: who may enrol one, and whether one confirmed this very act. Pure."""

from __future__ import annotations

from enclave.policy.checks import Case
from enclave.policy.model import REASONS


def code_for_another(case: Case) -> str | None:
    """Nobody vouches for themselves."""
    if not case.resource.person:
        return "missing_fact"
    return "own_enrolment" if case.resource.person == case.actor.name else None


def code_fits(case: Case) -> str | None:
    """The right code of another person, for this person, in time and within the tries."""
    found = case.facts.security_key
    if found is None or found.person != case.actor.name:
        return "enrolment_code_missing"
    if found.issued_by in ("", case.actor.name):
        return "own_enrolment"
    if found.tries > 5:
        return "enrolment_code_tries"
    if not found.in_time:
        return "enrolment_code_late"
    return None if found.right else "enrolment_code_wrong"


def key_known(case: Case) -> str | None:
    """Somebody's key."""
    return None if case.resource.person else "missing_fact"


def own_key(case: Case) -> str | None:
    """Of one's own keys only."""
    return None if case.resource.person == case.actor.name else "not_own_key"


def stepped_up(case: Case) -> str | None:
    """A security key of the actor confirmed exactly this act a moment ago."""
    found = case.facts.step_up
    if found is None:
        return "step_up_missing"
    if found.person != case.actor.name:
        return "other_resource"
    if found.reason == "ok":
        return None if found.key else "missing_fact"
    return found.reason if found.reason in REASONS else "security_key_invalid"
