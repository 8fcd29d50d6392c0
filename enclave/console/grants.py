"""Who of which project may open which version, until when, and whether it opens now."""

from __future__ import annotations

from enclave.console.pages import Page
from enclave.wire.messages.grants import ListGrants


class Grants(Page):
    """All grants that the registry tells this person of, newest first."""

    async def get(self) -> None:
        """The list."""
        reply = await self.ask("registryd", ListGrants(token=self.token))
        waiting = [grant for grant in reply.grants if grant.state == "requested"]
        self.show("grants.html", waiting=waiting, others=[grant for grant in reply.grants if grant not in waiting])
