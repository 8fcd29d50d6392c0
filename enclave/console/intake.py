"""Intake desk: where each batch stands, and the sample of it that a person looks at, item by item."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import urlencode

from enclave.console.pages import STRICT, Page
from enclave.core.errors import InvalidError, NotFoundError
from enclave.wire.messages.intake import Batch, ListBatches, LookAtItem, ReviewImage, ReviewItem, ShowBatch

REVIEWERS = frozenset({"data_steward", "honest_broker"})
# The picture comes with the page, so that one look is one event.
PICTURE_POLICY = STRICT.replace("img-src 'self'", "img-src 'self' data:")
FRONTAL = "/frontal"  # ends the name of the item that shows a series' head from the front
_MAX_ITEM = 400  # characters of an item's name


class Desk(Page):
    """What the pages of this desk need."""

    def may_review(self, batch: Batch) -> bool:
        """Whether to offer it; intaked decides."""
        return batch.state == "sealed" and self.has_role(*REVIEWERS) and batch.submitted_by != self.actor.name

    def may_look(self, batch: Batch, item: str) -> bool:
        """Whether to offer one item: heads from the front only to an honest broker."""
        return self.may_review(batch) and (self.has_role("honest_broker") or not item.endswith(FRONTAL))

    def item_url(self, batch: Batch, item: str, *, done: str = "") -> str:
        """The page of one item."""
        query = {"item": item, **({"done": done} if done else {})}
        return f"{self.url('intake', batch.id, 'item')}?{urlencode(query)}"


class Batches(Desk):
    """All batches, newest first."""

    async def get(self) -> None:
        """The list, with the items that wait for this person."""
        reply = await self.ask("intaked", ListBatches(token=self.token))
        batches = list(reversed(reply.batches))
        links = {
            batch.id: [(item, self.item_url(batch, item)) for item in waiting(batch) if self.may_look(batch, item)]
            for batch in batches
        }
        self.show("intake.html", batches=batches, links=links, left={b.id: len(waiting(b)) for b in batches})


class Item(Desk):
    """One item of a sample. That somebody looked is an event before anything is shown."""

    async def get(self, batch_id: str) -> None:
        """The item, and the form to say yes or no."""
        item = _item(self.get_query_argument("item", ""))
        shown: ReviewItem = await self.ask("intaked", LookAtItem(token=self.token, id=batch_id, image=item))
        batch: Batch = await self.ask("intaked", ShowBatch(token=self.token, id=batch_id))
        left = waiting(batch)
        if item not in left:
            raise NotFoundError("review sample: wanted an item that waits, got one that was judged meanwhile")
        self.set_header("Content-Security-Policy", PICTURE_POLICY)
        may_judge, place = self.may_review(batch), left.index(item) + 1
        self.show("intake_item.html", b=batch, item=item, shown=shown, place=place, left=len(left), may_judge=may_judge)


class Judge(Desk):
    """The form of whoever looked at an item."""

    async def post(self, batch_id: str) -> None:
        """Records yes or no, then goes on with the next item that waits."""
        verdict, reason = self.text_field("verdict"), self.text_field("reason").strip()
        if verdict not in ("clean", "unclean"):
            raise InvalidError("review: wanted yes or no, got neither; go back and choose")
        message = ReviewImage(
            token=self.token,
            id=batch_id,
            image=_item(self.text_field("item")),
            clean=verdict == "clean",
            reason=reason,
        )
        batch: Batch = await self.ask("intaked", message)
        left = [item for item in waiting(batch) if self.may_look(batch, item)]
        if left:
            self.redirect(self.item_url(batch, left[0], done="judged"), status=HTTPStatus.SEE_OTHER)
        else:
            self.go("intake", done="sample_done")


def waiting(batch: Batch) -> list[str]:
    """The items of a sealed batch that nobody has judged."""
    return [item for item, judgement in batch.review.items() if judgement is None] if batch.state == "sealed" else []


def _item(name: str) -> str:
    if not 0 < len(name) <= _MAX_ITEM:
        raise InvalidError(f"review: wanted the name of an item, of 1 to {_MAX_ITEM} characters, got another length")
    return name
