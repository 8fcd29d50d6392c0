"""`enclave-launcherd`: starts and ends servers, kernels and check sandboxes; identity is the socket."""

from __future__ import annotations

import os
import resource
import secrets
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from enclave.audit.client import AuditClient
from enclave.audit.ledger_clock import LedgerClock
from enclave.audit.misuse import MisuseRecorder
from enclave.core.clock import Clock
from enclave.core.errors import DeniedError
from enclave.core.ids import check_name, check_principal
from enclave.policy.model import SERVICE_PREFIX, Actor
from enclave.runtime.clock import SystemClock
from enclave.runtime.home import ensure_private_dir, service_uids
from enclave.runtime.log import Log
from enclave.sandbox import cgroups
from enclave.sandbox.checks import Checks
from enclave.sandbox.code_folders import CodeFolders
from enclave.sandbox.debts import Debts
from enclave.sandbox.display_budgets import DisplayBudgets
from enclave.sandbox.kernel_process import new_tap
from enclave.sandbox.kernels import Kernels
from enclave.sandbox.owner import Owner
from enclave.sandbox.places import Places, make_dir, short
from enclave.sandbox.runtime_mounts import Runtime, release
from enclave.sandbox.sandboxed import Births
from enclave.sandbox.servers import Servers
from enclave.sandbox.set_store import PackageSets
from enclave.sandbox.settings import LauncherSettings
from enclave.sandbox.spare_tap import SpareTap
from enclave.sandbox.uids import Uids
from enclave.sandbox.workshop import Bench, Workshop
from enclave.wire.messages import launcher
from enclave.wire.messages.schema import Done
from enclave.wire.peer import MAX_OF_ONE_SANDBOX, Call, Peer, WireServer, check_free

MAX_CHECK_FILES = 64
UNKNOWN = "unknown"  # who shows a token that is nobody's


class LauncherDaemon:
    """``runtime`` comes from ``runtime_mounts.prepare``; ``resolve`` turns a Hub token into an actor."""

    def __init__(
        self, runtime: Runtime, settings: LauncherSettings, *, resolve: Callable[[str], Actor], log: Log,
        clock: Clock | None = None,
    ) -> None:  # fmt: skip
        self._home = runtime.home
        self._resolve = resolve
        self._log = log
        clock = clock or SystemClock()
        self._births = Births()
        self._places = Places(runtime)
        check_free(self._home.socket("launcherd"))
        self._places.prepare()
        state = ensure_private_dir(self._home.state("launcher"))
        self._audit = AuditClient(self._home.socket("auditd"), clock=clock)
        self._time = LedgerClock(clock, self._audit)
        self._debts = Debts(self._audit, log=log)
        groups = cgroups.detect()
        self._display = DisplayBudgets(
            state / "display.json", default=settings.display, changes=settings.display_of, clock=self._time, log=log
        )
        bench = Bench(
            places=self._places,
            settings=settings,
            uids=Uids(state, base=settings.base_uid, drops=runtime.drops),
            births=self._births,
            cgroups=groups,
        )
        self._taps = SpareTap(lambda: new_tap(bench))
        self._code = CodeFolders(runtime, broker=self._home.socket("brokerd"), size_mb=settings.code_mb, log=log)
        shop = self._workshop(bench, clock)
        self.kernels = Kernels(shop)
        self.servers = Servers(shop, kernels=self.kernels, serve=self._serve)
        self._checks = Checks(shop)
        self._persons: dict[int, list[tuple[WireServer, Owner]]] = {}
        self._guard = threading.Lock()
        self._server: WireServer | None = None
        log.info("sandbox", backend=f"bubblewrap {'.'.join(map(str, runtime.bwrap_version))}", limits=groups.backend)

    def _workshop(self, bench: Bench, clock: Clock) -> Workshop:
        return Workshop(
            places=bench.places,
            settings=bench.settings,
            uids=bench.uids,
            births=bench.births,
            cgroups=bench.cgroups,
            display=self._display,
            audit=self._audit,
            debts=self._debts,
            sets=PackageSets(bench.places.runtime, bench.settings),
            code=self._code,
            taps=self._taps,
            clock=clock,
            time=self._time,
            log=self._log,
        )

    def start(self) -> None:
        """Listens when it returns."""
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        self._server = WireServer(
            self._home.socket("launcherd"),
            {
                launcher.StartServer: lambda m, _: self.servers.start(m),
                launcher.PollServer: lambda m, _: self.servers.poll(m.server),
                launcher.StopServer: lambda m, _: _done(self.servers.stop, m.server),
                launcher.OpenPersonSocket: self._open_person,
                launcher.OpenServiceSocket: self._open_service,
                launcher.EndKernel: lambda m, _: _done(self.kernels.end, m.kernel, m.reason),
                launcher.ListKernels: lambda _m, _c: self.kernels.list(),
                launcher.RunCheck: lambda m, call: self._checks.run(m, call.descriptors),
            },
            log=self._log,
            allowed_uids=service_uids(self._home),
            mode=0o666 if os.getuid() == 0 else 0o600,
            max_descriptors=MAX_CHECK_FILES,
            on_close=self._connection_ended,
        )
        self._server.start()

    def close(self) -> None:
        """Ends every server and kernel, then stops listening."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._persons):
            self._connection_ended(Peer(0, -1, connection))
        self.servers.close()
        self.kernels.close()
        self._code.close()
        self._taps.close()
        self._display.close()
        self._debts.close()
        self._audit.close()
        self._births.close()
        release(self._places.runtime)

    # ── sockets bound to a person ───────────────────────────────────────────

    def _open_person(self, message: launcher.OpenPersonSocket, call: Call) -> launcher.PersonSocket:
        name = UNKNOWN
        try:
            actor = self._resolve(message.token)
            name = actor.name
            if not actor.roles:  # the token of a person's server is the person's, and carries no role
                raise DeniedError("launcher: wanted a person's own sign-in, got a token without a role", code="no_role")
        except DeniedError as error:
            self._audit.record("launcher.person_socket", actor=name, outcome="refused", reason=error.code)
            raise
        return self._open(actor.name, call.peer, roles=actor.roles)

    def _open_service(self, message: launcher.OpenServiceSocket, call: Call) -> launcher.PersonSocket:
        return self._open(SERVICE_PREFIX + check_name(message.service, what="service"), call.peer)

    def _open(self, person: str, peer: Peer, *, roles: frozenset[str] | None = None) -> launcher.PersonSocket:
        check_principal(person)
        owner_id = secrets.token_hex(16)
        folder = make_dir(self._places.run / "persons" / short(owner_id), mode=0o711)
        front = make_dir(folder / "kernels", mode=0o711)
        owner = Owner(id=owner_id, person=person, front=front, view=str(front), roles=roles)
        path = folder / "launcher.sock"
        server = self._serve(path, owner, frozenset({peer.uid}))
        with self._guard:
            self._persons.setdefault(peer.connection, []).append((server, owner))
        return launcher.PersonSocket(socket=str(path))

    def _serve(self, path: Path, owner: Owner, uids: frozenset[int]) -> WireServer:
        """The closed set of requests that a person's own socket answers."""
        kernels = self.kernels
        handlers: dict[type[Any], Callable[[Any, Call], Any]] = {
            launcher.StartKernel: lambda m, _: kernels.start(owner, m),
            launcher.PollKernel: lambda m, _: kernels.poll(owner, m.kernel),
            launcher.InterruptKernel: lambda m, _: _done(kernels.interrupt, owner, m.kernel, signal.SIGINT),
            launcher.NameNotebook: lambda m, _: _done(kernels.name_notebook, owner, m.kernel, m.notebook),
            launcher.RestartKernel: lambda m, _: kernels.restart(owner, m.kernel),
            launcher.KillKernel: lambda m, _: _done(kernels.kill, owner, m.kernel),
            launcher.StopKernel: lambda m, _: _done(kernels.stop, owner, m.kernel, m.ticket),
            launcher.FreezeKernel: lambda m, _: _done(kernels.freeze, owner, m.kernel),
            launcher.ListOwnKernels: lambda _m, _c: kernels.list(owner=owner),
        }
        server = WireServer(
            path,
            handlers,
            log=self._log,
            allowed_uids=uids,
            mode=0o666,
            max_connections=MAX_OF_ONE_SANDBOX,
            on_misuse=MisuseRecorder(self._audit, self._log, "launcher", owner.person),
        )
        server.start()
        return server

    def _connection_ended(self, peer: Peer) -> None:
        with self._guard:
            bound = self._persons.pop(peer.connection, [])
        for server, owner in bound:
            server.close()
            self.kernels.stop_all_of(owner.id, "client_ended")
            shutil.rmtree(owner.front.parent, ignore_errors=True)


def _done(act: Callable[..., None], *arguments: Any) -> Done:
    act(*arguments)
    return Done()
