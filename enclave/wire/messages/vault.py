"""What `enclave-vaultd` answers: the key back to patients goes in; it comes out only by break-glass."""

from __future__ import annotations

from dataclasses import dataclass

from enclave.wire.messages.schema import Done, Json, request


@request("vault.store", reply=Done)
@dataclass(frozen=True, slots=True, kw_only=True)
class StoreMap:
    """From intaked: rows of {pseudonym, original ids, offset_days} of one dataset; merged, never overwritten."""

    dataset: str
    batch: str
    rows: tuple[Json, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultState:
    """Counts only."""

    datasets: dict[str, int]


@request("vault.state", reply=VaultState)
@dataclass(frozen=True, slots=True, kw_only=True)
class AskState:
    """How many subjects per dataset are held."""
