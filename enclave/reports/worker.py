"""Takes queued runs one after the other, and queues what the schedule says is due."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from enclave.audit.client import AuditClient
from enclave.audit.ledger_clock import CLOCK_STEP, LedgerClock
from enclave.core.errors import EnclaveError, UnavailableError
from enclave.policy.decide import check, decide
from enclave.policy.model import NO_FACTS, Actor, Resource
from enclave.reports.decoys import SELFTEST, decoys
from enclave.reports.pages import PageStore
from enclave.reports.process import PapermillProcess, Result, Task
from enclave.reports.runs import Run, RunStore
from enclave.reports.schedule import Entry
from enclave.reports.settings import ReportSettings
from enclave.runtime.log import Log
from enclave.wire.client import WireClient
from enclave.wire.messages.launcher import OpenServiceSocket

IDENTITY: Final = "service:reports"
_SELF: Final = Actor(IDENTITY, frozenset({"service"}))
_TICK_S: Final = 1.0
_WORDS: Final = {
    "cell_failed": "cell {cell} of the notebook ended with {error}",
    "cell_timeout": "a cell took longer than the time limit",
    "time_limit": "the run took longer than the time limit",
    "kernel_died": "the kernel ended while a cell ran; the ledger says why",
    "kernel_unavailable": "no kernel could be started",
    "page_too_large": "the page is larger than the limit",
    "run_crashed": "the notebook could not be run ({error})",
    "notebook_missing": "the notebook of this entry is not in the notebooks folder",
}


class Runner(Protocol):
    """What runs one task; a ``PapermillProcess`` outside of tests."""

    def run(self, task: Task) -> Result:
        """Runs it to its end."""
        ...

    def end(self) -> None:
        """Ends it from another thread."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the worker works with."""

    store: RunStore
    pages: PageStore
    audit: AuditClient
    clock: LedgerClock
    settings: ReportSettings
    schedule: Callable[[], dict[str, Entry]]
    notebooks: Path
    launcher: Path
    log: Log
    new_runner: Callable[[], Runner] = PapermillProcess


class Worker:
    """One thread: due entries are queued, queued runs are run. A stop puts the current run back."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._log = parts.log
        self._wake = threading.Event()
        self._stop = False
        self._runner: Runner | None = None
        self._guard = threading.Lock()
        self._not_before: dict[str, float] = {}
        self._step_told = False
        self._thread = threading.Thread(target=self._loop, name="reports", daemon=True)

    def start(self) -> None:
        """Begins; returns at once."""
        self._parts.store.recover()
        self._thread.start()

    def close(self) -> None:
        """Ends the current run and the thread."""
        with self._guard:
            self._stop = True
            runner = self._runner
        self._wake.set()
        if runner is not None:
            runner.end()
        self._thread.join(timeout=30)

    def wake(self) -> None:
        """Something was queued."""
        self._wake.set()

    def _loop(self) -> None:
        while not self._stop:
            self._wake.wait(_TICK_S)
            self._wake.clear()
            try:
                if self._may_go_on():
                    self._queue_due()
                    self._run_waiting()
            except EnclaveError as error:
                self._log.warning("schedule not followed", code=error.code)
                time.sleep(_TICK_S)
            except Exception as error:  # noqa: BLE001 - one bad run must not end the schedule
                self._log.error("worker failed", error)
                time.sleep(_TICK_S)

    def _may_go_on(self) -> bool:
        """Not under a clock that was set back: nothing is queued or begun, which is told once. What waits, waits."""
        self._parts.clock.now()  # hears the ledger's time, or says that there is none
        if not self._parts.clock.stepped_back():
            self._step_told = False
            return True
        if not self._step_told:
            self._parts.audit.record(
                "report.queue", actor=IDENTITY, role="service", outcome="refused", reason=CLOCK_STEP
            )
            self._step_told = True
        return False

    def _run_waiting(self) -> None:
        for run in self._parts.store.waiting():
            if not self._stop and time.monotonic() >= self._not_before.get(run.id, 0.0):
                self._attempt(run)

    def _queue_due(self) -> None:
        parts = self._parts
        at = parts.clock.now()
        for entry in parts.schedule().values():
            since = parts.store.due_since(entry.name, at=at)
            if entry.is_due(since=since, at=at) and parts.store.unfinished(entry.name) is None:
                check(decide(_SELF, "report.run", Resource(project=entry.project, id=entry.name), NO_FACTS, at))
                queue_run(parts, entry, asked_by=IDENTITY, role="service")

    def _attempt(self, run: Run) -> None:
        try:
            self._run(run)
        except UnavailableError as error:
            if self._stop:
                return  # `recover` puts it back at the next start
            self._not_before[run.id] = time.monotonic() + self._parts.settings.retry_s
            if run.attempts + 1 >= self._parts.settings.attempts_limit:
                self._over(run, state="failed", message=f"it could not start: {error.message}")
            else:
                self._parts.store.put_back(run.id, message=f"waits: {error.message}")
        except EnclaveError as error:
            self._over(run, state="failed", message=error.message)

    def _run(self, run: Run) -> None:
        parts = self._parts
        parts.store.begin(run.id)
        notebook = parts.notebooks / run.notebook
        text = notebook.read_bytes() if notebook.is_file() else b""
        began = time.monotonic()
        detail = {
            "run": run.id,
            "entry": run.entry,
            "notebook_sha256": hashlib.sha256(text).hexdigest(),
            "attempt": run.attempts + 1,
        }
        self._record(run, outcome="intent", detail=detail)
        result = self._execute(run, notebook) if text else Result(ok=False, code="notebook_missing")
        detail["duration_ms"] = int((time.monotonic() - began) * 1000)
        if result.ok:
            self._keep(run, result, detail)
        else:
            self._fail(run, result, detail)

    def _execute(self, run: Run, notebook: Path) -> Result:
        parts = self._parts
        launcher = WireClient(parts.launcher, timeout_s=30.0)
        try:
            opened = launcher.call(OpenServiceSocket(service="reports"))
            runner = self._take_runner()
            with _parameters(run) as parameters:
                task = Task(
                    notebook=notebook,
                    parameters=parameters,
                    title=f"{run.entry}: {run.dataset}",
                    project=run.project,
                    launcher_socket=opened.socket,
                    time_limit_s=parts.settings.time_limit_s,
                    page_limit_bytes=parts.settings.page_limit_bytes,
                )
                return runner.run(task)
        finally:
            self._runner = None
            launcher.close()  # with it the socket ends, and every kernel that was started through it

    def _take_runner(self) -> Runner:
        with self._guard:
            if self._stop:
                raise UnavailableError("report: wanted to start a run, got a stop of the daemon; it runs again")
            self._runner = self._parts.new_runner()
            return self._runner

    def _keep(self, run: Run, result: Result, detail: dict[str, Any]) -> None:
        digest = self._parts.pages.write(run.id, result.page)
        detail = {**detail, "cells": result.cells, "page_sha256": digest, "page_bytes": len(result.page)}
        self._record_result(run, outcome="ok", reason=None, detail=detail)
        self._over(run, state="done", message="", sha256=digest, size_bytes=len(result.page))

    def _fail(self, run: Run, result: Result, detail: dict[str, Any]) -> None:
        detail = {**detail, "cell": result.cell}
        self._record_result(run, outcome="failed", reason=result.code, detail=detail)
        if result.code == "kernel_unavailable" and run.attempts + 1 < self._parts.settings.attempts_limit:
            self._not_before[run.id] = time.monotonic() + self._parts.settings.retry_s
            self._parts.store.put_back(run.id, message="waits: no kernel could be started; it is tried again")
            return
        words = _WORDS.get(result.code, "it was refused: {code}")
        message = words.format(cell=result.cell, error=result.error, code=result.code)
        self._over(run, state="failed", message=message)

    def _over(self, run: Run, **fields: Any) -> None:
        self._parts.store.finish(run.id, at=self._parts.clock.now(), **fields)
        self._not_before.pop(run.id, None)
        self._log.info("run ended", run=run.id, entry=run.entry, state=str(fields["state"]))

    def _record(self, run: Run, *, outcome: str, detail: dict[str, Any], reason: str | None = None) -> None:
        self._parts.audit.record(
            "report.run",
            actor=IDENTITY,
            role="service",
            outcome=outcome,
            reason=reason,
            project=run.project,
            dataset=run.dataset,
            detail=detail,
        )

    def _record_result(self, run: Run, *, outcome: str, reason: str | None, detail: dict[str, Any]) -> None:
        """Waits for the ledger: the run is over only when its outcome stands there."""
        while True:
            try:
                self._record(run, outcome=outcome, reason=reason, detail=detail)
            except UnavailableError:
                if self._stop:
                    raise
                time.sleep(_TICK_S)
            else:
                return


@contextlib.contextmanager
def _parameters(run: Run) -> Iterator[dict[str, str]]:
    """What the notebook is told; the self-test also what it may aim at while it runs."""
    told = {**run.parameters, "dataset": run.dataset}
    if run.notebook != SELFTEST:
        yield told
        return
    with decoys(run.dataset) as facts:
        yield {**told, "facts": facts}


def queue_run(parts: Parts, entry: Entry, *, asked_by: str, role: str | None) -> Run:
    """Queues a run, after its event stands in the ledger."""
    run_id = secrets.token_hex(16)
    parts.audit.record(
        "report.queue",
        actor=asked_by,
        role=role,
        project=entry.project,
        dataset=entry.dataset,
        detail={"run": run_id, "entry": entry.name},
    )
    return parts.store.add(run_id, entry, asked_by=asked_by, at=parts.clock.now())
