"""Whoever a launcher's socket is bound to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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

    @property
    def operator(self) -> bool:
        """Whether the identity provider says so; a server's socket does not know roles and is never an operator's."""
        return self.roles is not None and "operator" in self.roles
