"""The tap's writing hand: records, receipts and attribution.

Cells begin in the poller's thread, which asks and never waits (``beginning``). What the ledger cannot be asked that way
is asked in a thread of its own, and another one writes what came of cells, so that none waits for the record of the one
before. An interrupt passes while a record hangs.
"""

from __future__ import annotations

import functools
import hashlib
import os
import queue
import secrets
import threading
from collections import deque
from collections.abc import Callable, Container
from dataclasses import replace
from pathlib import Path
from typing import Any

import zmq

from enclave.audit.client import AuditClient
from enclave.audit.event import Event
from enclave.core.clock import Clock, format_time
from enclave.core.errors import EnclaveError, InvalidError, UnavailableError
from enclave.runtime.clock import SystemClock
from enclave.runtime.log import Log
from enclave.sandbox.tap.beginning import ATTRIBUTION_DEADLINE_S, LEDGER_DEADLINE_S, Beginning
from enclave.sandbox.tap.debts import Debts
from enclave.sandbox.tap.leases import KnownLeases, Leases
from enclave.sandbox.tap.rules import CLIENT_CELL
from enclave.sandbox.tap.running import Running, text_of
from enclave.sandbox.tap.settings import TapSettings
from enclave.wire.client import WireClient
from enclave.wire.messages.broker import Reads, ReadsReply

DEBT_DEADLINE_S = 0.3  # a record that nobody waits for; it is tried again
MAX_TEXT_BYTES = 400_000  # a frame holds 1 MiB with all escapes
MAX_OBJECTS = 256

Done = Callable[[Any, EnclaveError | None], None]


class Journal:
    """Runs jobs in order and hands their results back through ``results`` (poll ``wakeup`` with the sockets)."""

    def __init__(self, settings: TapSettings, *, log: Log, clock: Clock | None = None) -> None:
        self._settings = settings
        self.notebook = settings.notebook  # as the client states it; a rename changes it
        self._log = log
        self._clock = clock or SystemClock()
        self._audit = AuditClient(Path(settings.audit_socket), clock=self._clock, deadline_s=LEDGER_DEADLINE_S)
        self._debts = AuditClient(Path(settings.audit_socket), clock=self._clock, deadline_s=DEBT_DEADLINE_S)
        self._leases = KnownLeases()
        self._beginning = Beginning(settings, leases=self._leases, record=self._record_otherwise)
        self._broker = WireClient(Path(settings.broker_socket), timeout_s=ATTRIBUTION_DEADLINE_S)
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], Done] | None] = queue.SimpleQueue()
        self._later: queue.Queue[Callable[[], Any] | None] = queue.Queue()
        self._results: deque[tuple[Done, Any, EnclaveError | None]] = deque()
        self._owed = Debts(self._debts.append, more=self._more_refusals, log=log)
        self.wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._work, self._work_later)]
        for thread in self._threads:
            thread.start()

    def attach(self, poller: zmq.Poller) -> None:
        """From now on ``poller`` looks at what the journal waits for; ``hear`` what it found."""
        poller.register(self.wakeup, zmq.POLLIN)
        self._beginning.attach(poller)

    def wait_ms(self, otherwise: int) -> int:
        """How long the poller may sleep, at most ``otherwise``."""
        return self._beginning.wait_ms(otherwise)

    def hear(self, ready: Container[int]) -> None:
        """Calls the ``done`` of everything that ended; in the poller's thread."""
        self._beginning.hear(ready)
        if self.wakeup in ready:
            self._take_results()

    def begin(self, running: Running, done: Done) -> None:
        """Records what is about to run and shows it on the page; then, and never at once, calls ``done``."""
        try:
            event, bodies = self._intent(running)
        except EnclaveError as fault:
            self._jobs.put((functools.partial(_raise, fault), done))
            return

        def tell(outcome: EnclaveError | None) -> None:
            if outcome is None:
                self._owed.trust()
            done(None, outcome)

        correct = functools.partial(self._correction, running, event)
        self._beginning.begin(event, bodies, cell=running.cell, tell=tell, correct=correct)

    def finish(self, running: Running, *, outcome: str, reason: str | None, duration_s: float) -> None:
        """Nothing runs from now on; records what came of it, for which nobody waits."""
        self._beginning.handover.show(None)
        turn = self._leases.turn
        self._later.put(lambda: self._finish(running, outcome, reason, duration_s, turn))

    def record_input(self, running: Running, done: Done) -> None:
        """Records an answer to ``input()``; it belongs to the cell that asks and changes no attribution."""
        self._jobs.put((lambda: self._record_intent(*self._intent(running), LEDGER_DEADLINE_S), done))

    def refuse(self, kind: str, *, reason: str, cell: str = "", detail: dict[str, Any] | None = None) -> None:
        """Records a refusal as soon as the ledger takes it."""
        self.note(kind, "refused", cell=cell, reason=reason, detail=detail)

    def note(
        self,
        kind: str,
        outcome: str,
        *,
        cell: str = "",
        reason: str | None = None,
        detail: dict[str, Any] | None = None,
    ) -> None:
        """Records what the tap decided by itself, as soon as the ledger takes it."""
        event = self._event(kind, outcome, cell or secrets.token_hex(16), detail or {}, reason=reason)
        self._later.put(lambda: self._owed.owe(event))

    def _take_results(self) -> None:
        try:
            os.eventfd_read(self.wakeup)
        except BlockingIOError:
            return
        while self._results:
            done, value, error = self._results.popleft()
            done(value, error)

    def close(self, *, wait_s: float = 3.0) -> None:
        """Ends after the jobs that are waiting."""
        self._beginning.close()
        self._jobs.put(None)
        self._threads[0].join(wait_s)
        self._later.put(None)
        self._threads[1].join(wait_s)

    def _work(self) -> None:
        while (one := self._jobs.get()) is not None:
            job, done = one
            value, error = None, None
            try:
                value = job()
            except EnclaveError as fault:
                error = fault
            except Exception as fault:  # noqa: BLE001 - a fault here must refuse the cell, not end the tap
                self._log.error("journal job failed", fault)
                error = UnavailableError("ledger: wanted a record, got a fault in the tap; tell the operator")
            self._results.append((done, value, error))
            os.eventfd_write(self.wakeup, 1)

    def _work_later(self) -> None:
        while True:
            try:
                job = self._later.get(timeout=2.0)
            except queue.Empty:
                job = self._owed.pay
            if job is None:
                self._owed.trust()
                self._owed.pay()
                return
            try:
                job()
            except Exception as fault:  # noqa: BLE001 - one record that fails must not keep the others
                self._log.error("record not written", fault)

    def _record_otherwise(self, event: Event, bodies: dict[str, str], within_s: float, done: Done) -> None:
        self._jobs.put((lambda: self._record_intent(event, bodies, within_s), done))

    def _correction(self, running: Running, event: Event, found: Leases) -> Event | None:
        """What must be recorded before the cell runs, when its record names other leases than are in force."""
        stated = event.detail if running.leases is None else running.leases.detail()
        if all(stated.get(name) == value for name, value in found.detail().items()):
            return None
        running.leases = found
        more = self._event("cell.leases", "ok", running.cell, found.detail())
        return replace(more, id=found.event_id(running.cell))

    def kernel_started(self) -> None:
        """A kernel begins, with no lease, and broker and airlock get the page for it."""
        self._leases.forget()
        self._beginning.handover.begin()

    def kernel_ended(self) -> None:
        """The kernel is gone; nothing runs, and the page is nobody's before the next one begins."""
        self._beginning.handover.end()

    def _record_intent(self, event: Event, bodies: dict[str, str], deadline_s: float) -> None:
        self._audit.append(event, bodies=bodies, deadline_s=deadline_s)
        self._owed.trust()

    def _intent(self, running: Running) -> tuple[Event, dict[str, str]]:
        text = text_of(running.message, running.rule)
        data = text.encode("utf-8", "replace")
        if len(data) > MAX_TEXT_BYTES:
            raise InvalidError(
                f"cell: wanted at most {MAX_TEXT_BYTES} bytes of code, got more; import it from a module instead",
                code="cell_too_large",
            )
        detail, bodies = intent_detail(running, data), {"code": data.decode("utf-8")}
        if running.rule.kind == "cell.execute":
            detail["environment"] = self._settings.environment
            if self.notebook:  # words of a person, as the code is: not in the record itself
                bodies["notebook"] = self.notebook
        if running.rule.kind != "cell.input":
            detail |= self._leases.standing()[1].detail()
        return self._event(running.rule.kind, "intent", running.cell, detail), bodies

    def _finish(self, running: Running, outcome: str, reason: str | None, duration_s: float, turn: int) -> None:
        detail: dict[str, Any] = {
            "status": running.status or outcome,
            "duration_ms": round(duration_s * 1000),
            "outputs": running.outputs.rows(),
            "outputs_total": running.outputs.total,
            "output_bytes": running.outputs.bytes,
            "output_cut": running.cut,
            "outputs_refused": running.shown.refused,
        }
        if running.leases is not None:
            detail |= running.leases.detail()
        objects: tuple[str, ...] | None = None
        try:
            reads: ReadsReply = self._broker.call(Reads(kernel=self._settings.kernel, cell=running.cell))
            if reads.in_force is not None:
                self._leases.hear_late(reads.in_force, turn=turn)
            objects = tuple(reads.objects[:MAX_OBJECTS]) or None
            detail |= {"datasets": list(reads.datasets), "objects_total": reads.object_count}
        except EnclaveError:
            detail["reads_unknown"] = True
        event = self._event(running.rule.kind, outcome, running.cell, detail, reason=reason)
        self._owed.owe(replace(event, objects=objects))

    def _more_refusals(self, count: int) -> Event:
        detail = {"count": count}
        return self._event("cell.message", "refused", secrets.token_hex(16), detail, reason="too_many_refusals")

    def _event(self, kind: str, outcome: str, cell: str, detail: dict[str, Any], *, reason: str | None = None) -> Event:
        own = self._settings
        return Event(
            id=secrets.token_hex(16),
            time=format_time(self._clock.now()),
            kind=kind,
            actor=own.person,
            role=own.role,
            outcome=outcome,
            reason=reason,
            project=own.project or None,
            session=own.session or None,
            kernel=own.kernel,
            cell=cell,
            detail=detail,
        )


def _raise(error: EnclaveError) -> None:
    raise error


def intent_detail(running: Running, text: bytes) -> dict[str, Any]:
    """What is known of a request before it runs; the text itself is a body, encrypted beside the record."""
    message = running.message
    detail: dict[str, Any] = {
        "code_hash": hashlib.sha256(text).hexdigest(),
        "message_type": message.kind,
    }
    if running.rule.kind == "cell.execute":
        detail["silent"] = bool(message.content.get("silent", False))
        detail["user_expressions"] = bool(message.content.get("user_expressions"))
        client_cell = message.metadata.get("cellId")
        if isinstance(client_cell, str) and CLIENT_CELL.fullmatch(client_cell):
            detail["client_cell"] = client_cell
    return detail
