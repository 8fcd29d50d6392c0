"""Egress desk: what wants to leave, seen by its author and by the output checkers."""

from __future__ import annotations

import base64
from urllib.parse import quote

from enclave.console.pages import Page
from enclave.disclosure.filetypes import type_by_name
from enclave.wire.messages import airlock as messages

PICTURES = frozenset({"png", "jpeg"})


class EgressList(Page):
    """All requests this person may see: first those that wait for them."""

    async def get(self) -> None:
        """The list."""
        reply = await self.ask("airlockd", messages.ListRequests(token=self.token))
        mine = [r for r in reply.requests if r.author == self.actor.name]
        waiting = [r for r in reply.requests if "vote" in r.may]
        others = [r for r in reply.requests if r not in mine and r not in waiting]
        self.show("egress_list.html", mine=mine, waiting=waiting, others=others)


class EgressPage(Page):
    """One request with its files, findings, votes, and what this person may do."""

    async def get(self, request_id: str) -> None:
        """The page."""
        found = await self.ask("airlockd", messages.ShowRequest(token=self.token, id=request_id))
        self.show("egress_page.html", r=found, own=found.author == self.actor.name)


class EgressVote(Page):
    """The form of a checker."""

    async def post(self, request_id: str) -> None:
        """Casts the vote."""
        vote = messages.Vote(
            token=self.token, id=request_id, vote=self.text_field("vote"), reason=self.text_field("reason")
        )
        await self.ask("airlockd", vote)
        self.go("egress", request_id, done="voted")


class EgressWithdraw(Page):
    """The author's second thought."""

    async def post(self, request_id: str) -> None:
        """Withdraws it."""
        await self.ask("airlockd", messages.Withdraw(token=self.token, id=request_id))
        self.go("egress", request_id, done="withdrawn")


class EgressDeliver(Page):
    """The one download."""

    async def post(self, request_id: str) -> None:
        """Hands the package over; a second try is refused by the airlock."""
        message = messages.Deliver(token=self.token, id=request_id)
        reply, package = await self.gateway.ask_for_file("airlockd", message)
        self.set_header("Content-Type", "application/zip")
        self.set_header("Content-Disposition", f'attachment; filename="{_plain(reply.name)}"')
        self.set_header("Digest", f"sha-256={base64.b64encode(bytes.fromhex(reply.sha256)).decode('ascii')}")
        self.finish(package)


class EgressLook(Page):
    """A preview as a piece of the page; looking is an event, so it is asked for, not loaded with the page."""

    async def get(self, request_id: str, name: str) -> None:
        """The fragment; a picture is fetched by the browser from ``EgressPicture``."""
        if type_by_name(name) in PICTURES:
            self.show("egress_look.html", picture=self.url("egress", request_id, "picture", quote(name)), name=name)
            return
        shown = await self.ask("airlockd", messages.Preview(token=self.token, id=request_id, name=name))
        text = base64.b64decode(shown.data).decode("utf-8", "replace") if shown.mime == "text/plain" else ""
        self.show("egress_look.html", picture="", text=text, name=name)


class EgressPicture(Page):
    """The marked rendering of one picture."""

    async def get(self, request_id: str, name: str) -> None:
        """PNG bytes, or the words why there is none."""
        shown = await self.ask("airlockd", messages.Preview(token=self.token, id=request_id, name=name))
        self.set_header("Content-Type", shown.mime + ("; charset=utf-8" if shown.mime == "text/plain" else ""))
        self.finish(base64.b64decode(shown.data))


def _plain(name: str) -> str:
    """A file name that cannot end its header."""
    return "".join(c for c in name if c.isalnum() or c in "._-") or "package.zip"
