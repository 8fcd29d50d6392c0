"""What the registry knows about people and projects, as the facts that policy wants."""

from __future__ import annotations

from dataclasses import dataclass

from enclave.airlock.states import OWNERS, may_act
from enclave.airlock.store import Record, VoteRecord
from enclave.policy.model import EgressFacts, ProjectFacts
from enclave.wire.client import WireClient
from enclave.wire.messages.facts import AskProjectStanding, ProjectsOf


@dataclass(frozen=True, slots=True)
class Members:
    """Asks the registry; raises ``UnavailableError`` when it does not answer."""

    registry: WireClient

    def of(self, person: str) -> dict[str, str]:
        """The open projects of a person, each with the role they have in it."""
        found = self.registry.call(ProjectsOf(person=person)).projects
        return {project.name: project.members.get(person, "") for project in found}

    def standing(self, person: str, project: str) -> ProjectFacts:
        """How a person stands to one project, whatever its state."""
        found = self.registry.call(AskProjectStanding(person=person, project=project))
        return ProjectFacts(name=found.name, state=found.state, member_role=found.member_role)


def egress_facts(record: Record, votes: list[VoteRecord], *, is_member: bool) -> EgressFacts:
    """What policy wants to know about one request in its present round."""
    now = [vote.cast for vote in votes if vote.cast.round == record.round]
    return EgressFacts(
        id=record.id,
        author=record.author,
        project=record.project,
        open_for_votes=OWNERS[record.state] == "checkers",
        released=record.state in ("released", "delivered"),
        delivered=record.state == "delivered",
        withdrawable=may_act(record.state, "withdraw"),
        actor_is_member=is_member,
        voters=frozenset(vote.checker for vote in now),
        approvers=frozenset(vote.checker for vote in now if vote.choice == "approve"),
        rejecters=frozenset(vote.checker for vote in now if vote.choice == "reject"),
    )
