"""`enclave-reportd`: schedules validation reports and keeps their pages sealed.

A run is a kernel like any other, under the identity ``service:reports``: same policy, same sandbox, same ledger.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import enclave
from enclave.audit.client import AuditClient
from enclave.audit.ledger_clock import LedgerClock
from enclave.core.clock import Clock
from enclave.core.errors import ConflictError, DeniedError, EnclaveError, NotFoundError, UnavailableError
from enclave.keys.box import open_box
from enclave.policy.decide import decide
from enclave.policy.model import NO_FACTS, Actor, Resource
from enclave.reports.decoys import SELFTEST
from enclave.reports.pages import PageStore
from enclave.reports.process import sealed_memory
from enclave.reports.runs import Run, RunStore
from enclave.reports.schedule import DEFAULT_SCHEDULE, Entry, find_entry, parse_schedule
from enclave.reports.settings import ReportSettings
from enclave.reports.worker import Parts, Worker, queue_run
from enclave.runtime.clock import SystemClock
from enclave.runtime.home import Home, ensure_private_dir, service_uids
from enclave.runtime.log import Log
from enclave.wire.client import WireClient
from enclave.wire.messages.facts import ProjectsOf
from enclave.wire.messages.reports import ListRuns, ReportPage, ReportRun, ReportRunList, RunNow, ShowPage
from enclave.wire.peer import Call, Handler, Reply, WireServer

SEES_ALL: Final = frozenset({"data_steward", "honest_broker", "expert", "auditor"})
_UNKNOWN: Final = Actor("unknown", frozenset())


class ReportDaemon:
    """Serves ``reportd.sock`` and follows the schedule until ``close``."""

    def __init__(
        self,
        home: Home,
        *,
        resolve: Callable[[str], Actor],
        log: Log,
        settings: ReportSettings | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._home = home
        self._resolve = resolve
        self._log = log
        settings = settings or home.settings(ReportSettings, section="reports")
        state = ensure_private_dir(home.state("reports"))
        self._schedule_file = state / "schedule.toml"
        self._schedule()  # a wrong schedule ends the start, with its reason
        self._registry = WireClient(home.socket("registryd"))
        audit = AuditClient(home.socket("auditd"), clock=clock)
        self._parts = Parts(
            store=RunStore(state / "runs.sqlite"),
            pages=PageStore(ensure_private_dir(state / "pages"), open_box(f"file:{home.key_file('reports-box')}")),
            audit=audit,
            clock=LedgerClock(clock or SystemClock(), audit),
            settings=settings,
            schedule=self._schedule,
            notebooks=Path(settings.notebooks_folder or _beside_the_package()),
            launcher=home.socket("launcherd"),
            log=log,
        )
        self._worker = Worker(self._parts)
        self._server: WireServer | None = None

    def start(self) -> None:
        """Everything listens and the schedule is followed when it returns."""
        handlers: dict[type[Any], Any] = {
            ListRuns: self._as_person("report.show", self._list),
            RunNow: self._as_person("report.queue", self._run_now),
            ShowPage: self._as_person("report.show", self._show),
        }
        uids = service_uids(self._home)
        self._server = WireServer(
            self._home.socket("reportd"),
            handlers,
            log=self._log,
            allowed_uids=uids,
            mode=0o600 if len(uids) == 1 else 0o666,  # the peer's uid decides, not the mode
        )
        self._server.start()
        self._worker.start()

    def close(self) -> None:
        """Ends the current run (it runs again at the next start) and stops listening."""
        if self._server is not None:
            self._server.close()
        self._worker.close()
        self._parts.audit.close()
        self._registry.close()
        self._parts.store.close()

    def _as_person(self, kind: str, handler: Callable[[Actor, Any], Any]) -> Handler:
        """The handler for whoever a token stands for; every refusal is in the ledger before it is answered."""

        def handle(message: Any, _call: Call) -> Any:
            actor = _UNKNOWN
            try:
                actor = self._resolve(message.token)
                return handler(actor, message)
            except UnavailableError:
                raise
            except EnclaveError as error:
                if not error.recorded:
                    self._parts.audit.record(
                        kind, actor=actor.name, role=_role(actor), outcome="refused", reason=error.code
                    )
                raise

        return handle

    def _list(self, actor: Actor, _message: ListRuns) -> ReportRunList:
        self._decide(actor, "report.list", Resource(), kind="report.show", detail={})
        visible = self._visible(actor)
        return ReportRunList(
            runs=tuple(_as_message(run) for run in self._parts.store.all() if visible(run)),
            entries=tuple(sorted(self._schedule())) if actor.roles & SEES_ALL else (),
        )

    def _run_now(self, actor: Actor, message: RunNow) -> ReportRun:
        entry = find_entry(self._schedule(), message.entry)
        resource = Resource(project=entry.project, dataset=entry.dataset, id=entry.name)
        self._parts.clock.asked()
        self._decide(actor, "report.run", resource, kind="report.queue", detail={"entry": entry.name})
        self._parts.clock.check()
        run = self._parts.store.unfinished(entry.name)
        if run is None:
            run = queue_run(self._parts, entry, asked_by=actor.name, role=_role(actor))
            self._worker.wake()
        return _as_message(run)

    def _show(self, actor: Actor, message: ShowPage) -> Reply:
        self._decide(actor, "report.list", Resource(), kind="report.show", detail={})
        run = self._parts.store.get(message.id)
        if not self._visible(actor)(run):
            self._record(actor, "report.show", run=run, outcome="refused", reason="not_a_member")
            raise _recorded(NotFoundError("report run: wanted one that you may see, got another id"))
        if run.state != "done":
            raise ConflictError(f"report page: wanted a finished run, got one that is {run.state}")
        try:
            page = self._parts.pages.read(run.id, sha256=run.sha256)
        except EnclaveError as error:
            self._record(actor, "report.show", run=run, outcome="failed", reason=error.code)
            raise _recorded(error) from None
        self._record(actor, "report.show", run=run, outcome="ok")
        body = ReportPage(name=f"{run.entry}-{run.id[:8]}.html", size_bytes=len(page), sha256=run.sha256)
        return Reply(body, [sealed_memory("report", page)])

    def _decide(self, actor: Actor, action: str, resource: Resource, *, kind: str, detail: dict[str, str]) -> None:
        decision = decide(actor, action, resource, NO_FACTS, self._parts.clock.latest())
        if not decision.allowed:
            self._parts.audit.record(
                kind,
                actor=actor.name,
                role=_role(actor),
                outcome="refused",
                reason=decision.reason,
                project=resource.project or None,
                dataset=resource.dataset or None,
                detail=detail,
            )
            raise _recorded(DeniedError(decision.message, code=decision.reason))

    def _record(self, actor: Actor, kind: str, *, run: Run, outcome: str, reason: str | None = None) -> None:
        self._parts.audit.record(
            kind,
            actor=actor.name,
            role=_role(actor),
            outcome=outcome,
            reason=reason,
            project=run.project,
            dataset=run.dataset,
            detail={"run": run.id, "page_sha256": run.sha256} if outcome == "ok" else {"run": run.id},
        )

    def _visible(self, actor: Actor) -> Callable[[Run], bool]:
        """Stewards, brokers, experts and auditors see every run, others those of their open projects.

        An operator sees those of the sandbox's self-test, which shows nothing of the data.
        """
        if actor.roles & SEES_ALL:
            return lambda _run: True
        own = {project.name for project in self._registry.call(ProjectsOf(person=actor.name)).projects}
        runs_machines = "operator" in actor.roles
        return lambda run: run.project in own or (runs_machines and run.notebook == SELFTEST)

    def _schedule(self) -> dict[str, Entry]:
        try:
            return parse_schedule(self._schedule_file.read_text("utf-8"))
        except FileNotFoundError:
            return parse_schedule(DEFAULT_SCHEDULE)


def _recorded(error: EnclaveError) -> EnclaveError:
    """``error``, which has an event already."""
    error.recorded = True
    return error


def _as_message(run: Run) -> ReportRun:
    return ReportRun(
        id=run.id,
        report=run.entry,
        project=run.project,
        dataset=run.dataset,
        state=run.state,
        queued=run.queued,
        finished=run.finished,
        message=run.message,
    )


def _role(actor: Actor) -> str | None:
    """The role under which an event of this actor stands: the first of those that say more than *researcher*."""
    return next(iter(sorted(actor.roles - {"researcher"}) or sorted(actor.roles)), None)


def _beside_the_package() -> Path:
    return Path(enclave.__file__).parent.parent / "notebooks" / "reports"
