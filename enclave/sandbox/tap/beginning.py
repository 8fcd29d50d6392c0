"""How a cell begins: ledger, broker and airlock are asked at the same time, in the poller's own thread.

No thread is handed anything and nothing waits: the poller hears the answers as it hears messages. What cannot be done
that way (a long text, a connection that broke) is left to the journal's thread, with the same event.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import zmq

from enclave.audit.client import FINAL, append_body, receipt_in
from enclave.audit.event import Event
from enclave.core.errors import EnclaveError, UnavailableError
from enclave.sandbox.tap.settings import TapSettings
from enclave.wire.messages.airlock import SubmitExecution
from enclave.wire.messages.audit import Append
from enclave.wire.messages.broker import Execution, LeasesReply
from enclave.wire.polled_line import BrokenLineError, PolledLine

LEDGER_DEADLINE_S: Final = 1.2  # with the next one a cell is refused within two seconds
ATTRIBUTION_DEADLINE_S: Final = 0.25

# With None: it may run. With an error: it may not. With a number of seconds: try another way within that time.
Outcome = Callable[[EnclaveError | float | None], None]
Correct = Callable[[LeasesReply], Event | None]


@dataclass(slots=True)
class _Begun:
    since: float
    tell: Outcome
    correct: Correct
    said: LeasesReply | None = None
    receipt_at: float | None = None


class Beginning:
    """One cell at a time; ``attach`` it to a poller first."""

    def __init__(self, settings: TapSettings) -> None:
        self._kernel = settings.kernel
        self._poller: zmq.Poller | None = None
        paths = (settings.audit_socket, settings.broker_socket, settings.airlock_socket)
        self._lines = [PolledLine(Path(path), watch=self._watch, unwatch=self._unwatch) for path in paths]
        self._ledger, self._broker, self._airlock = self._lines
        self._begun: _Begun | None = None

    def attach(self, poller: zmq.Poller) -> None:
        """Watches its connections with ``poller`` from now on."""
        self._poller = poller

    def begin(self, event: Event, bodies: dict[str, str], *, cell: str, tell: Outcome, correct: Correct) -> bool:
        """Asks all three and calls ``tell`` once, later; says whether it did: if not, nothing is under way.

        ``correct`` gets what the broker said and returns what must be recorded beside ``event``, if anything.
        """
        if self._poller is None or self._begun is not None:
            return False
        try:
            self._ledger.ask_encoded(Append, append_body(event, bodies), quick=receipt_in)
            self._broker.ask(Execution(kernel=self._kernel, cell=cell))
            self._airlock.ask(SubmitExecution(kernel=self._kernel, cell=cell))
        except BrokenLineError:
            self._hang_up()
            return False
        self._begun = _Begun(time.monotonic(), tell, correct)
        return True

    def wait_ms(self, otherwise: int) -> int:
        """How long the poller may sleep."""
        if self._begun is None:
            return otherwise
        return max(1, min(otherwise, round(1000 * (self._ends() - time.monotonic())) + 1))

    def hear(self, ready: Container[int]) -> None:
        """Takes the answers that are there; ends what waited too long."""
        for line in self._lines:
            if line.descriptor in ready:
                self._take(line)
        if self._begun is not None and time.monotonic() > self._ends():
            self._end(_no_receipt() if self._ledger.waiting else self._slowest().unavailable())

    def close(self) -> None:
        """Hangs up."""
        self._begun = None
        self._hang_up()

    def _take(self, line: PolledLine) -> None:
        try:
            answer = line.answer()
        except BrokenLineError:
            self._end(self._left())
            return
        except UnavailableError as error:
            again = line is self._ledger and error.code not in FINAL
            self._end(self._left() if again else error)
            return
        except EnclaveError as error:
            self._end(error)
            return
        if answer is None or self._begun is None:
            return
        if line is self._ledger:
            self._begun.receipt_at = time.monotonic()
        if line is self._broker:
            self._begun.said = answer
        if not any(one.waiting for one in self._lines):
            self._settle(self._begun)

    def _settle(self, begun: _Begun) -> None:
        """All three have answered: the cell may run, unless its record must be corrected first."""
        said, begun.said = begun.said, None
        more = begun.correct(said) if said is not None else None
        if more is None:
            self._end(None)
            return
        begun.receipt_at = None
        try:
            self._ledger.ask_encoded(Append, append_body(more), quick=receipt_in)
        except BrokenLineError:
            self._end(self._left())

    def _left(self) -> float:
        since = self._begun.since if self._begun is not None else 0.0
        return max(0.05, since + LEDGER_DEADLINE_S - time.monotonic())

    def _ends(self) -> float:
        begun = self._begun
        if begun is None or begun.receipt_at is None:
            return (begun.since if begun is not None else 0.0) + LEDGER_DEADLINE_S
        return begun.receipt_at + ATTRIBUTION_DEADLINE_S

    def _end(self, outcome: EnclaveError | float | None) -> None:
        begun, self._begun = self._begun, None
        if outcome is not None:
            self._hang_up()
        if begun is not None:
            begun.tell(outcome)

    def _slowest(self) -> PolledLine:
        return self._broker if self._broker.waiting else self._airlock

    def _hang_up(self) -> None:
        for line in self._lines:
            if line.waiting:
                line.drop()

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
