"""Time to judge expiry by: it never goes back, whatever is done to the machine's clock.

It is the latest of the machine's clock, the ledger's last time and what this process has seen before. Who sets the
clock back so that something expired is valid again gains nothing; a step of more than ``STEP_S`` is refused as such.
"""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

from enclave.audit.client import DEADLINE_S, AuditClient
from enclave.core.clock import Clock
from enclave.core.errors import DeniedError

STEP_S = 5.0
CLOCK_STEP = "clock_step"
STEP_WORDS = "clock: wanted one that goes on, got one set back behind the ledger; tell the operator"


class LedgerClock:
    """A ``Clock`` beside the machine's own. Thread-safe."""

    def __init__(self, clock: Clock, audit: AuditClient) -> None:
        self._clock, self._audit = clock, audit
        self._latest: datetime | None = None
        self._guard = threading.Lock()

    def now(self) -> datetime:
        """The latest time known; raises ``UnavailableError`` when the ledger was never heard and does not answer."""
        if self._audit.ledger_time is None:
            self._audit.ask_time()
        return self.latest()

    def asked(self) -> datetime:
        """The latest time known once the ledger was asked now; raises ``UnavailableError`` when it does not answer.

        For who decides seldom: what others wrote since is known, too. Waits for a ledger as an event does.
        """
        self._audit.ask_time(wait_s=DEADLINE_S)
        return self.latest()

    def check(self) -> None:
        """Raises ``DeniedError`` (``clock_step``) when the machine's clock stepped back."""
        if self.stepped_back():
            raise DeniedError(STEP_WORDS, code=CLOCK_STEP)

    def stepped_back(self) -> bool:
        """Whether the machine's clock is more than ``STEP_S`` behind the latest time known."""
        latest = self.latest()
        return self._clock.now() < latest - timedelta(seconds=STEP_S)

    def latest(self) -> datetime:
        """The latest time known without asking anybody: for taking away, which must not wait."""
        known = [self._clock.now()]
        if self._audit.ledger_time is not None:
            known.append(self._audit.ledger_time)
        with self._guard:
            if self._latest is not None:
                known.append(self._latest)
            self._latest = max(known)
            return self._latest
