"""What `enclave-intaked` answers."""

from __future__ import annotations

from dataclasses import dataclass, field

from enclave.wire.messages.schema import Json, request


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One intake batch: received | deidentifying | measuring | sealing | sealed | failed; counts only.

    ``review``: the new UIDs of the images that a person must look at, each with its judgement once there is one.
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
    review: dict[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchList:
    """Several batches."""

    batches: tuple[Batch, ...]


@request("intake.add", reply=Batch)
@dataclass(frozen=True, slots=True, kw_only=True)
class AddBatch:
    """By a data steward: a folder that intaked can read. Answers at once; the work goes on."""

    token: str
    directory: str
    dataset: str
    recipe: str


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


@request("intake.review", reply=Batch)
@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewImage:
    """By a data steward other than who handed it in, or an honest broker: is this image of the sample clean?"""

    token: str
    id: str
    image: str
    clean: bool
