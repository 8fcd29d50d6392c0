"""How a cell begins: the ledger is asked in the poller's own thread, which hears the receipt as it hears messages.

Then broker and airlock hold the page on which the cell stands, or the cell waits for them; and the record states the
leases that are in force, or another one says so first. What the ledger cannot be asked that way (a long text, a
connection that broke) is left to the journal's thread, with the same event.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import zmq

from enclave.audit.client import FINAL, append_body, receipt_in
from enclave.audit.event import Event
from enclave.core.errors import EnclaveError, UnavailableError
from enclave.sandbox.tap.handover import Handover
from enclave.sandbox.tap.leases import KnownLeases, Leases
from enclave.sandbox.tap.settings import TapSettings
from enclave.wire.messages.audit import Append
from enclave.wire.polled_line import BrokenLineError, PolledLine

LEDGER_DEADLINE_S: Final = 1.2  # with the next one a cell is refused within two seconds
ATTRIBUTION_DEADLINE_S: Final = 0.25

Outcome = Callable[[EnclaveError | None], None]  # without an error: it may run
Correct = Callable[[Leases], Event | None]
Bodies = dict[str, str]
# Has an event recorded within some seconds in another way, and calls back in the poller's thread.
Record = Callable[[Event, Bodies, float, Callable[[Any, EnclaveError | None], None]], None]


@dataclass(slots=True, eq=False)
class _Begun:
    since: float
    cell: str
    record: tuple[Event, Bodies]  # which the ledger is asked to keep now
    tell: Outcome
    correct: Correct
    receipt_at: float | None = None


class Beginning:
    """One cell at a time. ``attach`` it to a poller first; belongs to that poller's thread."""

    def __init__(self, settings: TapSettings, *, leases: KnownLeases, record: Record) -> None:
        self._poller: zmq.Poller | None = None
        self._leases = leases
        self._record = record
        self._ledger = PolledLine(Path(settings.audit_socket), watch=self._watch, unwatch=self._unwatch)
        self.handover = Handover(settings, watch=self._watch, unwatch=self._unwatch, heard=leases.hear)
        self._begun: _Begun | None = None

    def attach(self, poller: zmq.Poller) -> None:
        """Watches its connections with ``poller`` from now on; an order may have opened some before."""
        self._poller = poller
        for line in (self._ledger, *self.handover.lines):
            if line.connected:
                self._watch(line.descriptor)

    def begin(self, event: Event, bodies: Bodies, *, cell: str, tell: Outcome, correct: Correct) -> None:
        """Has it recorded and calls ``tell`` once, later; without an error the page says by then that ``cell`` runs.

        ``correct`` gets the leases in force and returns what must be recorded beside ``event``, if anything.
        """
        self._begun = begun = _Begun(time.monotonic(), cell, (event, bodies), tell, correct)
        self._ask_ledger(begun)
        change, _ = self._leases.standing()
        if not self.handover.stands(change):
            self.handover.ask(change)

    def wait_ms(self, otherwise: int) -> int:
        """How long the poller may sleep."""
        wait = self.handover.wait_ms(otherwise)
        if self._begun is None:
            return wait
        return max(1, min(wait, round(1000 * (self._ends(self._begun) - time.monotonic())) + 1))

    def hear(self, ready: Container[int]) -> None:
        """Takes the answers that are there; ends what waited too long."""
        fault = self.handover.hear(ready)  # first: what has gone away by now is not there for the cell
        if self._ledger.descriptor in ready:
            self._hear_ledger()
        begun = self._begun
        if begun is None:
            return
        if fault is not None:
            self._end(fault)
        elif time.monotonic() > self._ends(begun):
            self._end(_no_receipt() if begun.receipt_at is None else self.handover.unavailable())
        else:
            self._settle(begun)

    def close(self) -> None:
        """Hangs up."""
        self._begun = None
        self.handover.end()
        self._ledger.drop()

    def _ask_ledger(self, begun: _Begun) -> None:
        event, bodies = begun.record
        begun.receipt_at = None
        try:
            self._ledger.ask_encoded(Append, append_body(event, bodies), quick=receipt_in)
        except BrokenLineError:
            self._ask_otherwise(begun)

    def _ask_otherwise(self, begun: _Begun) -> None:
        event, bodies = begun.record

        def recorded(_: Any, error: EnclaveError | None) -> None:
            if self._begun is begun:
                self._recorded(begun, error)

        self._record(event, bodies, max(0.05, begun.since + LEDGER_DEADLINE_S - time.monotonic()), recorded)

    def _hear_ledger(self) -> None:
        begun = self._begun if self._ledger.waiting else None
        try:
            answer = self._ledger.answer()
        except BrokenLineError:
            if begun is not None:
                self._ask_otherwise(begun)
        except EnclaveError as error:
            if begun is None:
                return
            if isinstance(error, UnavailableError) and error.code not in FINAL:
                self._ask_otherwise(begun)
            else:
                self._recorded(begun, error)
        else:
            if answer is not None and begun is not None:
                self._recorded(begun, None)

    def _recorded(self, begun: _Begun, error: EnclaveError | None) -> None:
        if error is not None:
            self._end(error)
            return
        begun.receipt_at = time.monotonic()
        self._settle(begun)

    def _settle(self, begun: _Begun) -> None:
        """With a receipt and the page in both hands the cell may run, unless its record must be corrected first."""
        if begun is not self._begun or begun.receipt_at is None:
            return
        change, leases = self._leases.standing()
        if not self.handover.stands(change):
            self.handover.ask(change)
            return
        more = begun.correct(leases)
        if more is not None:
            begun.record = (more, {})
            self._ask_ledger(begun)
            return
        self.handover.show(begun.cell)
        self._end(None)

    def _ends(self, begun: _Begun) -> float:
        if begun.receipt_at is None:
            return begun.since + LEDGER_DEADLINE_S
        return begun.receipt_at + ATTRIBUTION_DEADLINE_S

    def _end(self, outcome: EnclaveError | None) -> None:
        begun, self._begun = self._begun, None
        if outcome is not None:
            self.handover.give_up()
            if self._ledger.waiting:
                self._ledger.drop()
        if begun is not None:
            begun.tell(outcome)

    def _watch(self, descriptor: int) -> None:
        if self._poller is not None:
            self._poller.register(descriptor, zmq.POLLIN)

    def _unwatch(self, descriptor: int) -> None:
        if self._poller is not None:
            self._poller.unregister(descriptor)


def _no_receipt() -> UnavailableError:
    return UnavailableError(
        "ledger: wanted a receipt, got none within 2 s; nothing was done. Try again once it is back",
        code="ledger_unavailable",
    )
