"""What speaks against an act on agreements, and against one that an agreement no longer covers. Pure."""

from __future__ import annotations

from enclave.policy.checks import Case, Check


def covered(case: Case) -> str | None:
    """A project that worked under an agreement works on only while one is in force (S12.1)."""
    project = case.facts.project
    if project is None:
        return "missing_fact"
    if project.name != case.resource.project:
        return "other_resource"
    return "agreement_over" if project.agreement not in ("none", "live") else None


def covered_to_approve(case: Case) -> str | None:
    """As ``covered``, for the approval of a release; a refusal needs no agreement."""
    return None if case.facts.release is not None and not case.facts.release.approve else covered(case)


def agreement_in(*states: str) -> Check:
    """The agreement acted on is in one of ``states``."""

    def found(case: Case) -> str | None:
        agreement = case.facts.agreement
        if agreement is None:
            return "missing_fact"
        if (agreement.id, agreement.project) != (case.resource.id, case.resource.project):
            return "other_resource"
        return None if agreement.state in states else "agreement_state"

    return found


def recorded_by_another(case: Case) -> str | None:
    """Who compares the record with what was signed is not who wrote it."""
    agreement = case.facts.agreement
    if agreement is None or not agreement.recorded_by:
        return "missing_fact"
    return "requester_decides" if agreement.recorded_by == case.actor.name else None
