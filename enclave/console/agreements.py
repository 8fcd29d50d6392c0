"""The register of agreements, for who may see it."""

from __future__ import annotations

from enclave.console.pages import Page
from enclave.wire.messages.agreements import ListAgreements


class Agreements(Page):
    """All agreements, newest first: those that wait for a confirmation before the others."""

    async def get(self) -> None:
        """The list."""
        reply = await self.ask("registryd", ListAgreements(token=self.token))
        waiting = [one for one in reply.agreements if one.state == "recorded"]
        others = [one for one in reply.agreements if one.state != "recorded"]
        self.show("agreements.html", waiting=waiting, others=others)
