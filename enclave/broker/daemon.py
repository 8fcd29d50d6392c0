"""``enclave-brokerd``: the only process that can decrypt dataset versions, and the one that says who gets them.

One socket for launcher and taps, one per kernel. A watch asks the facts of every open lease again every two seconds;
a lease that policy would not give any more ends its kernel, for memory that was handed out cannot be taken back.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
import time
from pathlib import Path
from typing import Any

from enclave.audit.client import AuditClient
from enclave.audit.ledger_clock import CLOCK_STEP, LedgerClock
from enclave.audit.misuse import MisuseRecorder
from enclave.broker.cache import WarmCache
from enclave.broker.code_desk import CodeDesk
from enclave.broker.code_store import CodeStore
from enclave.broker.desk import Shared, Versions, record_for
from enclave.broker.ending import KernelEnder, PendingEvents
from enclave.broker.facts import RegistryFacts, may_open
from enclave.broker.intermediates import Intermediates
from enclave.broker.journal import load_sessions, save_sessions
from enclave.broker.keeping import KeepingDesk
from enclave.broker.replay import replay
from enclave.broker.session import KernelIdentity, Lease, Session
from enclave.broker.settings import BrokerSettings
from enclave.core.clock import Clock
from enclave.core.errors import DeniedError, EnclaveError, InvalidError, NotFoundError, UnavailableError
from enclave.core.ids import VersionName, check_name, check_principal, check_token_id
from enclave.determination.certificate import parse_certificate
from enclave.keys.uri import file_uri
from enclave.keys.wrap import Wrapper, open_wrapper
from enclave.runtime.clock import SystemClock
from enclave.runtime.home import Home, daemon_uids, door_uid, ensure_private_dir
from enclave.runtime.log import Log
from enclave.sealed.reader import open_unwrapper, open_version, verify_version
from enclave.sealed.store import SealedStore
from enclave.wire.messages.broker import (
    CloseListener,
    Listener,
    OpenListener,
    Reads,
    ReadsReply,
    ReplayDetermination,
    ReplayReply,
    TakePage,
    VerifyReply,
    VerifyVersion,
)
from enclave.wire.messages.facts import LeaseFacts
from enclave.wire.messages.schema import Done
from enclave.wire.page import ExecutionView
from enclave.wire.peer import MAX_OF_ONE_SANDBOX, Call, Handler, Reply, WireServer

OPERATOR = "operator"
UNKNOWN = "unknown"  # who is behind a tap or gate that asks what it may not


class BrokerDaemon:
    """The broker over one home. ``start`` returns when everything listens."""

    def __init__(
        self,
        home: Home,
        *,
        log: Log,
        settings: BrokerSettings | None = None,
        clock: Clock | None = None,
        allowed_uids: frozenset[int] | None = None,
    ) -> None:
        self._home = home
        self._log = log
        self._settings = settings or BrokerSettings()
        self._allowed = daemon_uids(home) if allowed_uids is None else allowed_uids
        self._clock = clock or SystemClock()
        self._store = SealedStore(home.state("sealed"))
        self._unwrapper = open_unwrapper(self._settings.kek_uri or file_uri(home.key_file("kek")))
        self._kept = Intermediates(
            home.state("broker") / "intermediates", wrapper=self._wrapper, unwrapper=self._unwrapper
        )
        self._audit = AuditClient(home.socket("auditd"), clock=self._clock)
        code = CodeStore(home.state("broker") / "code", wrapper=self._wrapper, unwrapper=self._unwrapper)
        self._door = door_uid(home)
        self._code = CodeDesk(code, audit=self._audit, door_uid=self._door)
        self._time = LedgerClock(self._clock, self._audit)
        self._facts = RegistryFacts(home.socket("registryd"))
        self._cache = WarmCache(self._settings.cache_mib << 20)
        self._pending = PendingEvents(self._audit, clock=self._clock)
        self._ender = KernelEnder(home.socket("launcherd"), log=log)
        self._sessions: dict[str, tuple[Session, WireServer]] = {}
        self._guard = threading.RLock()
        self._wake = threading.Event()
        self._stopping = False
        self._server: WireServer | None = None
        self._watch = threading.Thread(target=self._run_watch, name="lease-watch", daemon=True)
        self._shared = self._shared_by_sessions()

    def _shared_by_sessions(self) -> Shared:
        """What the sessions of all kernels have in common."""
        return Shared(
            audit=self._audit,
            facts=self._facts,
            versions=Versions(self._store, self._unwrapper),
            cache=self._cache,
            clock=self._time,
            fresh_s=1.5 * self._settings.recheck_s,
            recheck=self._wake.set,
            changed=self._save,
            is_lease_of_other=self._knows_lease,
        )

    def start(self) -> None:
        """Takes up the leases of before, listens and begins to watch."""
        ensure_private_dir(self._home.state("broker"))
        handlers: dict[type[Any], Handler] = {
            OpenListener: self._for_no_door(self._open_listener),
            CloseListener: self._for_no_door(self._close_listener),
            TakePage: self._take_page,
            Reads: self._reads,
            VerifyVersion: self._for_no_door(self._verify),
            ReplayDetermination: self._for_no_door(self._replay),
            **self._code.handlers(),
        }
        mode = 0o600 if self._allowed <= {os.getuid()} else 0o666  # the uid check decides who is served
        path = self._home.socket("brokerd")
        # Bound first: a second broker must fail here, before it touches the leases of the one that runs.
        self._server = WireServer(
            path, handlers, log=self._log, allowed_uids=self._allowed, mode=mode, max_descriptors=1
        )
        try:
            self._restore()
        except BaseException:
            self._server.close()
            raise
        self._server.start()
        self._watch.start()

    def close(self) -> None:
        """Stops serving. Leases stay on record: a broker that comes back goes on watching them."""
        self._stopping = True
        self._wake.set()
        if self._server is not None:
            self._server.close()
        with self._guard:
            for _, listener in self._sessions.values():
                listener.close()
        if self._watch.is_alive():
            self._watch.join(timeout=5)
        self._ender.close()
        self._pending.flush()
        self._cache.close()
        self._facts.close()
        self._audit.close()

    # ── launcher and taps ───────────────────────────────────────────────────

    def _for_no_door(self, act: Handler) -> Handler:
        """``act`` for all but taps and gates: they stand in front of hostile code and have nothing to ask there."""

        def guarded(message: Any, call: Call) -> Any:
            if self._door is not None and call.peer.uid == self._door:
                detail = {"act": type(message).__name__, "uid": call.peer.uid}
                self._audit.record(
                    "broker.listener", actor=UNKNOWN, outcome="refused", reason="not_the_launcher", detail=detail
                )
                raise DeniedError("broker: wanted launcher or operator, got a tap or gate", code="not_the_launcher")
            return act(message, call)

        return guarded

    def _open_listener(self, message: OpenListener, _call: Call) -> Listener:
        check_token_id(message.kernel, what="kernel")
        check_principal(message.person)
        if message.project:
            check_name(message.project, what="project")
        if not Path(message.directory).is_dir():
            raise InvalidError("lease socket: wanted an existing folder of the kernel, got none")
        self._end(message.kernel, "kernel_replaced", tell_launcher=False)
        identity = KernelIdentity(
            kernel=message.kernel,
            person=message.person,
            role=message.role,
            project=message.project,
            directory=message.directory,
            uid=message.uid,
        )
        session = Session(identity)
        record_for(self._audit, session, "broker.listener", detail={"act": "open", "uid": message.uid})
        with self._guard:
            listener = self._listen(session)
        self._save()
        return Listener(socket=str(listener.path))

    def _close_listener(self, message: CloseListener, _call: Call) -> Done:
        self._end(message.kernel, "kernel_ended", tell_launcher=False)
        return Done()

    def _take_page(self, message: TakePage, call: Call) -> Reply:
        session = self._session(message.kernel)
        try:
            session.take_page(ExecutionView(call.only_descriptor(), kernel=message.kernel))
        except InvalidError as error:
            detail = {"act": "page", "uid": call.peer.uid}
            record_for(self._audit, session, "broker.listener", outcome="refused", reason=error.code, detail=detail)
            raise
        return Reply(session.in_force(), (session.change_page(),))

    def _reads(self, message: Reads, _call: Call) -> ReadsReply:
        session = self._session(message.kernel)
        datasets, objects, count = session.reads(message.cell)
        return ReadsReply(datasets=datasets, objects=objects, object_count=count, in_force=session.in_force())

    def _verify(self, message: VerifyVersion, _call: Call) -> VerifyReply:
        name = VersionName(check_name(message.dataset, what="dataset"), message.version)
        objects = self._store.info(name).objects
        event: dict[str, Any] = {"actor": OPERATOR, "dataset": name.dataset, "version": name.version}
        self._audit.record("dataset.verify", outcome="intent", detail={"objects": objects}, **event)
        bad = verify_version(self._store, name, unwrapper=self._unwrapper)
        event["detail"] = {"objects": objects, "bad": len(bad)}
        if bad:
            self._audit.record("dataset.verify", outcome="failed", reason=bad[0].reason, **event)
        else:
            self._audit.record("dataset.verify", **event)
        return VerifyReply(objects=objects, bad=tuple({"object": one.object, "reason": one.reason} for one in bad))

    def _replay(self, message: ReplayDetermination, _call: Call) -> ReplayReply:
        name = VersionName(check_name(message.dataset, what="dataset"), message.version)
        certificate = parse_certificate(message.text.encode("utf-8"))
        event: dict[str, Any] = {"actor": OPERATOR, "dataset": name.dataset, "version": name.version}
        told: dict[str, Any] = {"certificate": certificate.id, "numbers": 0, "differing": 0}
        self._audit.record("determination.replay", outcome="intent", detail=told, **event)
        try:
            found = replay(open_version(self._store, name, unwrapper=self._unwrapper), certificate)
        except EnclaveError as error:
            self._audit.record("determination.replay", outcome="failed", reason=error.code, detail=told, **event)
            raise
        told |= {"numbers": len(found), "differing": sum(not one.ok for one in found)}
        outcome, reason = ("failed", "numbers_differ") if told["differing"] else ("ok", None)
        self._audit.record("determination.replay", outcome=outcome, reason=reason, detail=told, **event)
        return ReplayReply(compared=tuple(dataclasses.asdict(one) for one in found))

    def _wrapper(self) -> Wrapper:
        return open_wrapper(self._settings.kek_pub_uri or file_uri(self._home.key_file("kek").with_suffix(".pub")))

    # ── sessions ────────────────────────────────────────────────────────────

    def _session(self, kernel: str) -> Session:
        with self._guard:
            found = self._sessions.get(kernel)
        if found is None:
            raise NotFoundError("kernel: wanted one with a lease socket, got another", code="kernel_unknown")
        return found[0]

    def _knows_lease(self, lease_id: str) -> bool:
        with self._guard:
            return any(session.lease(lease_id) is not None for session, _ in self._sessions.values())

    def _listen(self, session: Session) -> WireServer:
        path = Path(session.identity.directory) / "lease.sock"
        handlers = KeepingDesk(session, self._shared, kept=self._kept, settings=self._settings).handlers()
        # Any uid may connect: the desk itself compares it, so that the attempt of another one is in the ledger.
        who = session.identity
        listener = WireServer(
            path,
            handlers,
            log=self._log,
            allowed_uids=None,
            mode=0o666,
            max_connections=MAX_OF_ONE_SANDBOX,
            max_descriptors=1,
            on_misuse=MisuseRecorder(self._audit, self._log, "lease", who.person, who.project or None, who.kernel),
        )
        listener.start()
        self._sessions[session.identity.kernel] = (session, listener)
        return listener

    def _end(self, kernel: str, reason: str, *, tell_launcher: bool) -> None:
        """Ends a kernel's leases and its socket. Taking away needs no receipt: the events follow when they can."""
        with self._guard:
            found = self._sessions.pop(kernel, None)
        if found is None:
            return
        session, listener = found
        ended = session.end()
        listener.close()
        if tell_launcher:
            self._ender.end(kernel, reason)
            self._forget(ended)
        self._log.info("leases ended", kernel=kernel, reason=reason, leases=len(ended))
        self._note_ends(session, ended, reason)
        self._pending.add(session, "broker.listener", detail={"act": "close"})
        self._save()
        self._wake.set()  # the watch writes the events: whoever asked for the end does not wait for the ledger

    def _note_ends(self, session: Session, ended: list[Lease], reason: str) -> None:
        for lease in ended:
            fields = {"dataset": lease.name.dataset, "version": lease.name.version, "detail": {"lease": lease.id}}
            self._pending.add(session, "lease.end", reason=reason, **fields)

    def _forget(self, ended: list[Lease]) -> None:
        """What nobody may read any more is not kept warm, unless another kernel still holds a lease on it."""
        with self._guard:
            kept = {lease.name for session, _ in self._sessions.values() for lease in session.leases()}
        for lease in ended:
            if lease.facts is not None and lease.name not in kept:
                self._cache.forget(lease.facts.content_root)

    def _save(self) -> None:
        with self._guard:
            try:
                save_sessions(self._journal, [session for session, _ in self._sessions.values()])
            except OSError as error:
                self._log.error("leases not saved", error)

    def _restore(self) -> None:
        for session in load_sessions(self._journal):
            try:
                self._listen(session)
            except (OSError, EnclaveError):
                self._note_ends(session, session.end(), "kernel_gone")
        self._save()

    @property
    def _journal(self) -> Path:
        return self._home.state("broker") / "leases.json"

    # ── the watch ───────────────────────────────────────────────────────────

    def _run_watch(self) -> None:
        while not self._stopping:
            self._wake.wait(self._settings.recheck_s)
            self._wake.clear()
            if self._stopping:
                return
            try:
                self._look()
            except Exception as error:  # noqa: BLE001 - the watch must outlive any fault in one round
                self._log.error("lease watch failed", error)

    def _look(self) -> None:
        """One round: asks, decides, ends. Facts that cannot be had now are judged as they were, at today's time."""
        with contextlib.suppress(UnavailableError):
            self._audit.ask_time()
        with self._guard:
            sessions = [session for session, _ in self._sessions.values()]
        asked: dict[tuple[str, str, VersionName], LeaseFacts | None] = {}
        for session in sessions:
            reason = self._reason_to_end(session, asked)
            if reason is not None:
                self._end(session.identity.kernel, reason, tell_launcher=True)
        self._pending.flush()

    def _reason_to_end(
        self, session: Session, asked: dict[tuple[str, str, VersionName], LeaseFacts | None]
    ) -> str | None:
        who = session.identity
        if session.leases() and self._time.stepped_back():
            return CLOCK_STEP
        for lease in session.leases():
            key = (who.person, who.project, lease.name)
            if key not in asked:
                asked[key] = None if None in asked.values() else self._ask(who, lease.name)
            fresh = asked[key]
            if fresh is not None:
                lease.facts, lease.checked = fresh, time.monotonic()
            if lease.facts is None:
                continue
            at = self._time.latest()
            decision = may_open(lease.facts, person=who.person, role=who.role, project=who.project, at=at)
            if not decision.allowed:
                return decision.reason
            if lease.version is not None and lease.version.content_root != lease.facts.content_root:
                return "root_mismatch"
        return None

    def _ask(self, who: KernelIdentity, name: VersionName) -> LeaseFacts | None:
        with contextlib.suppress(UnavailableError):
            return self._facts.lease(who.person, project=who.project, dataset=name.dataset, version=name.version)
        self._log.warning("registry does not answer", kernel=who.kernel)
        return None
