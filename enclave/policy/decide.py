"""The one place where rights are decided: a table of actions, roles and checks; what is not in it is refused.

Pure: the services fetch the facts, this module only compares them. A missing fact is a denial.
Conflict of duty (nobody grants to himself or his own project; who requests does not approve; expert, steward
and honest broker of one version are three people; an author never votes; two different approvers) is in the checks.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from enclave.core.errors import DeniedError, InvalidError
from enclave.policy import agreements, reviews
from enclave.policy import checks as c
from enclave.policy.checks import Case, Check
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
from enclave.policy.oversight import alert_of_another, week_to_sign
from enclave.policy.step_up import code_fits, code_for_another, key_known, own_key, stepped_up


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


# ── the table ───────────────────────────────────────────────────────────────


def _rule(*roles: str, checks: tuple[Check, ...] = ()) -> Rule:
    return Rule(frozenset(roles), checks)


_ANYBODY: Final = (Rule(PERSON_ROLES),)
_UNDECIDED: Final = c.determination("draft", "under_assessment")
_JUDGE_EGRESS: Final = (c.egress_known, c.not_the_author, c.outside_of_its_project, c.open_for_votes)
_LET_OUT: Final = (c.project_open, agreements.covered, c.author_still_member)

RULES: Final[dict[str, tuple[Rule, ...]]] = {
    "project.create": (_rule("data_steward"),),
    "project.show": _ANYBODY,
    "project.close": (_rule("data_steward", checks=(c.project_open,)),),
    "project.member_add": (_rule("data_steward", checks=(c.not_to_oneself, c.project_open, c.not_a_member)),),
    "project.member_remove": (_rule("data_steward", checks=(c.project_known,)),),
    "intake.add": (_rule("data_steward"),),
    "intake.look": (
        _rule("data_steward", checks=(c.reviews_for_another, reviews.of_no_face)),
        _rule("honest_broker", checks=(reviews.can_be_seen,)),
        _rule(
            "expert",
            checks=(reviews.of_a_face, reviews.can_be_seen, c.engaged, c.version_there, c.engaged_for_this),
        ),
    ),
    "intake.review": (
        _rule("data_steward", checks=(c.reviews_for_another, reviews.of_no_face)),
        _rule("honest_broker", checks=(c.reviews_for_another,)),
    ),
    "intake.list": (_rule("data_steward", "honest_broker", "expert"),),
    "version.register": (_rule("service", checks=(c.service("intake"),)),),
    "version.sample": (_rule("service", checks=(c.service("intake"), c.version_there)),),
    "version.review": (
        _rule(
            "honest_broker",
            checks=(
                c.version_there,
                reviews.steward_is_another,
                reviews.sample_known,
                reviews.verdict_fits,
                reviews.did_not_release,
            ),
        ),
    ),
    "version.list": _ANYBODY,
    "determination.draft": (
        _rule("expert", checks=(c.version_there, c.named_expert, c.expert_is_not_steward)),
        _rule("data_steward", checks=(c.version_there, c.not_expert_of_it, c.expert_is_not_steward)),
        _rule("service", checks=(c.service("intake"), c.version_there, c.expert_is_not_steward)),
    ),
    "determination.sign": (
        _rule("expert", checks=(_UNDECIDED, c.named_expert, c.expert_is_not_steward, c.version_there)),
    ),
    "determination.countersign": (
        _rule(
            "data_steward",
            checks=(c.determination("signed"), c.named_steward, c.expert_is_not_steward, c.version_there),
        ),
    ),
    "determination.reaffirm": (
        _rule(
            "expert",
            checks=(c.determination("signed"), c.named_expert, c.expert_is_not_steward, c.determination_reopened),
        ),
    ),
    "determination.begin": (
        _rule(
            "expert",
            checks=(c.determination("draft"), c.named_expert, c.expert_is_not_steward, c.engaged_by_another),
        ),
    ),
    "determination.decline": (_rule("expert", checks=(_UNDECIDED, c.named_expert)),),
    "determination.revoke": (
        _rule("expert", checks=(c.determination("signed"), c.named_expert)),
        _rule("honest_broker", checks=(c.determination("signed"),)),
    ),
    "determination.show": _ANYBODY,
    "release.request": (
        _rule(
            "data_steward",
            checks=(
                c.project_open,
                agreements.covered,
                c.not_a_member,
                c.version_there,
                reviews.for_this_project,
                c.certificate_settled,
                c.requester_is_not_expert,
            ),
        ),
    ),
    "release.decide": (
        _rule(
            "honest_broker",
            checks=(
                c.release_waits,
                c.project_open_to_approve,
                agreements.covered_to_approve,
                c.not_a_member,
                c.version_there,
                c.three_people,
                c.certificate_holds_to_approve,
                reviews.for_this_project_to_approve,
                reviews.sample_passed_to_approve,
                reviews.another_said_yes,
                stepped_up,
            ),
        ),
    ),
    "release.withdraw": (_rule("honest_broker", "data_steward", checks=(c.release_stands,)),),
    "release.confirm": (_rule("honest_broker", checks=(c.release_waits, c.not_a_member, c.version_there)),),
    "authenticator.code": (_rule("data_steward", "operator", checks=(code_for_another,)),),
    "authenticator.begin": _ANYBODY,
    "authenticator.enrol": (Rule(PERSON_ROLES, (code_fits,)),),
    "authenticator.list": _ANYBODY,
    "authenticator.revoke": (_rule("data_steward", "operator", checks=(key_known,)), Rule(PERSON_ROLES, (own_key,))),
    "release.list": _ANYBODY,
    "grant.request": (
        _rule(
            "data_steward",
            checks=(
                *(c.not_to_oneself, c.project_open, agreements.covered, c.not_a_member, c.released_here),
                *(c.certificate_settled, c.requester_is_not_expert, c.grant_asked_for),
            ),
        ),
    ),
    "grant.decide": (
        _rule(
            "honest_broker",
            checks=(
                *(c.grant_in("requested"), c.grant_of_others, c.not_a_member),
                *map(
                    c.to_approve,
                    (
                        c.project_open,
                        agreements.covered,
                        c.released_here,
                        c.three_people,
                        c.certificate_settled,
                        c.grant_asked_for,
                    ),
                ),
            ),
        ),
    ),
    "grant.revoke": (_rule("data_steward", "honest_broker", checks=(c.grant_in("requested", "active"),)),),
    "grant.list": _ANYBODY,
    "agreement.record": (_rule("data_steward", checks=(c.project_open, c.not_a_member)),),
    "agreement.decide": (
        _rule(
            "honest_broker",
            checks=(agreements.agreement_in("recorded"), agreements.recorded_by_another, c.not_a_member),
        ),
    ),
    "agreement.end": (
        # One that is only recorded is for the honest broker to refuse: ended, it would close a project that had none.
        _rule("data_steward", "honest_broker", checks=(agreements.agreement_in("in_force"),)),
    ),
    "agreement.list": (_rule("data_steward", "honest_broker", "expert", "auditor", "operator"),),
    "server.start": (_rule("researcher", "expert"),),
    "kernel.end_other": (_rule("operator"),),
    "kernel.freeze": (_rule("operator", "data_steward"),),
    "kernel.end_frozen": (_rule("operator", "data_steward"),),
    "kernel.start": (
        _rule("researcher", checks=(c.project_open, c.member)),
        _rule("expert", checks=(c.engaged,)),
        _rule("service", checks=(c.service("reports"), c.project_open)),
    ),
    "dataset.open": (
        _rule(
            "researcher",
            checks=(c.project_open, agreements.covered, c.member, c.released_here, c.certificate_holds, c.granted),
        ),
        _rule("expert", checks=(c.engaged, c.version_there, c.engaged_for_this)),
        _rule(
            "service",
            checks=(
                *(c.service("reports"), c.project_open, agreements.covered),
                *(c.released_here, c.certificate_holds),
            ),
        ),
    ),
    "egress.submit": (_rule("researcher", checks=(c.project_open, agreements.covered, c.member)),),
    "egress.list": (_rule("researcher", "output_checker", "auditor"),),
    "egress.preview": (_rule("output_checker", checks=_JUDGE_EGRESS),),
    "egress.vote": (_rule("output_checker", checks=(*_JUDGE_EGRESS, c.first_vote, *map(c.to_let_out, _LET_OUT))),),
    "egress.release": (_rule("service", checks=(c.service("airlock"), c.egress_known, c.two_approvals, *_LET_OUT)),),
    "egress.deliver": (
        _rule(
            "researcher",
            checks=(
                *(c.egress_known, c.author, c.deliverable, c.delivery_in_time),
                *(c.project_open, agreements.covered, c.member),
            ),
        ),
    ),
    "egress.withdraw": (_rule("researcher", checks=(c.egress_known, c.author, c.withdrawable)),),
    "reidentify.request": (
        _rule(
            *("data_steward", "honest_broker"),
            checks=(c.break_glass("new"), c.the_requester, c.on_no_project_of_it, c.reviewed_before),
        ),
    ),
    "reidentify.approve": (
        _rule(
            *("honest_broker", "data_steward", "operator"),
            checks=(c.another_approver, c.break_glass("requested"), c.on_no_project_of_it, c.reviewed_before),
        ),
    ),
    "reidentify.refuse": (
        _rule(
            *("honest_broker", "data_steward", "operator"),
            checks=(c.another_person, c.break_glass("requested"), c.on_no_project_of_it),
        ),
    ),
    "reidentify.alarms": (_rule("auditor", "data_steward"),),
    "reidentify.acknowledge": (_rule("auditor", "data_steward"),),
    "reidentify.show": (
        _rule(
            *("data_steward", "honest_broker"),
            checks=(c.the_requester, c.break_glass("open"), c.two_who_agreed, c.on_no_project_of_it),
        ),
    ),
    "reidentify.review": (_rule("auditor", checks=(c.break_glass("spent", "over"), c.had_no_part)),),
    "reidentify.list": (_rule("data_steward", "honest_broker", "operator", "auditor"),),
    "audit.query": (_rule("auditor"),),
    "audit.hold_place": (_rule("auditor", "data_steward"),),
    "audit.hold_lift": (_rule("auditor"),),  # who may destroy cannot lift
    "audit.hold_list": (_rule("auditor", "data_steward"),),
    "audit.retention_plan": (_rule("auditor", "data_steward"),),
    "audit.retention_apply": (_rule("data_steward"),),
    "alert.list": (_rule("auditor"),),
    "alert.acknowledge": (_rule("auditor", checks=(alert_of_another("open"),)),),
    "alert.resolve": (_rule("auditor", checks=(alert_of_another("open", "acknowledged"),)),),
    "canary.declare": (_rule("auditor"),),
    "drill.run": (_rule("auditor", "operator"),),
    "drill.show": (_rule("auditor", "operator"),),
    "review.list": (_rule("auditor"),),
    "review.sign": (_rule("auditor", checks=(week_to_sign,)),),
    "report.list": _ANYBODY,
    "report.run": (
        _rule("data_steward", "honest_broker"),
        _rule("service", checks=(c.service("reports"),)),
    ),
}
ACTIONS: Final = frozenset(RULES)
