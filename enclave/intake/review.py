"""The sample that a person looks at: which images wait, who said what of which, whether it is complete. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from enclave.wire.messages.intake import Batch


def sample_of(paths: list[str]) -> dict[str, Any]:
    """The sample of a check as images that wait, by their new SOP instance UIDs."""
    return {PurePosixPath(path).stem: None for path in paths}


def waits(batch: Batch, image: str) -> bool:
    """Whether ``image`` is in the sample of ``batch`` and nobody has judged it."""
    return batch.state == "sealed" and image in batch.review and batch.review[image] is None


def judged(batch: Batch, *, image: str, clean: bool, by: str, at: str) -> Batch:
    """``batch`` with one more judgement."""
    return replace(batch, review={**batch.review, image: {"clean": clean, "by": by, "at": at}})


def standing(review: Mapping[str, Any]) -> dict[str, Any]:
    """Counts for the summary; ``state`` is pending, findings or complete (every image looked at and clean)."""
    waiting = sum(1 for judgement in review.values() if judgement is None)
    unclean = sum(1 for judgement in review.values() if judgement is not None and not judgement["clean"])
    state = "findings" if unclean else "pending" if waiting else "complete"
    return {"sample": len(review), "waiting": waiting, "unclean": unclean, "state": state}
