"""What speaks against an act: each check compares facts and returns the reason of a denial, or None. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from enclave.policy.model import REASONS, SERVICE_PREFIX, Actor, Facts, Resource


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


def service(name: str) -> Check:
    def named(case: Case) -> str | None:
        return None if case.actor.name == SERVICE_PREFIX + name else "service"

    return named


def project_open(case: Case) -> str | None:
    project = case.facts.project
    if project is None:
        return "missing_fact"
    if project.name != case.resource.project:
        return "other_resource"
    return None if project.state == "open" else "project_not_open"


def project_known(case: Case) -> str | None:
    project = case.facts.project
    if project is None:
        return "missing_fact"
    return None if project.name == case.resource.project else "other_resource"


def member(case: Case) -> str | None:
    project = case.facts.project
    if project is None:
        return "missing_fact"
    return None if project.member_role == case.role else "not_a_member"


def not_a_member(case: Case) -> str | None:
    project = case.facts.project
    if project is None:
        return "missing_fact"
    return "own_project" if project.member_role else None


def not_to_oneself(case: Case) -> str | None:
    if not case.resource.person:
        return "missing_fact"
    return "self_grant" if case.resource.person == case.actor.name else None


def version_there(case: Case) -> str | None:
    version = case.facts.version
    if version is None:
        return "missing_fact"
    if (version.dataset, version.version) != (case.resource.dataset, case.resource.version):
        return "other_resource"
    return None if version.state in ("candidate", "released") else "version_not_usable"


def released_here(case: Case) -> str | None:
    version = case.facts.version
    if version is None:
        return "missing_fact"
    if (version.dataset, version.version) != (case.resource.dataset, case.resource.version):
        return "other_resource"
    if version.state in ("withdrawn", "shredded"):
        return "version_not_usable"
    return None if version.state == "released" and version.released_to_project else "not_released"


CERTIFICATE_REASONS: Final = frozenset(
    reason.removeprefix("certificate_") for reason in REASONS if reason.startswith("certificate_")
)


def certificate_holds(case: Case) -> str | None:
    certificate, version = case.facts.certificate, case.facts.version
    if certificate is None or version is None:
        return "certificate_missing" if certificate is None else "missing_fact"
    if not certificate.valid:
        known = certificate.reason in CERTIFICATE_REASONS
        return f"certificate_{certificate.reason}" if known else "certificate_invalid"
    if not version.content_root or certificate.content_root != version.content_root:
        return "certificate_other_root"
    if case.at < certificate.not_before:
        return "certificate_not_yet_valid"
    return "certificate_expired" if case.at >= certificate.expires else None


def certificate_settled(case: Case) -> str | None:
    """As ``certificate_holds``, and no trigger waits for the expert: for what is new, not for what runs."""
    return certificate_holds(case) or (
        "certificate_reopened" if case.facts.certificate and case.facts.certificate.reopened else None
    )


def determination_reopened(case: Case) -> str | None:
    found = case.facts.determination
    if found is None:
        return "missing_fact"
    return None if found.reopened else "determination_state"


def three_people(case: Case) -> str | None:
    """The actor as honest broker against the version's steward and the certificate's expert."""
    certificate, version = case.facts.certificate, case.facts.version
    if version is None or not version.steward:
        return "missing_fact"
    if version.steward == case.actor.name:
        return "steward_is_broker"
    if certificate is None:
        return "certificate_missing" if approving(case) else None
    if not certificate.expert:
        return "missing_fact"
    if certificate.expert == case.actor.name:
        return "expert_is_broker"
    return "expert_is_steward" if certificate.expert == version.steward else None


def requester_is_not_expert(case: Case) -> str | None:
    certificate = case.facts.certificate
    if certificate is None or not certificate.expert:
        return "certificate_missing" if certificate is None else "missing_fact"
    return "expert_is_steward" if certificate.expert == case.actor.name else None


def approving(case: Case) -> bool:
    return case.facts.release is None or case.facts.release.approve


def certificate_holds_to_approve(case: Case) -> str | None:
    return certificate_settled(case) if approving(case) else None


def project_open_to_approve(case: Case) -> str | None:
    return project_open(case) if approving(case) else project_known(case)


def release_waits(case: Case) -> str | None:
    release = case.facts.release
    if release is None:
        return "missing_fact"
    if release.id != case.resource.id:
        return "other_resource"
    if release.requested_by == case.actor.name:
        return "requester_decides"
    return None if release.state == "requested" else "release_state"


def release_stands(case: Case) -> str | None:
    """An approved one: taking it back needs no second person."""
    release = case.facts.release
    if release is None:
        return "missing_fact"
    if release.id != case.resource.id:
        return "other_resource"
    return None if release.state == "approved" else "release_state"


def grant_asked_for(case: Case) -> str | None:
    grant = case.facts.grant
    if grant is None:
        return "missing_fact"
    if grant.person != case.resource.person:
        return "other_resource"
    return None if grant.person_is_member else "grantee_not_member"


def grant_in(*states: str) -> Check:
    def in_state(case: Case) -> str | None:
        grant = case.facts.grant
        if grant is None:
            return "missing_fact"
        if grant.id != case.resource.id:
            return "other_resource"
        return None if grant.state in states else "grant_state"

    return in_state


def grant_of_others(case: Case) -> str | None:
    grant = case.facts.grant
    if grant is None or not grant.requested_by:
        return "missing_fact"
    if grant.requested_by == case.actor.name:
        return "requester_decides"
    return "self_grant" if grant.person == case.actor.name else None


def to_approve(needed: Check) -> Check:
    """What a grant's approval needs and its refusal does not."""

    def when_approving(case: Case) -> str | None:
        return None if case.facts.grant is not None and not case.facts.grant.approve else needed(case)

    return when_approving


def granted(case: Case) -> str | None:
    grant = case.facts.grant
    if grant is None or grant.state in ("new", "requested", "refused"):
        return "not_granted"
    about = (grant.person, grant.project, grant.dataset, grant.version)
    if about != (case.actor.name, case.resource.project, case.resource.dataset, case.resource.version):
        return "other_resource"
    if grant.state == "over" or (grant.until is not None and case.at >= grant.until):
        return "grant_over"
    return None if grant.state == "active" else "grant_revoked"


def determination(*states: str) -> Check:
    def in_state(case: Case) -> str | None:
        found = case.facts.determination
        if found is None:
            return "missing_fact"
        if found.id != case.resource.id:
            return "other_resource"
        return None if found.state in states else "determination_state"

    return in_state


def named_expert(case: Case) -> str | None:
    found = case.facts.determination
    if found is None:
        return "missing_fact"
    return None if found.expert == case.actor.name else "not_named_expert"


def engaged_by_another(case: Case) -> str | None:
    """Who may look at data as an expert is for others to say."""
    found = case.facts.determination
    if found is None or not found.drafted_by:
        return "missing_fact"
    return "self_engaged" if found.drafted_by == found.expert else None


def named_steward(case: Case) -> str | None:
    found = case.facts.determination
    if found is None or not found.steward:
        return "missing_fact"
    return None if found.steward == case.actor.name else "not_named_steward"


def expert_is_not_steward(case: Case) -> str | None:
    found = case.facts.determination
    if found is None or not found.steward or not found.expert:
        return "missing_fact"
    return "expert_is_steward" if found.steward == found.expert else None


def not_expert_of_it(case: Case) -> str | None:
    found = case.facts.determination
    if found is None:
        return "missing_fact"
    return "expert_is_steward" if found.expert == case.actor.name else None


def engaged(case: Case) -> str | None:
    engagement = case.facts.engagement
    if engagement is None or engagement.expert != case.actor.name:
        return "no_engagement"
    return "engagement_over" if case.at >= engagement.until else None


def engaged_for_this(case: Case) -> str | None:
    engagement, version = case.facts.engagement, case.facts.version
    if engagement is None or version is None:
        return "missing_fact"
    same = (engagement.dataset, engagement.version, engagement.content_root) == (
        version.dataset,
        version.version,
        version.content_root,
    )
    return None if same else "no_engagement"


def egress_known(case: Case) -> str | None:
    egress = case.facts.egress
    if egress is None or not egress.author:
        return "missing_fact"
    return None if egress.id == case.resource.id else "other_resource"


def not_the_author(case: Case) -> str | None:
    return "author_votes" if case.facts.egress and case.facts.egress.author == case.actor.name else None


def outside_of_its_project(case: Case) -> str | None:
    return "own_project" if case.facts.egress and case.facts.egress.actor_is_member else None


def open_for_votes(case: Case) -> str | None:
    return None if case.facts.egress and case.facts.egress.open_for_votes else "not_open_for_votes"


def first_vote(case: Case) -> str | None:
    return "voted_already" if case.facts.egress and case.actor.name in case.facts.egress.voters else None


def two_approvals(case: Case) -> str | None:
    egress = case.facts.egress
    if egress is None:
        return "missing_fact"
    if egress.author in egress.approvers:
        return "author_votes"
    if egress.rejecters:
        return "rejected"
    return None if len(egress.approvers) >= 2 else "too_few_approvals"


def author_still_member(case: Case) -> str | None:
    """Nothing is let out for somebody who left the project after handing it in."""
    return None if case.facts.egress and case.facts.egress.author_is_member else "author_left"


def to_let_out(needed: Check) -> Check:
    """What a vote for letting it out needs; a return or a rejection is always possible."""

    def when_approving(case: Case) -> str | None:
        return None if case.facts.egress is not None and not case.facts.egress.approve else needed(case)

    return when_approving


def author(case: Case) -> str | None:
    return None if case.facts.egress and case.facts.egress.author == case.actor.name else "not_the_author"


def deliverable(case: Case) -> str | None:
    egress = case.facts.egress
    if egress is None or not egress.released:
        return "not_released_yet"
    return "delivered_already" if egress.delivered else None


def delivery_in_time(case: Case) -> str | None:
    egress = case.facts.egress
    if egress is None or egress.until is None:
        return "missing_fact"
    return "delivery_over" if case.at >= egress.until else None


def withdrawable(case: Case) -> str | None:
    return None if case.facts.egress and case.facts.egress.withdrawable else "not_withdrawable"


def break_glass(*states: str) -> Check:
    def in_state(case: Case) -> str | None:
        found = case.facts.break_glass
        if found is None:
            return "missing_fact"
        if found.id != case.resource.id:
            return "other_resource"
        if found.state in states:
            return None
        over = found.state in ("spent", "over", "lapsed", "reviewed", "refused")
        return "break_glass_over" if over else "break_glass_state"

    return in_state


def on_no_project_of_it(case: Case) -> str | None:
    found = case.facts.break_glass
    if found is None or found.actor_on_project is None:
        return "missing_fact"
    return "own_project" if found.actor_on_project else None


def the_requester(case: Case) -> str | None:
    found = case.facts.break_glass
    return None if found and found.requested_by == case.actor.name else "not_the_requester"


def another_person(case: Case) -> str | None:
    """Not the requester; an approver may still think better of it."""
    found = case.facts.break_glass
    if found is None or not found.requested_by:
        return "missing_fact"
    return "requester_decides" if found.requested_by == case.actor.name else None


def another_approver(case: Case) -> str | None:
    found = case.facts.break_glass
    return another_person(case) or ("approved_already" if found and case.actor.name in found.approvers else None)


def had_no_part(case: Case) -> str | None:
    found = case.facts.break_glass
    if found is None or not found.requested_by:
        return "missing_fact"
    return "took_part" if case.actor.name in {found.requested_by, *found.approvers} else None


def two_who_agreed(case: Case) -> str | None:
    found = case.facts.break_glass
    return None if found and len(found.approvers - {found.requested_by}) >= 2 else "too_few_approvals"


def reviewed_before(case: Case) -> str | None:
    return "break_glass_review" if case.facts.break_glass and case.facts.break_glass.review_pending else None


def anothers_batch(case: Case) -> str | None:
    review = case.facts.review
    if review is None or not review.submitted_by:
        return "missing_fact"
    if review.batch != case.resource.id:
        return "other_resource"
    return "reviews_own_batch" if review.submitted_by == case.actor.name else None


def reviews_for_another(case: Case) -> str | None:
    reason = anothers_batch(case)
    if reason or case.facts.review is None:
        return reason or "missing_fact"
    return None if case.facts.review.waiting else "not_in_sample"
