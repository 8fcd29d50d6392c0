"""What the registry knows about people and projects, as the facts that policy wants."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from enclave.airlock.states import OWNERS, may_act
from enclave.airlock.store import Record, VoteRecord
from enclave.policy.model import EgressFacts, Facts, ProjectFacts
from enclave.wire.client import WireClient
from enclave.wire.messages.facts import AskProjectStanding


@dataclass(frozen=True, slots=True)
class Members:
    """Asks the registry; raises ``UnavailableError`` when it does not answer."""

    registry: WireClient

    def standing(self, person: str, project: str) -> ProjectFacts:
        """How a person stands to one project, whatever its state, and whether an agreement covers it now."""
        found = self.registry.call(AskProjectStanding(person=person, project=project))
        return ProjectFacts(
            name=found.name, state=found.state, member_role=found.member_role, agreement=found.agreement
        )


@dataclass(frozen=True, slots=True)
class Standings:
    """How people stand to projects, asked once for one request of a person or one move of the airlock."""

    members: Members
    _found: dict[tuple[str, str], ProjectFacts] = field(default_factory=dict)

    def of(self, person: str, project: str) -> ProjectFacts:
        """As ``Members.standing``; the second question has the first one's answer."""
        key = (person, project)
        if key not in self._found:
            self._found[key] = self.members.standing(person, project)
        return self._found[key]

    def facts(
        self,
        record: Record,
        votes: list[VoteRecord],
        *,
        actor: str,
        approve: bool = True,
        until: datetime | None = None,
    ) -> Facts:
        """What policy wants to know of one request, of its project, and of how actor and author stand to that."""
        project = self.of(actor, record.project)
        author = self.of(record.author, record.project)
        return Facts(
            project=project,
            egress=replace(
                egress_facts(record, votes),
                actor_is_member=bool(project.member_role),
                author_is_member=bool(author.member_role),
                approve=approve,
                until=until,
            ),
        )


def egress_facts(record: Record, votes: list[VoteRecord]) -> EgressFacts:
    """What the airlock itself knows of one request in its present round."""
    now = [vote.cast for vote in votes if vote.cast.round == record.round]
    return EgressFacts(
        id=record.id,
        author=record.author,
        project=record.project,
        open_for_votes=OWNERS[record.state] == "checkers",
        released=record.state in ("released", "delivered"),
        delivered=record.state == "delivered",
        withdrawable=may_act(record.state, "withdraw"),
        voters=frozenset(vote.checker for vote in now),
        approvers=frozenset(vote.checker for vote in now if vote.choice == "approve"),
        rejecters=frozenset(vote.checker for vote in now if vote.choice == "reject"),
    )
