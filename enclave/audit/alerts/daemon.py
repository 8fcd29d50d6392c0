"""`enclave-watchd`: looks at the ledger by rules, keeps alerts, tells them; holds no key of the ledger."""

from __future__ import annotations

import importlib.metadata
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from enclave.audit.alerts.delivery import FILE, SYSLOG, AlertFile, Courier, Send
from enclave.audit.alerts.desk import AlertDesk
from enclave.audit.alerts.metrics import MetricsServer, WatchCollector
from enclave.audit.alerts.reviews import ReviewDesk, count_unsigned
from enclave.audit.alerts.settings import WatchSettings
from enclave.audit.alerts.store import AlertStore
from enclave.audit.alerts.syslog import Receiver, SyslogSender
from enclave.audit.alerts.watch import Watch
from enclave.audit.client import AuditClient
from enclave.audit.ledger_clock import LedgerClock
from enclave.core.clock import Clock
from enclave.core.errors import EnclaveError
from enclave.policy.model import Actor
from enclave.runtime.clock import SystemClock
from enclave.runtime.home import Home, ensure_private_dir, service_uids
from enclave.runtime.log import Log
from enclave.wire.client import WireClient
from enclave.wire.messages import watch as m
from enclave.wire.messages.audit import AskWatched, LogState, Rows, State
from enclave.wire.peer import Handler, WireServer

METRICS_SOCKET: Final = "metrics"
SEVERITY_DEFAULT: Final = {"low": 0, "medium": 0, "high": 0, "critical": 0}


class LedgerByWire:
    """The query store behind the ledger's socket. One connection per call: several threads ask."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def ask(self, message: AskWatched) -> Rows:
        """The rows; raises ``UnavailableError``."""
        rows: Rows = self._call(message)
        return rows

    def checkpoint(self) -> LogState:
        """A fresh one."""
        state: LogState = self._call(State())
        return state

    def _call(self, message: Any) -> Any:
        client = WireClient(self._path, timeout_s=30.0)
        try:
            return client.call(message)
        finally:
            client.close()


class WatchDaemon:
    """The watch behind its socket. ``resolve`` turns a person's token into who that is."""

    def __init__(
        self,
        home: Home,
        *,
        log: Log,
        resolve: Callable[[str], Actor],
        settings: WatchSettings | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._home, self._log = home, log
        self._settings = settings or home.settings(WatchSettings, section="watch")
        folder = ensure_private_dir(home.state("watch"))
        own_clock = clock or SystemClock()
        self._audit = AuditClient(home.socket("auditd"), clock=own_clock)
        clock = LedgerClock(own_clock, self._audit)  # rules look at events by the ledger's time
        self._store = AlertStore(folder / "alerts.sqlite")
        ledger = LedgerByWire(home.socket("auditd"))
        self.couriers = tuple(
            Courier(name, send, store=self._store, audit=self._audit, clock=clock, log=log)
            for name, send in _channels(self._settings, folder).items()
        )
        self.watch = Watch(
            ledger=ledger,
            store=self._store,
            audit=self._audit,
            clock=clock,
            log=log,
            product_version=importlib.metadata.version("enclave"),
            couriers=self.couriers,
        )
        self.desk = AlertDesk(self.watch, resolve)
        self.reviews = ReviewDesk(self.desk, ledger.checkpoint)
        self._looked = float("-inf")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_looking, name="watch", daemon=True)
        self._metrics = self._metrics_server()
        self._server = self._wire_server()

    def start(self) -> None:
        """Records the rules, then looks and listens; raises ``UnavailableError`` without the ledger."""
        self.watch.begin()
        for courier in self.couriers:
            courier.start()
            courier.wake()
        self._thread.start()
        if self._metrics is not None:
            self._metrics.start()
        self._server.start()

    def close(self) -> None:
        """Ends in order; what waits to be sent stays."""
        self._server.close()
        self._stop.set()
        self._thread.join(timeout=30)
        if self._metrics is not None:
            self._metrics.close()
        for courier in self.couriers:
            courier.close()
        self._audit.close()
        self._store.close()

    def state(self) -> m.WatchState:
        """Counts, no names."""
        open_alerts = dict(SEVERITY_DEFAULT)
        for _, severity, state, of_drill, count in self._store.counts():
            if state == "open" and not of_drill:
                open_alerts[severity] += count
        unsigned, oldest = count_unsigned(self.reviews.unsigned)
        looked = time.monotonic() - self._looked
        return m.WatchState(
            open_alerts=open_alerts,
            unsigned_weeks=unsigned,
            oldest_unsigned=oldest,
            waiting={courier.channel: self._store.waiting_count(courier.channel) for courier in self.couriers},
            failing=tuple(courier.channel for courier in self.couriers if courier.health.failing),
            failing_rules=self.watch.failing(),
            looked_s=round(looked, 1) if looked < float("inf") else -1.0,
        )

    def _keep_looking(self) -> None:
        failing = False
        while not self._stop.is_set():
            try:
                self.watch.look()
                self._looked, failing = time.monotonic(), False
            except EnclaveError as error:
                if not failing:
                    self._log.warning("cannot look at the ledger", code=error.code)
                failing = True
            except Exception as error:  # noqa: BLE001 - the thread must outlive any fault; the next turn tries again
                self._log.error("look failed", error)
            self._stop.wait(self._settings.look_s)

    def _metrics_server(self) -> MetricsServer | None:
        if not self._settings.metrics:
            return None
        collector = WatchCollector(
            counts=self._store.counts,
            state=self.state,
            failures=lambda: {courier.channel: courier.health.failures for courier in self.couriers},
        )
        unix = self._settings.metrics == "unix"
        return MetricsServer(
            collector, place=self._home.socket(METRICS_SOCKET) if unix else int(self._settings.metrics)
        )

    def _wire_server(self) -> WireServer:
        uids = service_uids(self._home)
        desk, reviews = self.desk, self.reviews
        handlers: dict[type[Any], Handler] = {
            m.ListAlerts: lambda q, _: desk.list_alerts(q),
            m.AcknowledgeAlert: lambda q, _: desk.acknowledge(q),
            m.ResolveAlert: lambda q, _: desk.close(q),
            m.DeclareCanary: lambda q, _: desk.declare_canary(q),
            m.RunDrill: lambda q, _: desk.run_drill(q),
            m.ShowDrill: lambda q, _: desk.show_drill(q),
            m.ListReviews: lambda q, _: reviews.list_weeks(q),
            m.SignReview: lambda q, _: reviews.sign(q),
            m.AskWatchState: lambda _, __: self.state(),
        }
        return WireServer(
            self._home.socket("watchd"),
            handlers,
            log=self._log,
            allowed_uids=uids,
            mode=0o600 if len(uids) == 1 else 0o666,
        )


def _channels(settings: WatchSettings, folder: Path) -> dict[str, Send]:
    channels: dict[str, Send] = {FILE: AlertFile(folder / "alerts.jsonl").send}
    if settings.syslog_host:
        receiver = Receiver(
            host=settings.syslog_host,
            port=settings.syslog_port,
            ca=settings.syslog_ca,
            cert=settings.syslog_cert,
            key=settings.syslog_key,
        )
        channels[SYSLOG] = SyslogSender(receiver, host=socket.gethostname(), process=os.getpid()).send
    return channels
