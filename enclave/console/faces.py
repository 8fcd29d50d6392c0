"""The heads of a version from the front, before and after: for its expert while engaged, and for an honest broker."""

from __future__ import annotations

from dataclasses import dataclass

from enclave.console.intake import FRONTAL, PICTURE_POLICY
from enclave.console.pages import Page
from enclave.core.errors import DeniedError, NotFoundError
from enclave.determination.certificate import parse_certificate
from enclave.determination.faces import ShownHead, shown_heads
from enclave.wire.messages.intake import Batch, ListBatches, LookAtItem, ReviewItem
from enclave.wire.messages.registry import ShowDetermination

_NOT_KEPT = frozenset({"not_in_sample", "not_found"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A head with its picture (PNG in base64); '' when intake keeps it no more."""

    head: ShownHead
    picture: str


class Faces(Page):
    """Every picture is one look, which intaked allows and records before it is shown."""

    async def get(self, certificate: str) -> None:
        """The heads that the certificate names, with what was measured on each."""
        found = await self.ask("registryd", ShowDetermination(token=self.token, id=certificate))
        document = parse_certificate(found.text.encode("utf-8"))
        batches = (await self.ask("intaked", ListBatches(token=self.token))).batches
        named = ((b.dataset, b.version) == (document.dataset, document.version) for b in batches)
        batch = next((b for b, ours in zip(batches, named, strict=True) if ours), None)
        if batch is None:
            raise NotFoundError("faces: wanted a version that intake made, got one without a batch")
        seen = [await self._look(batch, head) for head in shown_heads(document)]
        self.set_header("Content-Security-Policy", PICTURE_POLICY)
        self.show("faces.html", c=found, name=str(document.name), seen=seen)

    async def _look(self, batch: Batch, head: ShownHead) -> Seen:
        message = LookAtItem(token=self.token, id=batch.id, image=head.series + FRONTAL)
        try:
            shown: ReviewItem = await self.ask("intaked", message)
        except (DeniedError, NotFoundError) as error:
            if error.code not in _NOT_KEPT:
                raise
            return Seen(head=head, picture="")
        return Seen(head=head, picture=shown.picture)
