"""Events about things that ended: they are written as soon as the ledger takes them, and hold nothing up.

Ending a kernel or server is always allowed; a ledger that does not answer must not keep one alive.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from enclave.audit.client import AuditClient
from enclave.audit.event import Event
from enclave.core.errors import EnclaveError, UnavailableError
from enclave.runtime.log import Log


class Debts:
    """Writes events and does small duties of other services in the background, in order, until each is done."""

    def __init__(self, audit: AuditClient, *, log: Log) -> None:
        self._audit = audit
        self._log = log
        self._queue: queue.Queue[Callable[[], Any] | None] = queue.Queue()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="debts", daemon=True)
        self._thread.start()

    def owe_event(self, event: Event) -> None:
        """Appends ``event`` later; its id keeps it single."""
        self._queue.put(lambda: self._audit.append(event))

    def owe(self, duty: Callable[[], Any]) -> None:
        """Does ``duty`` later, once: the other service finds out by itself when it did not hear of it."""

        def once() -> None:
            try:
                duty()
            except UnavailableError as error:
                self._log.warning("duty not done", code=error.code)

        self._queue.put(once)

    def close(self, *, wait_s: float = 4.0) -> None:
        """Gives what is owed a last chance."""
        self._closing = True
        self._queue.put(None)
        self._thread.join(wait_s)

    def _work(self) -> None:
        while (duty := self._queue.get()) is not None:
            while not self._tried(duty):
                if self._closing:
                    break
                time.sleep(0.5)

    def _tried(self, duty: Callable[[], Any]) -> bool:
        try:
            duty()
        except UnavailableError:
            return False
        except EnclaveError as error:
            self._log.warning("duty refused", code=error.code)
        except Exception as error:  # noqa: BLE001 - one duty must not end the others
            self._log.error("duty failed", error)
        return True
