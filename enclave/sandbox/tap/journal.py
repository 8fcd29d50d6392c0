"""The tap's writing hand: records, receipts and attribution, in a thread of its own, one job after the other.

The poller never waits for the ledger; an interrupt passes while a record hangs.
"""

from __future__ import annotations

import hashlib
import os
import queue
import re
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from enclave.audit.client import AuditClient
from enclave.audit.event import Event
from enclave.core.clock import Clock, format_time
from enclave.core.errors import EnclaveError, InvalidError, UnavailableError
from enclave.runtime.clock import SystemClock
from enclave.runtime.log import Log
from enclave.sandbox.tap.running import Running, text_of
from enclave.sandbox.tap.settings import TapSettings
from enclave.wire.client import WireClient
from enclave.wire.messages.airlock import SubmitExecution
from enclave.wire.messages.broker import Execution, Reads

LEDGER_DEADLINE_S = 1.2  # with the others below a cell is refused within two seconds
DEBT_DEADLINE_S = 0.3  # a record that nobody waits for; it is tried again
ATTRIBUTION_DEADLINE_S = 0.25
MAX_TEXT_BYTES = 400_000  # a frame holds 1 MiB with all escapes
MAX_OBJECTS = 256
_CLIENT_CELL = re.compile(r"[A-Za-z0-9_-]{1,64}")

Done = Callable[[Any, EnclaveError | None], None]


class Journal:
    """Runs jobs in order and hands their results back through ``results`` (poll ``wakeup`` with the sockets)."""

    def __init__(self, settings: TapSettings, *, log: Log, clock: Clock | None = None) -> None:
        self._settings = settings
        self._log = log
        self._clock = clock or SystemClock()
        self._audit = AuditClient(Path(settings.audit_socket), clock=self._clock, deadline_s=LEDGER_DEADLINE_S)
        self._debts = AuditClient(Path(settings.audit_socket), clock=self._clock, deadline_s=DEBT_DEADLINE_S)
        self._broker = WireClient(Path(settings.broker_socket), timeout_s=ATTRIBUTION_DEADLINE_S)
        self._airlock = WireClient(Path(settings.airlock_socket), timeout_s=ATTRIBUTION_DEADLINE_S)
        self._jobs: queue.Queue[tuple[Callable[[], Any], Done | None] | None] = queue.Queue()
        self._results: deque[tuple[Done, Any, EnclaveError | None]] = deque()
        self._owed: deque[tuple[Event, dict[str, str]]] = deque(maxlen=1000)
        self._patience = 0.0
        self.wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        self._thread.start()

    def begin(self, running: Running, done: Done) -> None:
        """Records what is about to run and tells the services which cell runs; then calls ``done``."""
        self._jobs.put((lambda: self._begin(running), done))

    def finish(self, running: Running, *, outcome: str, reason: str | None, duration_s: float) -> None:
        """Records what came of it; nobody waits for this."""
        self._jobs.put((lambda: self._finish(running, outcome, reason, duration_s), None))

    def record_input(self, running: Running, done: Done) -> None:
        """Records an answer to ``input()``; it belongs to the cell that asks and changes no attribution."""
        self._jobs.put((lambda: self._record_intent(running), done))

    def refuse(self, kind: str, *, reason: str, cell: str = "", detail: dict[str, Any] | None = None) -> None:
        """Records a refusal as soon as the ledger takes it."""
        event = self._event(kind, "refused", cell or secrets.token_hex(16), detail or {}, reason=reason)
        self._jobs.put((lambda: self._owe(event), None))

    def record_cut(self, running: Running, *, limit_bytes: int) -> None:
        """Records that a cell's further outputs are dropped."""
        detail = {"output_bytes": running.outputs.bytes, "limit_bytes": limit_bytes}
        event = self._event("output.cut", "ok", running.cell, detail)
        self._jobs.put((lambda: self._owe(event), None))

    def take_results(self) -> None:
        """Calls the ``done`` of every job that ended; in the poller's thread."""
        try:
            os.eventfd_read(self.wakeup)
        except BlockingIOError:
            return
        while self._results:
            done, value, error = self._results.popleft()
            done(value, error)

    def close(self, *, wait_s: float = 3.0) -> None:
        """Ends after the jobs that are waiting."""
        self._jobs.put(None)
        self._thread.join(wait_s)

    def _work(self) -> None:
        while True:
            try:
                one = self._jobs.get(timeout=2.0)
            except queue.Empty:
                self._pay()
                continue
            if one is None:
                self._patience = 0.0
                self._pay()
                return
            job, done = one
            value, error = None, None
            try:
                value = job()
            except EnclaveError as fault:
                error = fault
            except Exception as fault:  # noqa: BLE001 - a fault here must refuse the cell, not end the tap
                self._log.error("journal job failed", fault)
                error = UnavailableError("ledger: wanted a record, got a fault in the tap; tell the operator")
            if done is not None:
                self._results.append((done, value, error))
                os.eventfd_write(self.wakeup, 1)
            elif error is not None:
                self._log.warning("record not written", code=error.code)

    def _begin(self, running: Running) -> None:
        self._record_intent(running)
        self._attribute(running.cell)

    def _record_intent(self, running: Running) -> None:
        text = text_of(running.message, running.rule)
        if len(text.encode("utf-8", "replace")) > MAX_TEXT_BYTES:
            raise InvalidError(
                f"cell: wanted at most {MAX_TEXT_BYTES} bytes of code, got more; import it from a module instead",
                code="cell_too_large",
            )
        event = self._event(running.rule.kind, "intent", running.cell, intent_detail(running, text))
        self._audit.append(event, bodies={"code": text.encode("utf-8", "replace").decode("utf-8")})
        self._patience = 0.0

    def _attribute(self, cell: str | None) -> None:
        kernel = self._settings.kernel
        self._broker.call(Execution(kernel=kernel, cell=cell))
        self._airlock.call(SubmitExecution(kernel=kernel, cell=cell))

    def _finish(self, running: Running, outcome: str, reason: str | None, duration_s: float) -> None:
        detail: dict[str, Any] = {
            "status": running.status or outcome,
            "duration_ms": round(duration_s * 1000),
            "outputs": running.outputs.rows(),
            "outputs_total": running.outputs.total,
            "output_bytes": running.outputs.bytes,
            "output_cut": running.cut,
        }
        objects: tuple[str, ...] | None = None
        try:
            reads = self._broker.call(Reads(kernel=self._settings.kernel, cell=running.cell))
            objects = tuple(reads.objects[:MAX_OBJECTS]) or None
            detail |= {"datasets": list(reads.datasets), "objects_total": reads.object_count}
        except EnclaveError:
            detail["reads_unknown"] = True
        try:
            self._attribute(None)
        except EnclaveError as error:
            self._log.warning("attribution not ended", code=error.code)
        event = self._event(running.rule.kind, outcome, running.cell, detail, reason=reason)
        self._owe(replace(event, objects=objects))

    def _owe(self, event: Event) -> None:
        self._owed.append((event, {}))
        self._pay()

    def _pay(self) -> None:
        """Writes what is owed, oldest first, until the ledger does not answer; then leaves it alone for a second."""
        while self._owed and time.monotonic() >= self._patience:
            event, bodies = self._owed[0]
            try:
                self._debts.append(event, bodies=bodies)
            except UnavailableError:
                self._patience = time.monotonic() + 1.0
                return
            except EnclaveError as error:
                self._log.warning("record refused by the ledger", kind=event.kind, code=error.code)
            self._owed.popleft()

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


def intent_detail(running: Running, text: str) -> dict[str, Any]:
    """What is known of a request before it runs; the text itself is a body, encrypted beside the record."""
    message = running.message
    detail: dict[str, Any] = {
        "code_hash": hashlib.sha256(text.encode("utf-8", "replace")).hexdigest(),
        "message_type": message.kind,
    }
    if running.rule.kind == "cell.execute":
        detail["silent"] = bool(message.content.get("silent", False))
        detail["user_expressions"] = bool(message.content.get("user_expressions"))
        client_cell = message.metadata.get("cellId")
        if isinstance(client_cell, str) and _CLIENT_CELL.fullmatch(client_cell):
            detail["client_cell"] = client_cell
    return detail
