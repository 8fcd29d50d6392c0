"""From the registry's answers to the facts that ``policy.decide`` wants, the same for every service that asks."""

from __future__ import annotations

from enclave.core.clock import parse_time
from enclave.policy.model import (
    CertificateFacts,
    EngagementFacts,
    Facts,
    ProjectFacts,
    Resource,
    VersionFacts,
)
from enclave.wire.messages.registry import Engagement, LeaseFacts, ProjectStanding


def lease_question(reply: LeaseFacts, *, person: str, project: str) -> tuple[Resource, Facts]:
    """Resource and facts for ``decide(actor, "dataset.open", resource, facts, at)``; ``project`` is what was asked."""
    resource = Resource(project=project, dataset=reply.dataset, version=reply.version)
    facts = Facts(
        project=ProjectFacts(name=project, state=reply.project_state, member_role=reply.member_role),
        version=VersionFacts(
            dataset=reply.dataset,
            version=reply.version,
            state=reply.version_state,
            content_root=reply.content_root,
            steward=reply.version_steward,
            released_to_project=reply.released_to_project,
        ),
        certificate=_certificate(reply),
        engagement=_engagement_in(reply, person=person),
    )
    return resource, facts


def kernel_question(standing: ProjectStanding) -> tuple[Resource, Facts]:
    """Resource and facts for ``kernel.start`` and ``egress.submit`` in a project."""
    facts = Facts(
        project=ProjectFacts(name=standing.name, state=standing.state, member_role=standing.member_role),
    )
    return Resource(project=standing.name), facts


def engagement_question(engagement: Engagement) -> tuple[Resource, Facts]:
    """Resource and facts for an expert's ``kernel.start``."""
    facts = Facts(
        engagement=EngagementFacts(
            expert=engagement.expert,
            dataset=engagement.dataset,
            version=engagement.version,
            content_root=engagement.content_root,
            until=parse_time(engagement.until),
        )
    )
    return Resource(dataset=engagement.dataset, version=engagement.version), facts


def _certificate(reply: LeaseFacts) -> CertificateFacts | None:
    if not reply.certificate_id:
        return None
    return CertificateFacts(
        id=reply.certificate_id,
        valid=reply.certificate_valid,
        reason=reply.certificate_reason,
        content_root=reply.certificate_root,
        not_before=parse_time(reply.not_before),
        expires=parse_time(reply.expires),
        expert=reply.certificate_expert,
    )


def _engagement_in(reply: LeaseFacts, *, person: str) -> EngagementFacts | None:
    if not reply.engagement_until:
        return None
    return EngagementFacts(
        expert=person,
        dataset=reply.dataset,
        version=reply.version,
        content_root=reply.content_root,
        until=parse_time(reply.engagement_until),
    )
