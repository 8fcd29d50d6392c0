"""The sample that a person looks at: which items wait, who said what of which, whether it is complete. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from enclave.core.errors import InvalidError
from enclave.wire.messages.intake import Batch

MAX_REASON = 2000
MAX_HEADS = 12  # of a batch that a person looks at from the front
FRONTAL = "frontal"  # the item of a series that shows its head from the front


def sample_of(paths: list[str]) -> dict[str, Any]:
    """The sample of a check as items that wait: images by their new UIDs, texts of tables as
    ``TABLE/COLUMN[ROW]`` and of objects as ``SOP/text``, heads from the front as ``SERIES/frontal``. Behind the further
    parts of a long text stands their number: ``SOP/text[2]``."""
    return {item_of(path): None for path in paths}


def frontal_of(folder: str) -> str:
    """The entry of a sample that stands for the head in the series that left as ``folder``."""
    return f"{folder}.series#{FRONTAL}"


def face_item(series: str) -> str:
    """The item of the series that has this new UID."""
    return f"{series}/{FRONTAL}"


def shows_face(item: str) -> bool:
    """Whether an item is the view of a head."""
    return item.endswith(f"/{FRONTAL}")


def judged_heads(batch: Batch) -> list[str]:
    """The views of heads that somebody has judged."""
    return [item for item, judgement in batch.review.items() if judgement is not None and shows_face(item)]


def item_of(path: str) -> str:
    """The name of one item of the sample."""
    table, cell = path.partition("#")[::2]
    return f"{PurePosixPath(table).stem}/{cell}" if cell else PurePosixPath(path).stem


def waits(batch: Batch, image: str) -> bool:
    """Whether this item is in the sample of ``batch`` and nobody has judged it."""
    return batch.state == "sealed" and image in batch.review and batch.review[image] is None


def check_reason(reason: str, *, clean: bool) -> None:
    """Raises ``InvalidError`` for a no without a reason, and for one that is too long."""
    if len(reason) > MAX_REASON or not (clean or reason.strip()):
        raise InvalidError(
            f"review reason: wanted why it is not clean, in at most {MAX_REASON} characters, got none or more",
            code="reason_missing",
        )


def judged(batch: Batch, *, image: str, clean: bool, by: str, at: str, reason: str = "") -> Batch:
    """``batch`` with one more judgement."""
    return replace(batch, review={**batch.review, image: {"clean": clean, "by": by, "at": at, "reason": reason}})


def standing(review: Mapping[str, Any]) -> dict[str, Any]:
    """Counts for the summary; ``state`` is pending, findings or complete (every image looked at and clean)."""
    waiting = sum(1 for judgement in review.values() if judgement is None)
    unclean = sum(1 for judgement in review.values() if judgement is not None and not judgement["clean"])
    state = "findings" if unclean else "pending" if waiting else "complete"
    return {"sample": len(review), "waiting": waiting, "unclean": unclean, "state": state}
