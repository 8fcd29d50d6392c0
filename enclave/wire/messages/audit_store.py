"""What the process of the query store answers to ``enclave-auditd``, and to nobody else."""

from __future__ import annotations

from dataclasses import dataclass

from enclave.wire.messages.audit import Rows
from enclave.wire.messages.schema import Done, Verbatim, request


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreMark:
    """How many records of the log are in the store; number and leaf hash (hex) of the newest one, -1 and '' without."""

    high_water: int
    newest: int = -1
    leaf_hash: str = ""


@request("store.open", reply=StoreMark)
@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStore:
    """Opens or makes the store at ``path``; ``key`` is base64."""

    path: str
    key: str


@request("store.add", reply=StoreMark, descriptors=True)
@dataclass(frozen=True, slots=True, kw_only=True)
class AddBatch:
    """Adds what the two descriptors hold (Arrow streams: records, bodies) and moves the mark, in one transaction."""

    high_water: int


@request("store.query", reply=Rows)
@dataclass(frozen=True, slots=True, kw_only=True)
class AskStore:
    """The rows of one SELECT."""

    sql: Verbatim
    limit: int
    timeout_s: float


@request("store.close", reply=Done)
@dataclass(frozen=True, slots=True, kw_only=True)
class CloseStore:
    """Folds the write-ahead log in and closes the file."""
