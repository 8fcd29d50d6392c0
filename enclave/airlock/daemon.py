"""``enclave-airlockd``: frozen copies, the state of egress requests, and the only way out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from enclave.airlock.checks import Checker
from enclave.airlock.desk import Desk
from enclave.airlock.frozen import FrozenFiles
from enclave.airlock.holdings import Holdings
from enclave.airlock.members import Members
from enclave.airlock.settings import AirlockSettings
from enclave.airlock.store import Store
from enclave.airlock.submission import Submissions
from enclave.airlock.trail import Trail
from enclave.airlock.worker import Worker
from enclave.audit.client import AuditClient
from enclave.audit.ledger_clock import LedgerClock
from enclave.core.clock import Clock
from enclave.core.errors import DeniedError
from enclave.keys.box import open_box
from enclave.keys.sign import open_signer
from enclave.keys.uri import file_uri
from enclave.policy.model import Actor
from enclave.runtime.clock import SystemClock
from enclave.runtime.home import Home, daemon_uids, ensure_private_dir, service_uids
from enclave.runtime.log import Log
from enclave.wire.client import WireClient
from enclave.wire.messages import airlock as messages
from enclave.wire.peer import Call, Handler, WireServer

EVENT_OF: Final[Mapping[type[Any], str]] = MappingProxyType(
    {
        messages.OpenSubmitListener: "airlock.listener",
        messages.CloseSubmitListener: "airlock.listener",
        messages.Submit: "egress.submit",
        messages.ShowRequest: "egress.view",
        messages.Preview: "egress.view",
        messages.Vote: "egress.vote",
        messages.Withdraw: "egress.withdraw",
        messages.Deliver: "egress.deliver",
    }
)
"""Each request that does something, and the event that it leaves."""

READS: Final[frozenset[type[Any]]] = frozenset({messages.ListRequests, messages.AskStatus, messages.TakeSubmitPage})
"""Requests that change nothing which lasts and show nothing but a list; a refused list still leaves an event."""

FROM_LAUNCHER: Final = (messages.OpenSubmitListener, messages.CloseSubmitListener)


class AirlockDaemon:
    """The airlock of one home. ``resolve`` turns a Hub token into an actor; ``resolve_anew`` remembers no answer."""

    def __init__(
        self,
        home: Home,
        *,
        resolve: Callable[[str], Actor],
        resolve_anew: Callable[[str], Actor],
        log: Log,
        settings: AirlockSettings | None = None,
        clock: Clock | None = None,
    ) -> None:
        clock = clock or SystemClock()
        self._home = home
        self._log = log
        self._audit = AuditClient(home.socket("auditd"), clock=clock)
        self._registry = WireClient(home.socket("registryd"))
        self._holdings = self._hold(settings or home.settings(AirlockSettings, section="airlock"), clock)
        checker = Checker(
            launcher=home.socket("launcherd"),
            frozen=self._holdings.frozen,
            timeout_s=self._holdings.settings.check_timeout_s,
            log=log,
        )
        signer = open_signer(file_uri(home.key_file("airlock-sign")))
        self._worker = Worker(self._holdings, checker=checker, signer=signer, log=log)
        self._submissions = Submissions(self._holdings, run_dir=home.run_dir, settle=self._worker.settle, log=log)
        self._desk = Desk(
            holdings=self._holdings,
            checker=checker,
            resolve=resolve,
            resolve_anew=resolve_anew,
            release=self._worker.release,
        )
        self._server: WireServer | None = None

    def _hold(self, settings: AirlockSettings, clock: Clock) -> Holdings:
        state = ensure_private_dir(self._home.state("airlock"))
        box = open_box(file_uri(self._home.key_file("airlock-box")))
        return Holdings(
            store=Store(state / "airlock.sqlite", box),
            frozen=FrozenFiles(state / "frozen", box),
            trail=Trail(self._audit),
            members=Members(self._registry),
            clock=LedgerClock(clock, self._audit),
            settings=settings,
        )

    def start(self) -> None:
        """Opens the sockets of kernels that still run, begins what waits, then listens."""
        allowed = daemon_uids(self._home)
        self._submissions.reopen()
        self._worker.start()
        self._server = WireServer(
            self._home.socket("airlockd"),
            self.handlers(),
            log=self._log,
            allowed_uids=allowed,
            mode=0o600 if allowed == {os.getuid()} else 0o666,  # SO_PEERCRED decides, not the mode
            max_descriptors=1,
        )
        self._server.start()

    def close(self) -> None:
        """Stops listening, ends the work in hand, closes its files."""
        if self._server is not None:
            self._server.close()
        self._submissions.close()
        if self._worker.close():
            self._holdings.store.close()
        for client in (self._registry, self._audit):
            client.close()

    def handlers(self) -> dict[type[Any], Handler]:
        """What the daemon's own socket serves."""
        desk, submissions = self._desk, self._submissions
        table: dict[type[Any], Handler] = {
            messages.OpenSubmitListener: submissions.open_listener,
            messages.CloseSubmitListener: submissions.close_listener,
            messages.TakeSubmitPage: submissions.take_page,
            messages.ListRequests: desk.list_requests,
            messages.ShowRequest: desk.show,
            messages.Preview: desk.preview,
            messages.Vote: desk.vote,
            messages.Withdraw: desk.withdraw,
            messages.Deliver: desk.deliver,
        }
        for kind in FROM_LAUNCHER:
            table[kind] = self._from_launcher(table[kind])
        return table

    def _from_launcher(self, handler: Handler) -> Handler:
        """A tap may say what runs in a kernel; only a daemon may say whose kernel a socket is."""
        trusted = service_uids(self._home)

        def guarded(message: Any, call: Call) -> Any:
            if call.peer.uid not in trusted:
                raise DeniedError("submit socket: wanted the launcher, got another process", code="not_the_launcher")
            return handler(message, call)

        return guarded
