"""What follows the end of a lease: the launcher ends the kernel, the ledger hears of it.

Neither may hold up the end itself.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections import deque
from pathlib import Path
from typing import Any

from enclave.audit.client import AuditClient
from enclave.audit.event import Event
from enclave.broker.session import Session
from enclave.core.clock import Clock, format_time
from enclave.core.errors import EnclaveError, NotFoundError, UnavailableError
from enclave.runtime.log import Log
from enclave.wire.client import WireClient
from enclave.wire.messages.launcher import EndKernel

TRIES = 20  # after which the log says so
PAUSE_S = 0.25
LONG_PAUSE_S = 2.0


class KernelEnder:
    """Tells the launcher to end a kernel, from a thread of its own, until it heard."""

    def __init__(self, socket: Path, *, log: Log) -> None:
        self._socket = socket
        self._log = log
        self._closed = threading.Event()

    def close(self) -> None:
        """Gives up on what the launcher did not hear yet."""
        self._closed.set()

    def end(self, kernel: str, reason: str) -> None:
        """Returns at once."""
        threading.Thread(target=self._tell, args=(kernel, reason), name="end-kernel", daemon=True).start()

    def _tell(self, kernel: str, reason: str) -> None:
        client = WireClient(self._socket, timeout_s=2.0)
        tries = 0
        while not self._closed.is_set():
            try:
                client.call(EndKernel(kernel=kernel, reason=reason))
                break
            except NotFoundError:
                break
            except EnclaveError as error:  # a fault of the launcher too: the kernel still has what it may not have
                tries += 1
                if tries == TRIES:
                    self._log.error("kernel not ended, it may still run", error, kernel=kernel)
                self._closed.wait(PAUSE_S if tries < TRIES else LONG_PAUSE_S)
        client.close()


class PendingEvents:
    """Events about what already ended: kept until the ledger took them, in their order. Thread-safe."""

    def __init__(self, audit: AuditClient, *, clock: Clock) -> None:
        self._audit = audit
        self._clock = clock
        self._waiting: deque[Event] = deque()
        self._flushing = threading.Lock()

    def add(self, session: Session, kind: str, **fields: Any) -> None:
        """Only notes it: its time is now, whenever it will be written."""
        who = session.identity
        self._waiting.append(
            Event(
                id=secrets.token_hex(16),
                time=format_time(self._clock.now()),
                kind=kind,
                actor=who.person,
                outcome="ok",
                role=who.role,
                project=who.project or None,
                kernel=who.kernel,
                **fields,
            )
        )

    def flush(self) -> None:
        """Writes what waits until one does not go; never raises for a ledger that is away."""
        with self._flushing, contextlib.suppress(UnavailableError):
            while self._waiting:
                self._audit.append(self._waiting[0])
                self._waiting.popleft()
