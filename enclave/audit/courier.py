"""Carries each checkpoint to the places that keep copies of it, one thread a place, without anybody waiting for it.

Signing hands the newest checkpoint over and goes on; a place that is slow or away gets the newest one when it is back
(an older one says nothing more). A place that answers that it knows another history is a split view: an event, an
error in the log, and red wherever the state is shown, until somebody has looked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from enclave.audit.copies import CopyState
from enclave.core.clock import Clock, format_time
from enclave.core.errors import EnclaveError, IntegrityError, UnavailableError
from enclave.runtime.log import Log
from enclave.wire.messages.audit import Copy

MAX_PAUSE_S = 60.0
TELL_AFTER = 3  # failures in a row before an event: a restart of a witness is none


class SplitViewError(IntegrityError):
    """A place holds a history that this log does not continue."""

    def __init__(self, held_size: int) -> None:
        words = f"copy: wanted a place that this log continues, got one with another history at size {held_size}"
        super().__init__(f"{words}; keep both, and compare them", code="split_view")
        self.held_size = held_size


class Place(Protocol):
    """Somewhere that keeps copies."""

    name: str
    kind: str
    off_host: bool

    def send(self, checkpoint: str) -> str:
        """Delivers; returns the checkpoint as the place has it (cosigned, where it cosigns).

        Raises ``SplitViewError``, ``UnavailableError`` or ``IntegrityError``.
        """
        ...

    def last(self) -> str:
        """The checkpoint that it had when we last ran, cosigned; empty when it never had one."""
        ...


Tell = Callable[..., object]  # writes one of the ledger's own events: kind, outcome, reason, detail


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often: again without news after ``refresh_s``, again after a failure in ``retry_s`` doubled each time."""

    refresh_s: float
    retry_s: float
    every_s: float = 0.0


class Courier:
    """One place's thread."""

    def __init__(self, place: Place, *, rhythm: Rhythm, tell: Tell, clock: Clock, log: Log) -> None:
        self._place, self._rhythm, self._tell, self._clock, self._log = place, rhythm, tell, clock, log
        self._change = threading.Condition()
        self._newest = ""
        self._carried = ""
        self._closed = False
        self._failures = 0
        self._state: CopyState = "waiting"
        self._told: CopyState = "waiting"
        self._reason = self._time = ""
        self._kept = place.last()
        self._thread = threading.Thread(target=self._run, name=f"audit:copy:{place.name}", daemon=True)

    def start(self) -> None:
        """Begins; returns at once."""
        self._thread.start()

    def offer(self, checkpoint: str) -> None:
        """Takes the newest checkpoint; never waits and never fails."""
        with self._change:
            self._newest = checkpoint
            self._change.notify()

    def close(self) -> None:
        """Tries once more to bring what is newest, for a second at most, then ends."""
        with self._change:
            self._closed = True
            self._change.notify()
        self._thread.join(timeout=1.0)

    def status(self) -> Copy:
        """How it stands."""
        with self._change:
            return Copy(
                name=self._place.name,
                kind=self._place.kind,
                state=self._state,
                off_host=self._place.off_host,
                size=_size(self._kept),
                time=self._time,
                reason=self._reason,
                checkpoint=self._kept,
            )

    def _run(self) -> None:
        pause = 0.0
        while True:
            with self._change:
                if not self._closed and pause:
                    self._change.wait_for(lambda: self._closed, pause)
                if not self._closed:
                    self._change.wait_for(lambda: self._closed or self._newest != self._carried, self._rhythm.refresh_s)
                if self._closed and (self._newest == self._carried or self._failures):
                    return
                newest = self._newest
            pause = self._carry(newest) if newest else 0.0
            if self._closed:
                return

    def _carry(self, newest: str) -> float:
        """One attempt; returns how long to pause before the next."""
        try:
            kept = self._place.send(newest)
        except SplitViewError as error:
            self._became("conflict", "split_view", size=_size(newest), held_size=error.held_size)
            return MAX_PAUSE_S
        except EnclaveError as error:
            self._failures += 1
            self._became("failing", error.code, size=_size(newest))
        except Exception as error:  # noqa: BLE001 - the thread must outlive any fault; the next turn tries again
            self._failures += 1
            self._log.error("copy failed", error, place=self._place.name)
            self._became("failing", "unexpected", size=_size(newest))
        else:
            with self._change:
                self._carried, self._kept, self._failures = newest, kept, 0
                self._time = format_time(self._clock.now())
            self._became("ok", "", size=_size(kept))
            return self._rhythm.every_s
        return min(MAX_PAUSE_S, self._rhythm.retry_s * 2.0 ** min(self._failures - 1, 10))

    def _became(self, state: CopyState, reason: str, **sizes: int) -> None:
        with self._change:
            self._state, self._reason = state, reason
        if state == self._told or (state == "failing" and self._failures < TELL_AFTER):
            return
        if self._told == "conflict" and state == "failing":
            return
        detail: dict[str, Any] = {"place": self._place.name, "off_host": self._place.off_host, **sizes}
        kind = "audit.split_view" if state == "conflict" else "audit.copy"
        if state != "ok":
            self._log.error("copy of checkpoints", place=self._place.name, state=state, reason=reason)
        try:
            self._tell(kind, outcome="ok" if state == "ok" else "failed", reason=reason or None, detail=detail)
            self._told = state
        except UnavailableError:
            self._log.warning("state of a copy without an event", place=self._place.name, state=state)


class Couriers:
    """All of them."""

    def __init__(self, couriers: Sequence[Courier]) -> None:
        self._couriers = couriers

    def start(self) -> None:
        """Begins; returns at once."""
        for courier in self._couriers:
            courier.start()

    def offer(self, checkpoint: str) -> None:
        """Hands the newest checkpoint to every place; never waits."""
        for courier in self._couriers:
            courier.offer(checkpoint)

    def status(self) -> tuple[Copy, ...]:
        """How each place stands."""
        return tuple(courier.status() for courier in self._couriers)

    def close(self) -> None:
        """Ends all."""
        for courier in self._couriers:
            courier.close()


def _size(checkpoint: str) -> int:
    lines = checkpoint.split("\n", 2)
    return int(lines[1]) if len(lines) > 2 else 0
