"""What a sandbox says on its socket that no client of ours would say becomes events, a few a minute."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from enclave.audit.client import AuditClient
from enclave.core.errors import EnclaveError
from enclave.runtime.log import Log

WINDOW_S = 60.0
MAX_PER_WINDOW = 10


@dataclass(slots=True)
class MisuseRecorder:
    """Records misuse of one socket. Nothing was done, so a lost event loses no act: it is logged and the next one
    carries the count of those before it that had no event of their own.

    ``socket`` and every code are words of ours; nothing that the other side chose is written.
    """

    audit: AuditClient
    log: Log
    socket: str
    actor: str
    project: str | None = None
    kernel: str | None = None
    _since: float = 0.0
    _written: int = 0
    _silent: int = 0
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, code: str) -> None:
        """Notes one misuse; never raises."""
        with self._guard:
            now = time.monotonic()
            if now - self._since > WINDOW_S:
                self._since, self._written = now, 0
            if self._written >= MAX_PER_WINDOW:
                self._silent += 1
                return
            self._written += 1
            before, self._silent = self._silent, 0
        detail = {"socket": self.socket, "unrecorded_before": before}
        try:
            self.audit.record(
                "socket.misuse",
                actor=self.actor,
                outcome="refused",
                reason=code,
                project=self.project,
                kernel=self.kernel,
                detail=detail,
            )
        except EnclaveError as error:
            self.log.warning("misuse without an event", socket=self.socket, reason=code, error=error.code)
            with self._guard:
                self._silent += before + 1
