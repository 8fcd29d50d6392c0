"""`enclave-auditd`: takes events from this enclave's processes, answers auditors."""

from __future__ import annotations

import errno
import os
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from enclave.audit.checkpoint import VerifierKey
from enclave.audit.desk import Desk
from enclave.audit.event import Event, event_from_json
from enclave.audit.feed import Feed
from enclave.audit.ledger import Durable, Ledger
from enclave.audit.tiles import write_file
from enclave.audit.vocabulary import check_kind
from enclave.core.clock import Clock, format_time
from enclave.core.errors import DeniedError, UnavailableError
from enclave.keys.box import Box, open_box
from enclave.keys.files import read_symmetric
from enclave.keys.sign import open_signer
from enclave.keys.uri import file_uri
from enclave.keys.verify import verify_ed25519
from enclave.policy.model import Actor
from enclave.runtime.clock import SystemClock
from enclave.runtime.home import Home, daemon_uids, ensure_private_dir
from enclave.runtime.log import Log
from enclave.wire.messages.audit import Append, LogState, Query, Rebuild, Rebuilt, Receipt, Rows, State
from enclave.wire.peer import Call, WireServer

ACTOR = "service:auditd"
FEED_S = 0.5  # how long an event may wait before queries see it; a query itself catches up first


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """``[audit]``. A checkpoint is signed when this many events came or this much time passed since the last."""

    checkpoint_events: int = 256
    checkpoint_s: float = 1.0
    query_memory_mib: int = 512
    query_timeout_s: float = 20.0
    query_rows: int = 10_000


class AuditDaemon:
    """The ledger behind its socket. ``resolve`` turns a person's token into who that is."""

    def __init__(
        self,
        home: Home,
        *,
        log: Log,
        resolve: Callable[[str], Actor] | None = None,
        settings: AuditSettings | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._home, self._log, self._resolve = home, log, resolve
        self._settings = settings or home.settings(AuditSettings, section="audit")
        self._clock = clock or SystemClock()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Opens the store, repairs its tail, listens.

        Raises ``ConflictError`` when another daemon has it open, ``UnavailableError`` when the disk refuses.
        """
        try:
            self._start()
        except OSError as error:
            got = errno.errorcode.get(error.errno or 0, "an error")
            raise UnavailableError(f"ledger: wanted to open its store, got {got}; look at the disk") from None

    def _start(self) -> None:
        home, folder = self._home, self._home.state("audit")
        signer = open_signer(file_uri(home.key_file("audit-checkpoint")))
        ensure_private_dir(folder)
        key = VerifierKey(log_origin(folder), signer.public_key)
        box = open_box(file_uri(home.key_file("audit-body")))
        self.ledger = Ledger(
            folder,
            key=key,
            sign=signer.sign,
            verify=verify_ed25519,
            box=box,
            clock=self._clock,
            log=self._log,
            sign_every=self._settings.checkpoint_events,
        )
        write_file(folder / "log" / "vkey", f"{key}\n".encode())
        self._tell_of_opening()
        self._open_desk(folder, box)
        self._spawn("checkpoints", self._sign_checkpoints)
        self._spawn("feed", self._keep_level)
        ensure_private_dir(home.run_dir, mode=0o711 if os.getuid() == 0 else 0o700)
        self._server = WireServer(
            home.socket("auditd"),
            {Append: self._append, State: self._state, Query: self._query, Rebuild: self._rebuild},
            log=self._log,
            allowed_uids=daemon_uids(home),
            mode=0o666 if os.getuid() == 0 else 0o600,
        )
        self._server.start()

    def close(self) -> None:
        """Stops listening, finishes what is under way, signs a last checkpoint."""
        self._server.close()
        self._stop.set()
        self.ledger.due.set()
        try:
            self._own("audit.stopped", detail={"size": self.ledger.size})
        except UnavailableError:
            self._log.warning("closed without a last event")
        for thread in self._threads:
            thread.join(timeout=10)
        self.ledger.close()
        self._feed.close()

    # --- requests ---

    def _append(self, message: Append, call: Call) -> Receipt:
        event = check_kind(event_from_json(message.event))
        durable = self.ledger.append(event, bodies=message.bodies, uid=call.peer.uid, pid=call.peer.pid)
        return Receipt(seq=durable.seq, leaf_hash=durable.leaf.hex())

    def _state(self, _message: State, _call: Call) -> LogState:
        text = self.ledger.checkpoint()
        signed = self.ledger.signed
        return LogState(size=signed.size, root=signed.root.hex(), checkpoint=text, queryable=self._feed.mark)

    def _query(self, message: Query, _call: Call) -> Rows:
        return self._desk.query(message)

    def _rebuild(self, _message: Rebuild, call: Call) -> Rebuilt:
        if call.peer.uid != os.getuid():
            raise DeniedError("audit rebuild: wanted the operator's own shell, got another user", code="not_operator")
        self._own("audit.rebuild", outcome="intent", detail={"cause": "operator"})
        rows = self._feed.rebuild(self.ledger.size)
        self._own("audit.rebuild", detail={"cause": "operator", "rows": rows})
        return Rebuilt(rows=rows)

    # --- our own events and threads ---

    def _own(self, kind: str, *, outcome: str = "ok", **fields: Any) -> Durable:
        actor = fields.pop("actor", ACTOR)
        at = format_time(self._clock.now())
        event = Event(id=secrets.token_hex(16), time=at, kind=kind, actor=actor, outcome=outcome)
        bodies = fields.pop("bodies", None)
        return self.ledger.append(check_kind(replace(event, **fields)), bodies=bodies)

    def _tell_of_opening(self) -> None:
        try:
            for damage in self.ledger.damage:
                self._log.error(
                    "ledger damage", seq=damage.first_bad_seq, proven=damage.proven, bytes=damage.lost_bytes
                )
                detail = {
                    "segment": damage.segment,
                    "offset": damage.offset,
                    "lost_bytes": damage.lost_bytes,
                    "first_bad_seq": damage.first_bad_seq,
                    "proven": damage.proven,
                }
                self._own("audit.damage", outcome="failed", reason="stored_bytes_changed", detail=detail)
            self._own("audit.started", detail={"size": self.ledger.size})
        except UnavailableError as error:
            self._log.error("ledger opened but cannot write", error)

    def _open_desk(self, folder: Path, box: Box) -> None:
        key = read_symmetric(self._home.key_file("audit-store"))
        self._feed = Feed(folder, box=box, key=key, memory_mib=self._settings.query_memory_mib)
        self._desk = Desk(
            resolve=self._resolve,
            note=self._own,
            feed=self._feed,
            size=lambda: self.ledger.size,
            clock=self._clock,
            max_rows=self._settings.query_rows,
            timeout_s=self._settings.query_timeout_s,
        )

    def _sign_checkpoints(self) -> None:
        while not self._stop.is_set():
            self.ledger.due.wait(self._settings.checkpoint_s)
            self.ledger.due.clear()
            self._try("checkpoint failed", self.ledger.checkpoint)

    def _keep_level(self) -> None:
        while not self._stop.wait(FEED_S):
            self._try("query store is behind", self._level)

    def _level(self) -> None:
        self._feed.catch_up(self.ledger.size)
        cause, self._feed.cause = self._feed.cause, ""
        if cause:
            self._log.warning("query store was built again", cause=cause)
            self._own("audit.rebuild", detail={"cause": cause, "rows": self._feed.mark})

    def _try(self, failure: str, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception as error:  # noqa: BLE001 - the thread must outlive any fault; the next turn tries again
            self._log.error(failure, error)
            self._stop.wait(1.0)

    def _spawn(self, name: str, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name=f"audit:{name}", daemon=True)
        self._threads.append(thread)
        thread.start()


def log_origin(folder: Path) -> str:
    """The name of this log, made once and never changed: ``enclave.local/`` and 16 random hex digits."""
    path = folder / "origin"
    try:
        return path.read_text("ascii").strip()
    except FileNotFoundError:
        origin = f"enclave.local/{secrets.token_hex(8)}"
        write_file(path, f"{origin}\n".encode(), durable=True)
        return origin
