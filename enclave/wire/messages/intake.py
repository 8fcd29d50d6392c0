"""What `enclave-intaked` answers."""

from __future__ import annotations

from dataclasses import dataclass, field

from enclave.wire.messages.schema import Json, request


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One intake batch: received | deidentifying | measuring | sealing | sealed | failed; counts only.

    ``project``: the one whose pseudonyms it gets, when its recipe says so. ``review``: what a person must look at, each
    with its judgement once there is one: images by their new UIDs, texts of tables as ``TABLE/COLUMN[ROW]``,
    of objects as ``SOP/text``; the second part of a text that is too long for one item ends with ``[2]``.
    """

    id: str
    dataset: str
    recipe: str
    state: str
    submitted_by: str
    received: str
    progress: float
    summary: Json
    message: str = ""
    version: int | None = None
    project: str = ""
    review: dict[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchList:
    """Several batches."""

    batches: tuple[Batch, ...]


@request("intake.add", reply=Batch)
@dataclass(frozen=True, slots=True, kw_only=True)
class AddBatch:
    """By a data steward: a folder that intaked can read. Answers at once; the work goes on.

    ``project``: named when, and only when, the recipe has pseudonyms per project.
    """

    token: str
    directory: str
    dataset: str
    recipe: str
    project: str = ""


@request("intake.list", reply=BatchList)
@dataclass(frozen=True, slots=True, kw_only=True)
class ListBatches:
    """By a data steward, honest broker or expert."""

    token: str


@request("intake.show", reply=Batch)
@dataclass(frozen=True, slots=True, kw_only=True)
class ShowBatch:
    """By a data steward, honest broker or expert."""

    token: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewItem:
    """One de-identified item of a sample: ``kind`` text | picture (PNG in base64)."""

    kind: str
    text: str = ""
    picture: str = ""


@request("intake.look", reply=ReviewItem)
@dataclass(frozen=True, slots=True, kw_only=True)
class LookAtItem:
    """By whoever may judge it, while it waits."""

    token: str
    id: str
    image: str


@request("intake.review", reply=Batch)
@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewImage:
    """By a data steward other than who handed it in, or an honest broker: is this item of the sample clean?

    ``reason``: why, in at most 2000 characters; a no needs one.
    """

    token: str
    id: str
    image: str
    clean: bool
    reason: str = ""
