"""Whoever a launcher's socket is bound to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from enclave.policy.decide import decide
from enclave.policy.model import NO_FACTS, Actor, Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whoever a socket is bound to. ``front`` holds the tap's front sockets; the client sees it as ``view``.

    ``roles`` are those of the identity provider, where the socket was opened with a token; None: not known here.
    """

    id: str
    person: str
    front: Path
    view: str
    roles: frozenset[str] | None = None

    def may(self, action: str, *, person: str, project: str, at: datetime) -> bool:
        """Whether policy lets these roles do ``action`` to a kernel of ``person``.

        A server's socket does not know roles and never may what needs one.
        """
        if not self.roles:
            return False
        resource = Resource(project=project, person=person)
        return decide(Actor(self.person, self.roles), action, resource, NO_FACTS, at).allowed
