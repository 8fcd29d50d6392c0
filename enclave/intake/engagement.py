"""Who may see a head as it came in: what the registry says of a person and the version that a batch became."""

from __future__ import annotations

from enclave.core.clock import parse_time
from enclave.policy.model import EngagementFacts, Facts, ReviewFacts, VersionFacts
from enclave.wire.client import WireClient
from enclave.wire.messages.facts import AskLeaseFacts, LeaseFacts
from enclave.wire.messages.intake import Batch

_TIMEOUT_S = 10.0


def facts_for_expert(registry: WireClient, person: str, *, batch: Batch, seen: ReviewFacts) -> Facts:
    """The facts of a look by an expert; no engagement where the registry knows of none.

    Raises ``UnavailableError`` when it does not answer: nobody is shown anything on a guess.
    """
    if batch.version is None:
        return Facts(review=seen)
    asked = AskLeaseFacts(person=person, project="", dataset=batch.dataset, version=batch.version)
    found: LeaseFacts = registry.call(asked, timeout_s=_TIMEOUT_S)
    version = VersionFacts(
        dataset=found.dataset,
        version=found.version,
        state=found.version_state,
        content_root=str(batch.summary.get("content_root", "")),
        steward=found.version_steward,
    )
    engagement = None
    if found.engagement_until:
        engagement = EngagementFacts(
            expert=person,
            dataset=found.dataset,
            version=found.version,
            content_root=found.content_root,
            until=parse_time(found.engagement_until),
        )
    return Facts(review=seen, version=version, engagement=engagement)
