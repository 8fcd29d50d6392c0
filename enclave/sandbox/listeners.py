"""A kernel's two doors: its lease socket at the broker and its submit socket at the airlock."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from enclave.sandbox.debts import Debts
from enclave.sandbox.kernel_process import KernelPlan
from enclave.sandbox.kernel_rights import Rights
from enclave.wire.client import WireClient
from enclave.wire.messages import airlock, broker


@dataclass(slots=True)
class Doors:
    """``guard`` is held while one kernel's sockets are opened or closed; ``turn`` counts how often they were opened."""

    guard: threading.Lock = field(default_factory=threading.Lock)
    turn: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Listeners:
    """Has broker and airlock open and close them."""

    broker: Path
    airlock: Path
    debts: Debts

    def open(self, plan: KernelPlan, rights: Rights, *, uid: int, doors: Doors) -> None:
        """Opens both for one start, after those of an earlier one are closed."""
        for name in ("lease.sock", "submit.sock"):
            (plan.folder / name).unlink(missing_ok=True)
        common: dict[str, Any] = {
            "kernel": plan.id,
            "person": plan.owner.person,
            "role": rights.role,
            "project": rights.project,
            "directory": str(plan.folder),
            "uid": uid,
        }
        with doors.guard:
            doors.turn += 1
            _ask(self.broker, broker.CloseListener(kernel=plan.id), broker.OpenListener(**common))
            _ask(self.airlock, airlock.CloseSubmitListener(kernel=plan.id), airlock.OpenSubmitListener(**common))

    def owe_closing(self, kernel: str, doors: Doors) -> None:
        """Has the sockets of this turn closed in time; a restart that opened new ones by then keeps them."""
        turn = doors.turn

        def close(service: Path, message: Any) -> None:
            with doors.guard:
                if doors.turn == turn:
                    _ask(service, message)

        self.debts.owe(lambda: close(self.broker, broker.CloseListener(kernel=kernel)))
        self.debts.owe(lambda: close(self.airlock, airlock.CloseSubmitListener(kernel=kernel)))


def _ask(socket: Path, *messages: Any) -> None:
    client = WireClient(socket)
    try:
        for message in messages:
            client.call(message)
    finally:
        client.close()
