"""Facts from the registry, and what policy says to them."""

from __future__ import annotations

import threading
from datetime import datetime
from pathlib import Path
from typing import Any

from enclave.audit.ledger_clock import CLOCK_STEP, STEP_WORDS
from enclave.core.clock import parse_time
from enclave.core.errors import InvalidError, UnavailableError
from enclave.policy.decide import decide
from enclave.policy.model import (
    Actor,
    CertificateFacts,
    Decision,
    EngagementFacts,
    Facts,
    GrantFacts,
    ProjectFacts,
    Resource,
    VersionFacts,
)
from enclave.wire.client import WireClient
from enclave.wire.messages.facts import AskEngagements, AskLeaseFacts, AskProjectDatasets, LeaseFacts, ProjectDatasets
from enclave.wire.messages.registry import Version

TIMEOUT_S = 1.5
_MAX_IDLE = 8


class RegistryFacts:
    """Asks ``enclave-registryd``; thread-safe, one connection per concurrent question."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._idle: list[WireClient] = []
        self._guard = threading.Lock()

    def lease(self, person: str, *, project: str, dataset: str, version: int | None) -> LeaseFacts:
        """The facts of a lease now; raises ``UnavailableError`` when the registry does not answer."""
        found: LeaseFacts = self._ask(AskLeaseFacts(person=person, project=project, dataset=dataset, version=version))
        return found

    def versions(self, person: str, *, role: str, project: str) -> list[tuple[str, int, str]]:
        """Dataset, version and title of what may be open to a person; policy still decides about each."""
        if role == "expert":
            engagements = self._ask(AskEngagements(person=person)).engagements
            return [(item.dataset, item.version, "") for item in engagements]
        found: ProjectDatasets = self._ask(AskProjectDatasets(person=person, project=project))
        return [(item.dataset, item.version, _title(item)) for item in found.versions]

    def close(self) -> None:
        """Ends all idle connections."""
        with self._guard:
            for client in self._idle:
                client.close()
            self._idle.clear()

    def _ask(self, message: Any) -> Any:
        with self._guard:
            client = self._idle.pop() if self._idle else WireClient(self._socket, timeout_s=TIMEOUT_S)
        try:
            reply = client.call(message)
        except UnavailableError:
            client.close()
            raise UnavailableError(
                "registry: wanted the facts of this lease, got no answer; without them nothing is opened. Try again",
                code="registry_unavailable",
            ) from None
        except BaseException:
            client.close()
            raise
        with self._guard:
            if len(self._idle) < _MAX_IDLE:
                self._idle.append(client)
                return reply
        client.close()
        return reply


def may_open(found: LeaseFacts, *, person: str, role: str, project: str, at: datetime) -> Decision:
    """What policy says to ``dataset.open`` with these facts at ``at``."""
    actor = Actor(person, frozenset({role}))
    resource = Resource(project=project, dataset=found.dataset, version=found.version)
    return decide(actor, "dataset.open", resource, policy_facts(found, person=person, project=project), at)


def clock_stepped_back() -> Decision:
    """Without a time to judge by nothing is open."""
    return Decision(allowed=False, reason=CLOCK_STEP, message=STEP_WORDS)


def policy_facts(found: LeaseFacts, *, person: str, project: str) -> Facts:
    """The registry's answer as policy wants it; what cannot be read is left out, and so denies."""
    return Facts(
        project=ProjectFacts(
            name=project, state=found.project_state, member_role=found.member_role, agreement=found.agreement
        ),
        version=VersionFacts(
            dataset=found.dataset,
            version=found.version,
            state=found.version_state,
            content_root=found.content_root,
            steward=found.version_steward,
            released_to_project=found.released_to_project,
        ),
        certificate=_certificate(found),
        engagement=_engagement(found, person),
        grant=_grant(found, person=person, project=project),
    )


def _certificate(found: LeaseFacts) -> CertificateFacts | None:
    not_before, expires = _time(found.not_before), _time(found.expires)
    if not found.certificate_id or not_before is None or expires is None:
        return None
    return CertificateFacts(
        id=found.certificate_id,
        valid=found.certificate_valid,
        reason=found.certificate_reason,
        content_root=found.certificate_root,
        not_before=not_before,
        expires=expires,
        expert=found.certificate_expert,
    )


def _engagement(found: LeaseFacts, person: str) -> EngagementFacts | None:
    until = _time(found.engagement_until)
    if until is None:
        return None
    return EngagementFacts(
        expert=person,
        dataset=found.dataset,
        version=found.version,
        content_root=found.content_root,
        until=until,
    )


def _grant(found: LeaseFacts, *, person: str, project: str) -> GrantFacts | None:
    until = _time(found.grant_until)
    if not found.grant_id or (found.grant_until and until is None):
        return None
    return GrantFacts(
        id=found.grant_id,
        person=person,
        project=project,
        dataset=found.dataset,
        version=found.version,
        state=found.grant_state,
        until=until,
    )


def _time(text: str) -> datetime | None:
    try:
        return parse_time(text) if text else None
    except InvalidError:
        return None


def _title(version: Version) -> str:
    title = version.summary.get("title", "") if isinstance(version.summary, dict) else ""
    return title if isinstance(title, str) else ""
