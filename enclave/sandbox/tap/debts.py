"""Records for which nobody waits: written in order as soon as the ledger takes them.

Whoever sends a kernel what no channel carries makes a refusal by each message. While the ledger is away a thousand of
them are kept, and of the others their number: no flood takes the place of what came of a cell.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from enclave.audit.event import Event
from enclave.core.errors import EnclaveError, UnavailableError
from enclave.runtime.log import Log

MAX_REFUSALS: Final = 1000
PATIENCE_S: Final = 1.0  # how long a ledger that did not answer is left alone


class Debts:
    """Belongs to one thread but for ``trust``. ``append`` writes one record or raises; ``more`` makes one that counts
    refusals."""

    def __init__(self, append: Callable[[Event], object], *, more: Callable[[int], Event], log: Log) -> None:
        self._append = append
        self._more = more
        self._log = log
        self._owed: deque[Event] = deque()
        self._refusals = 0  # among them
        self._uncounted = 0  # refusals beside them
        self._patience = 0.0

    def owe(self, event: Event) -> None:
        """Writes ``event`` after all that waits, now or later."""
        if event.outcome == "refused" and self._refusals >= MAX_REFUSALS:
            self._uncounted += 1
        else:
            self._put(event)
        self.pay()

    def trust(self) -> None:
        """The ledger has answered somebody: it need not be left alone any longer."""
        self._patience = 0.0

    def pay(self) -> None:
        """Writes what is owed, oldest first, until the ledger does not answer; then leaves it alone for a second."""
        while self._owed and time.monotonic() >= self._patience:
            event = self._owed[0]
            try:
                self._append(event)
            except UnavailableError:
                self._patience = time.monotonic() + PATIENCE_S
                return
            except EnclaveError as error:
                self._log.warning("record refused by the ledger", kind=event.kind, code=error.code)
            self._owed.popleft()
            self._refusals -= event.outcome == "refused"
            if self._uncounted and self._refusals < MAX_REFUSALS:
                self._put(self._more(self._uncounted))
                self._uncounted = 0

    def _put(self, event: Event) -> None:
        self._owed.append(event)
        self._refusals += event.outcome == "refused"
