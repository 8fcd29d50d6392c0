"""The one place where rights are decided: a table of actions, roles and checks; what is not in it is refused.

Pure: the services fetch the facts, this module only compares them. A missing fact is a denial.
Conflict of duty (nobody grants to himself or his own project; who requests does not approve; expert, steward
and honest broker of one version are three people; an author never votes; two different approvers) is in the checks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from enclave.core.errors import DeniedError, InvalidError
from enclave.policy.model import (
    PERSON_ROLES,
    REASONS,
    ROLES,
    SERVICE_PREFIX,
    Actor,
    Decision,
    Facts,
    Resource,
)


@dataclass(frozen=True, slots=True)
class Case:
    """One question, as every check sees it; ``role`` is the role under which the actor may be allowed."""

    actor: Actor
    role: str
    resource: Resource
    facts: Facts
    at: datetime


Check = Callable[[Case], str | None]
"""A check returns the reason of its denial, or None."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One way to be allowed: one of these roles, and every check silent."""

    roles: frozenset[str]
    checks: tuple[Check, ...] = ()


def decide(actor: Actor, action: str, resource: Resource, facts: Facts, at: datetime) -> Decision:
    """Whether ``actor`` may do ``action`` on ``resource`` at ``at`` (aware UTC), and why not.

    Allowed when one rule of the action holds for one of the actor's roles; otherwise the reason is that of the
    first rule whose role the actor has. Raises ``InvalidError`` for a time without zone.
    """
    if at.tzinfo is None:
        raise InvalidError("policy: wanted an aware time, got one without a zone")
    rules = RULES.get(action)
    if rules is None:
        return _denied("unknown_action")
    if not _known(actor):
        return _denied("unknown_actor")
    first = "role"
    for rule in rules:
        for role in sorted(rule.roles & actor.roles):
            reason = _first_denial(rule.checks, Case(actor, role, resource, facts, at))
            if reason is None:
                return Decision(allowed=True, reason="ok", message=REASONS["ok"], role=role)
            first = reason if first == "role" else first
    return _denied(first)


def check(decision: Decision) -> None:
    """Raises ``DeniedError`` with the decision's reason as its code unless it is allowed."""
    if not decision.allowed:
        raise DeniedError(decision.message, code=decision.reason)


def _denied(reason: str) -> Decision:
    return Decision(allowed=False, reason=reason, message=REASONS[reason])


def _first_denial(checks: tuple[Check, ...], case: Case) -> str | None:
    return next((reason for one in checks if (reason := one(case)) is not None), None)


def _known(actor: Actor) -> bool:
    is_service = actor.name.startswith(SERVICE_PREFIX)
    return bool(actor.name and actor.roles <= ROLES and ("service" in actor.roles) == is_service)


# ── checks ──────────────────────────────────────────────────────────────────


def _service(name: str) -> Check:
    def named(case: Case) -> str | None:
        return None if case.actor.name == SERVICE_PREFIX + name else "service"

    return named


def _project_open(case: Case) -> str | None:
    project = case.facts.project
    if project is None:
        return "missing_fact"
    if project.name != case.resource.project:
        return "other_resource"
    return None if project.state == "open" else "project_not_open"


def _project_known(case: Case) -> str | None:
    project = case.facts.project
    if project is None:
        return "missing_fact"
    return None if project.name == case.resource.project else "other_resource"


def _member(case: Case) -> str | None:
    project = case.facts.project
    if project is None:
        return "missing_fact"
    return None if project.member_role == case.role else "not_a_member"


def _not_a_member(case: Case) -> str | None:
    project = case.facts.project
    if project is None:
        return "missing_fact"
    return "own_project" if project.member_role else None


def _not_to_oneself(case: Case) -> str | None:
    if not case.resource.person:
        return "missing_fact"
    return "self_grant" if case.resource.person == case.actor.name else None


def _version_there(case: Case) -> str | None:
    version = case.facts.version
    if version is None:
        return "missing_fact"
    if (version.dataset, version.version) != (case.resource.dataset, case.resource.version):
        return "other_resource"
    return None if version.state in ("candidate", "released") else "version_not_usable"


def _released_here(case: Case) -> str | None:
    version = case.facts.version
    if version is None:
        return "missing_fact"
    if (version.dataset, version.version) != (case.resource.dataset, case.resource.version):
        return "other_resource"
    if version.state in ("withdrawn", "shredded"):
        return "version_not_usable"
    return None if version.state == "released" and version.released_to_project else "not_released"


_CERTIFICATE_REASONS: Final = frozenset(
    reason.removeprefix("certificate_") for reason in REASONS if reason.startswith("certificate_")
)


def _certificate_holds(case: Case) -> str | None:
    certificate, version = case.facts.certificate, case.facts.version
    if certificate is None or version is None:
        return "certificate_missing" if certificate is None else "missing_fact"
    if not certificate.valid:
        known = certificate.reason in _CERTIFICATE_REASONS
        return f"certificate_{certificate.reason}" if known else "certificate_invalid"
    if not version.content_root or certificate.content_root != version.content_root:
        return "certificate_other_root"
    if case.at < certificate.not_before:
        return "certificate_not_yet_valid"
    return "certificate_expired" if case.at >= certificate.expires else None


def _three_people(case: Case) -> str | None:
    """The actor as honest broker against the version's steward and the certificate's expert."""
    certificate, version = case.facts.certificate, case.facts.version
    if version is None or not version.steward:
        return "missing_fact"
    if version.steward == case.actor.name:
        return "steward_is_broker"
    if certificate is None:
        return "certificate_missing" if _approving(case) else None
    if not certificate.expert:
        return "missing_fact"
    if certificate.expert == case.actor.name:
        return "expert_is_broker"
    return "expert_is_steward" if certificate.expert == version.steward else None


def _requester_is_not_expert(case: Case) -> str | None:
    certificate = case.facts.certificate
    if certificate is None or not certificate.expert:
        return "certificate_missing" if certificate is None else "missing_fact"
    return "expert_is_steward" if certificate.expert == case.actor.name else None


def _approving(case: Case) -> bool:
    return case.facts.release is None or case.facts.release.approve


def _certificate_holds_to_approve(case: Case) -> str | None:
    return _certificate_holds(case) if _approving(case) else None


def _project_open_to_approve(case: Case) -> str | None:
    return _project_open(case) if _approving(case) else _project_known(case)


def _release_waits(case: Case) -> str | None:
    release = case.facts.release
    if release is None:
        return "missing_fact"
    if release.id != case.resource.id:
        return "other_resource"
    if release.requested_by == case.actor.name:
        return "requester_decides"
    return None if release.state == "requested" else "release_state"


def _determination(*states: str) -> Check:
    def in_state(case: Case) -> str | None:
        found = case.facts.determination
        if found is None:
            return "missing_fact"
        if found.id != case.resource.id:
            return "other_resource"
        return None if found.state in states else "determination_state"

    return in_state


def _named_expert(case: Case) -> str | None:
    found = case.facts.determination
    if found is None:
        return "missing_fact"
    return None if found.expert == case.actor.name else "not_named_expert"


def _expert_is_not_steward(case: Case) -> str | None:
    found = case.facts.determination
    if found is None or not found.steward or not found.expert:
        return "missing_fact"
    return "expert_is_steward" if found.steward == found.expert else None


def _not_expert_of_it(case: Case) -> str | None:
    found = case.facts.determination
    if found is None:
        return "missing_fact"
    return "expert_is_steward" if found.expert == case.actor.name else None


def _engaged(case: Case) -> str | None:
    engagement = case.facts.engagement
    if engagement is None or engagement.expert != case.actor.name:
        return "no_engagement"
    return "engagement_over" if case.at >= engagement.until else None


def _engaged_for_this(case: Case) -> str | None:
    engagement, version = case.facts.engagement, case.facts.version
    if engagement is None or version is None:
        return "missing_fact"
    same = (engagement.dataset, engagement.version, engagement.content_root) == (
        version.dataset,
        version.version,
        version.content_root,
    )
    return None if same else "no_engagement"


def _egress_known(case: Case) -> str | None:
    egress = case.facts.egress
    if egress is None or not egress.author:
        return "missing_fact"
    return None if egress.id == case.resource.id else "other_resource"


def _not_the_author(case: Case) -> str | None:
    return "author_votes" if case.facts.egress and case.facts.egress.author == case.actor.name else None


def _outside_of_its_project(case: Case) -> str | None:
    return "own_project" if case.facts.egress and case.facts.egress.actor_is_member else None


def _open_for_votes(case: Case) -> str | None:
    return None if case.facts.egress and case.facts.egress.open_for_votes else "not_open_for_votes"


def _first_vote(case: Case) -> str | None:
    return "voted_already" if case.facts.egress and case.actor.name in case.facts.egress.voters else None


def _two_approvals(case: Case) -> str | None:
    egress = case.facts.egress
    if egress is None:
        return "missing_fact"
    if egress.author in egress.approvers:
        return "author_votes"
    if egress.rejecters:
        return "rejected"
    return None if len(egress.approvers) >= 2 else "too_few_approvals"


def _author(case: Case) -> str | None:
    return None if case.facts.egress and case.facts.egress.author == case.actor.name else "not_the_author"


def _deliverable(case: Case) -> str | None:
    egress = case.facts.egress
    if egress is None or not egress.released:
        return "not_released_yet"
    return "delivered_already" if egress.delivered else None


def _withdrawable(case: Case) -> str | None:
    return None if case.facts.egress and case.facts.egress.withdrawable else "not_withdrawable"


def _break_glass(*states: str) -> Check:
    def in_state(case: Case) -> str | None:
        found = case.facts.break_glass
        if found is None:
            return "missing_fact"
        if found.id != case.resource.id:
            return "other_resource"
        if found.state in states:
            return None
        return "break_glass_over" if found.state in ("spent", "over", "lapsed", "reviewed") else "break_glass_state"

    return in_state


def _on_no_project_of_it(case: Case) -> str | None:
    found = case.facts.break_glass
    if found is None or found.actor_on_project is None:
        return "missing_fact"
    return "own_project" if found.actor_on_project else None


def _the_requester(case: Case) -> str | None:
    found = case.facts.break_glass
    return None if found and found.requested_by == case.actor.name else "not_the_requester"


def _another_approver(case: Case) -> str | None:
    found = case.facts.break_glass
    if found is None or not found.requested_by:
        return "missing_fact"
    if found.requested_by == case.actor.name:
        return "requester_decides"
    return "approved_already" if case.actor.name in found.approvers else None


def _had_no_part(case: Case) -> str | None:
    found = case.facts.break_glass
    if found is None or not found.requested_by:
        return "missing_fact"
    return "took_part" if case.actor.name in {found.requested_by, *found.approvers} else None


def _two_who_agreed(case: Case) -> str | None:
    found = case.facts.break_glass
    return None if found and len(found.approvers - {found.requested_by}) >= 2 else "too_few_approvals"


def _reviewed_before(case: Case) -> str | None:
    return "break_glass_review" if case.facts.break_glass and case.facts.break_glass.review_pending else None


def _reviews_for_another(case: Case) -> str | None:
    review = case.facts.review
    if review is None or not review.submitted_by:
        return "missing_fact"
    if review.batch != case.resource.id:
        return "other_resource"
    if review.submitted_by == case.actor.name:
        return "reviews_own_batch"
    return None if review.waiting else "not_in_sample"


# ── the table ───────────────────────────────────────────────────────────────


def _rule(*roles: str, checks: tuple[Check, ...] = ()) -> Rule:
    return Rule(frozenset(roles), checks)


_ANYBODY: Final = (Rule(PERSON_ROLES),)
_UNDECIDED: Final = _determination("draft", "under_assessment")
_JUDGE_EGRESS: Final = (_egress_known, _not_the_author, _outside_of_its_project, _open_for_votes)

RULES: Final[dict[str, tuple[Rule, ...]]] = {
    "project.create": (_rule("data_steward"),),
    "project.show": _ANYBODY,
    "project.close": (_rule("data_steward", checks=(_project_open,)),),
    "project.member_add": (_rule("data_steward", checks=(_not_to_oneself, _project_open, _not_a_member)),),
    "project.member_remove": (_rule("data_steward", checks=(_project_known,)),),
    "intake.add": (_rule("data_steward"),),
    "intake.review": (_rule("data_steward", "honest_broker", checks=(_reviews_for_another,)),),
    "intake.list": (_rule("data_steward", "honest_broker", "expert"),),
    "version.register": (_rule("service", checks=(_service("intake"),)),),
    "version.list": _ANYBODY,
    "determination.draft": (
        _rule("expert", checks=(_version_there, _named_expert, _expert_is_not_steward)),
        _rule("data_steward", checks=(_version_there, _not_expert_of_it, _expert_is_not_steward)),
        _rule("service", checks=(_service("intake"), _version_there, _expert_is_not_steward)),
    ),
    "determination.sign": (
        _rule("expert", checks=(_UNDECIDED, _named_expert, _expert_is_not_steward, _version_there)),
    ),
    "determination.begin": (_rule("expert", checks=(_determination("draft"), _named_expert)),),
    "determination.decline": (_rule("expert", checks=(_UNDECIDED, _named_expert)),),
    "determination.revoke": (
        _rule("expert", checks=(_determination("signed"), _named_expert)),
        _rule("honest_broker", checks=(_determination("signed"),)),
    ),
    "determination.show": _ANYBODY,
    "release.request": (
        _rule(
            "data_steward",
            checks=(_project_open, _not_a_member, _version_there, _certificate_holds, _requester_is_not_expert),
        ),
    ),
    "release.decide": (
        _rule(
            "honest_broker",
            checks=(
                _release_waits,
                _project_open_to_approve,
                _not_a_member,
                _version_there,
                _three_people,
                _certificate_holds_to_approve,
            ),
        ),
    ),
    "release.list": _ANYBODY,
    "server.start": (_rule("researcher", "expert"),),
    "kernel.start": (
        _rule("researcher", checks=(_project_open, _member)),
        _rule("expert", checks=(_engaged,)),
        _rule("service", checks=(_service("reports"), _project_open)),
    ),
    "dataset.open": (
        _rule("researcher", checks=(_project_open, _member, _released_here, _certificate_holds)),
        _rule("expert", checks=(_engaged, _version_there, _engaged_for_this)),
        _rule(
            "service",
            checks=(_service("reports"), _project_open, _released_here, _certificate_holds),
        ),
    ),
    "egress.submit": (_rule("researcher", checks=(_project_open, _member)),),
    "egress.list": (_rule("researcher", "output_checker", "auditor"),),
    "egress.preview": (_rule("output_checker", checks=_JUDGE_EGRESS),),
    "egress.vote": (_rule("output_checker", checks=(*_JUDGE_EGRESS, _first_vote)),),
    "egress.release": (_rule("service", checks=(_service("airlock"), _egress_known, _two_approvals)),),
    "egress.deliver": (_rule("researcher", checks=(_egress_known, _author, _deliverable)),),
    "egress.withdraw": (_rule("researcher", checks=(_egress_known, _author, _withdrawable)),),
    "reidentify.request": (
        _rule(
            *("data_steward", "honest_broker"),
            checks=(_break_glass("new"), _the_requester, _on_no_project_of_it, _reviewed_before),
        ),
    ),
    "reidentify.approve": (
        _rule(
            *("honest_broker", "data_steward", "operator"),
            checks=(_another_approver, _break_glass("requested"), _on_no_project_of_it, _reviewed_before),
        ),
    ),
    "reidentify.show": (
        _rule(
            *("data_steward", "honest_broker"),
            checks=(_the_requester, _break_glass("open"), _two_who_agreed, _on_no_project_of_it),
        ),
    ),
    "reidentify.review": (_rule("auditor", checks=(_break_glass("spent", "over"), _had_no_part)),),
    "reidentify.list": (_rule("data_steward", "honest_broker", "operator", "auditor"),),
    "audit.query": (_rule("auditor"),),
    "report.list": _ANYBODY,
    "report.run": (
        _rule("data_steward", "honest_broker"),
        _rule("service", checks=(_service("reports"),)),
    ),
}
ACTIONS: Final = frozenset(RULES)
