"""Alerts on their way out: each receiver has its own queue in the store and its own thread; nothing is dropped.

A receiver that does not take them is one event when it begins and one when all that waited went out.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from enclave.audit.alerts.store import AlertStore
from enclave.audit.client import AuditClient
from enclave.core.clock import Clock, format_time
from enclave.core.errors import EnclaveError, UnavailableError
from enclave.runtime.log import Log

ACTOR: Final = "service:watchd"
FILE: Final = "file"
SYSLOG: Final = "syslog"
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0

Send = Callable[[Sequence[str]], None]


class AlertFile:
    """``alerts.jsonl``: one OCSF event per line, durable before it counts as sent."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def send(self, lines: Sequence[str]) -> None:
        """Appends all lines; raises ``UnavailableError`` when the disk does not take them."""
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
            with os.fdopen(fd, "wb") as file:
                file.write("".join(f"{line}\n" for line in lines).encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            words = f"file of alerts: wanted to write it, got {type(error).__name__}; alerts wait"
            raise UnavailableError(words, code="alert_file") from None


@dataclass(slots=True)
class Health:
    """How a receiver fares: whether the last try failed, and how many did."""

    failing: bool = False
    failures: int = 0


class Courier:
    """Carries the queue of one receiver, oldest first."""

    def __init__(
        self, channel: str, send: Send, *, store: AlertStore, audit: AuditClient, clock: Clock, log: Log
    ) -> None:
        self.channel = channel
        self.health = Health()
        self._send, self._store, self._audit, self._clock, self._log = send, store, audit, clock, log
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"courier:{channel}", daemon=True)

    def start(self) -> None:
        """Begins with what waits from the last time."""
        self._thread.start()

    def wake(self) -> None:
        """Something waits."""
        self._wake.set()

    def close(self) -> None:
        """Ends; what waits stays in the store."""
        self._stop.set()
        self._wake.set()
        self._thread.join(timeout=10)

    def carry(self) -> bool:
        """Sends what waits; whether all of it went out."""
        while True:
            lines = self._store.waiting(self.channel)
            if not lines:
                return self._went_well()
            try:
                self._send([one.line for one in lines])
            except EnclaveError as error:
                self._failed(error)
                return False
            self._store.sent(lines, at=format_time(self._clock.now()))

    def _work(self) -> None:
        pause = 0.0
        while not self._stop.is_set():
            self._wake.wait(pause or None)
            self._wake.clear()
            if self._stop.is_set():
                return
            if pause:
                self._stop.wait(min(pause, FIRST_PAUSE_S))
            pause = self._next_pause(pause)

    def _next_pause(self, pause: float) -> float:
        try:
            done = self.carry()
        except Exception as error:  # noqa: BLE001 - the thread must outlive any fault; the next turn tries again
            self._log.error("delivery failed", error, channel=self.channel)
            done = False
        return 0.0 if done else min(LONGEST_PAUSE_S, max(FIRST_PAUSE_S, 2 * pause))

    def _failed(self, error: EnclaveError) -> None:
        self.health.failures += 1
        if self.health.failing:
            return
        self._log.warning("alerts wait", channel=self.channel, code=error.code)
        detail = {"channel": self.channel, "waiting": self._store.waiting_count(self.channel)}
        self._audit.record("alert.delivery", actor=ACTOR, outcome="failed", reason=error.code, detail=detail)
        self.health.failing = True

    def _went_well(self) -> bool:
        if self.health.failing:
            self._audit.record("alert.delivery", actor=ACTOR, detail={"channel": self.channel, "waiting": 0})
            self.health.failing = False
        return True
