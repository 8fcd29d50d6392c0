"""What all parts of the airlock share."""

from __future__ import annotations

from dataclasses import dataclass

from enclave.airlock.frozen import FrozenFiles
from enclave.airlock.members import Members
from enclave.airlock.settings import AirlockSettings
from enclave.airlock.store import Store
from enclave.airlock.trail import Trail
from enclave.audit.ledger_clock import LedgerClock


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """What the airlock has in hand and asks: state, copies, ledger, registry, time, limits."""

    store: Store
    frozen: FrozenFiles
    trail: Trail
    members: Members
    clock: LedgerClock
    settings: AirlockSettings
