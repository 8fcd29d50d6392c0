"""`enclave-auditd`: takes events from this enclave's processes, answers auditors."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from enclave.audit.alerts.questions import MAX_HITS, answer
from enclave.audit.arrival import Arrival, arrival_of
from enclave.audit.body_keys import BodyKeys
from enclave.audit.checkpoint import VerifierKey
from enclave.audit.copies import CopySettings
from enclave.audit.copy_places import couriers
from enclave.audit.desk import UNKNOWN, Desk
from enclave.audit.event import Event
from enclave.audit.feed import Feed
from enclave.audit.front import LedgerServer
from enclave.audit.ledger import Entry, Ledger
from enclave.audit.ledger_clock import STEP_S
from enclave.audit.quota import Limits, Quotas
from enclave.audit.recovery import Durable
from enclave.audit.retention import RetentionSettings
from enclave.audit.retention_desk import RetentionDesk
from enclave.audit.settings import AuditSettings
from enclave.audit.tiles import write_file
from enclave.audit.vocabulary import check_kind, class_of
from enclave.core.clock import Clock, format_time
from enclave.core.errors import DeniedError, EnclaveError, UnavailableError
from enclave.keys.box import Box, open_box
from enclave.keys.files import read_symmetric
from enclave.keys.sign import open_signer
from enclave.keys.uri import file_uri
from enclave.keys.verify import verify_ed25519
from enclave.policy.model import Actor
from enclave.runtime.clock import SystemClock
from enclave.runtime.home import Home, daemon_uids, ensure_private_dir
from enclave.runtime.log import Log
from enclave.wire.messages.audit import (
    Append,
    ApplyRetention,
    AskTime,
    AskWatched,
    Copies,
    LedgerTime,
    LiftHold,
    ListHolds,
    LogState,
    PlaceHold,
    PlanRetention,
    Query,
    Rebuild,
    Rebuilt,
    Receipt,
    Rows,
    ShowCopies,
    State,
)
from enclave.wire.peer import Call, Handler, Peer

ACTOR = "service:auditd"
FEED_S = 0.5  # how long an event may wait before queries see it; a query itself catches up first
FIRST_RETENTION_S, RETENTION_S = 900.0, 86_400.0  # reading all segments costs seconds, so not while others start
SILENCE_S = (
    86_400.0  # how often it is told again that checkpoints cannot be signed: an alert closed is not a key mended
)
FULL_S = 86_400.0  # the same of a disk that stays full
FIRST_FEED_S = 5.0  # a ledger that has just begun takes events first; the query store's process costs a second to start


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
        self._copies = home.settings(CopySettings, section="copies")
        self._clock = clock or SystemClock()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        limits = Limits(
            events_per_s=self._settings.quota_events_per_s,
            burst=self._settings.quota_burst,
            bytes_per_day=self._settings.quota_mib_per_day << 20,
        )
        self._quotas = Quotas(limits)
        self._quota_guard = threading.Lock()
        self._clock_behind = False
        self._silence_told: float | None = None  # when (monotonic) an event last said that checkpoints are not signed
        self._full_told: float | None = None  # the same of a full disk

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
        signer = open_signer(self._settings.checkpoint_key_uri or file_uri(home.key_file("audit-checkpoint")))
        ensure_private_dir(folder)
        key = VerifierKey(log_origin(folder), signer.public_key)
        base = open_box(file_uri(home.key_file("audit-body")))
        self._body_keys = box = BodyKeys(folder / "body-keys", base=base, clock=self._clock)
        self.ledger = Ledger(
            folder,
            key=key,
            sign=signer.sign,
            verify=verify_ed25519,
            box=box,
            clock=self._clock,
            log=self._log,
            sign_every=self._settings.checkpoint_events,
            reserve_bytes=self._settings.reserve_mib << 20,
        )
        _keep_vkey(folder / "log" / "vkey", f"{key}\n")
        self._tell_of_opening()
        self._open_desk(folder, box)
        self._spawn("checkpoints", self._sign_checkpoints)
        self._spawn("feed", self._keep_level)
        self._listen()
        self._spawn("retention", self._keep_retention)

    def _listen(self) -> None:
        home = self._home
        ensure_private_dir(home.run_dir, mode=0o711 if os.getuid() == 0 else 0o700)
        self._server = LedgerServer(
            home.socket("auditd"),
            {
                Append: self._append,
                State: self._state,
                AskTime: self._time,
                Query: self._query,
                Rebuild: self._rebuild,
                ShowCopies: self._show_copies,
                AskWatched: self._watched,
                **self._retention_handlers(),
            },
            log=self._log,
            allowed_uids=daemon_uids(home),
            mode=0o666 if os.getuid() == 0 else 0o600,
            take=self._take,
            now=lambda: self.ledger.time,
        )
        self._server.start()

    def close(self) -> None:
        """Stops listening, finishes what is under way, signs a last checkpoint if the key does."""
        self._server.close()
        self._stop.set()
        self.ledger.due.set()
        try:
            self._own("audit.stopped", detail={"size": self.ledger.size})
        except UnavailableError:
            self._log.warning("closed without a last event")
        for thread in self._threads:
            thread.join(timeout=10)
        with contextlib.ExitStack() as last:  # the query store is a process of its own: it ends whatever else fails
            last.callback(self._feed.close)
            last.callback(self._couriers.close)
            self.ledger.close()
            _, text = self.ledger.last_checkpoint
            if text:
                self._couriers.offer(text)

    # --- requests ---

    def _append(self, message: Append, call: Call) -> Receipt:
        (durable,) = self._take([(arrival_of(message), call.peer)])
        if isinstance(durable, EnclaveError):
            raise durable
        return Receipt(seq=durable.seq, leaf_hash=durable.leaf.hex(), time=self.ledger.time)

    def _take(self, arrived: Sequence[tuple[Arrival, Peer]]) -> list[Durable | EnclaveError]:
        at = time.monotonic()
        with self._quota_guard:
            found = [self._admitted(one, peer, at) for one, peer in arrived]
        durable = iter(self.ledger.append_all([one for one in found if isinstance(one, Entry)]))
        results = [next(durable) if isinstance(one, Entry) else one for one in found]
        self._tell_of_cuts(at)
        return results

    def _admitted(self, one: Arrival, peer: Peer, at: float) -> Entry | EnclaveError:
        """Under the guard of the quotas."""
        kind_class = class_of(one.kind, one.outcome)
        size = len(one.data) + sum(map(len, one.bodies.values())) if one.bodies else len(one.data)
        used_up = self._quotas.admit(
            (peer.uid, one.actor), size_bytes=size, kind_class=kind_class, begins=one.outcome == "intent", at=at
        )
        if used_up is not None:
            return UnavailableError(
                f"ledger: wanted events of {one.actor} within the quota of one person, got more ({used_up}); "
                "nothing was done, slow down",
                code="ledger_quota",
            )
        return Entry(one.id, one.data, one.bodies, peer.uid, peer.pid, kind_class != "ordinary")

    def _tell_of_cuts(self, at: float) -> None:
        with self._quota_guard:
            due = self._quotas.due(at)
        if not due:
            return
        for cut in due:
            uid, actor = cut.principal
            detail = {"uid": uid, "refused": cut.refused}
            self._log.warning("quota used up", actor=actor, uid=uid, reason=cut.reason)
            with contextlib.suppress(UnavailableError):
                self._own("audit.quota", outcome="refused", reason=cut.reason, actor=actor, detail=detail)

    def _state(self, _message: State, _call: Call) -> LogState:
        """With the last checkpoint, and how many events it leaves out, while no new one can be signed."""
        unsigned = 0
        try:
            self.ledger.checkpoint()
            signed, text = self.ledger.last_checkpoint
        except EnclaveError:
            signed, text = self.ledger.last_checkpoint
            if not text:
                raise
            unsigned = self.ledger.size - signed.size
        return LogState(
            size=signed.size,
            root=signed.root.hex(),
            checkpoint=text,
            queryable=self._feed.mark,
            time=self.ledger.time,
            behind_s=self.ledger.behind_s,
            unsigned=unsigned,
        )

    def _time(self, _message: AskTime, _call: Call) -> LedgerTime:
        return LedgerTime(time=self.ledger.time)

    def _query(self, message: Query, _call: Call) -> Rows:
        return self._desk.query(message)

    def _show_copies(self, _message: ShowCopies, _call: Call) -> Copies:
        return Copies(copies=self._couriers.status())

    def _watched(self, message: AskWatched, call: Call) -> Rows:
        """One question of the closed list; arbitrary SQL is for auditors, each query an event."""
        if call.peer.uid not in {os.getuid(), *self._settings.watch_uids}:
            self._own("audit.query", outcome="refused", reason="not_the_watch", actor=UNKNOWN)
            raise DeniedError("audit watch: wanted the process that watches, got another user", code="not_the_watch")
        return answer(message, query=self._watch_query)

    def _watch_query(self, sql: str) -> Rows:
        limits: dict[str, Any] = {"limit": MAX_HITS, "timeout_s": self._settings.query_timeout_s}
        return self._feed.query(sql, size=self.ledger.size, person="service:watchd", **limits)

    def _rebuild(self, message: Rebuild, call: Call) -> Rebuilt:
        if call.peer.uid != os.getuid():
            raise DeniedError("audit rebuild: wanted the operator's own shell, got another user", code="not_operator")
        told: dict[str, Any] = {"actor": "operator", "role": "operator", "ticket": message.ticket}
        self._own("audit.rebuild", outcome="intent", detail={"cause": "operator"}, **told)
        rows = self._feed.rebuild(self.ledger.size)
        self._own("audit.rebuild", detail={"cause": "operator", "rows": rows}, **told)
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
        self._couriers = couriers(
            folder / "log", settings=self._copies, tell=self._own, clock=self._clock, log=self._log
        )
        self._couriers.start()
        key = read_symmetric(self._home.key_file("audit-store"))
        self._feed = Feed(
            folder,
            box=box,
            key=key,
            socket=self._home.socket("auditstore"),
            memory_mib=self._settings.query_memory_mib,
        )
        self._desk = Desk(
            resolve=self._resolve,
            note=self._own,
            feed=self._feed,
            size=lambda: self.ledger.size,
            clock=self._clock,
            max_rows=self._settings.query_rows,
            timeout_s=self._settings.query_timeout_s,
        )

    def _retention_handlers(self) -> dict[type[Any], Handler]:
        self._retention = desk = RetentionDesk(
            self._home.state("audit"),
            keys=self._body_keys,
            settings=self._home.settings(RetentionSettings, section="retention"),
            copies=self._copies,
            copy_status=self._couriers.status,
            resolve=self._resolve,
            note=self._own,
            rotate=self.ledger.rotate_bodies,
            rebuild=lambda: self._feed.rebuild(self.ledger.size),
            clock=self._clock,
        )
        acts: dict[type[Any], Callable[[Any], Any]] = {
            PlaceHold: desk.place,
            LiftHold: desk.lift,
            ListHolds: desk.holds,
            PlanRetention: desk.show_plan,
            ApplyRetention: desk.apply,
        }
        return {message: _without_call(act) for message, act in acts.items()}

    def _sign_checkpoints(self) -> None:
        while not self._stop.is_set():
            self.ledger.due.wait(self._settings.checkpoint_s)
            self.ledger.due.clear()
            self._try("checkpoint failed", self._sign_and_copy)
            self._try("space not looked after", self._look_after_space)
            self._try("clock not looked at", self._look_at_clock)

    def _look_at_clock(self) -> None:
        """Says once that the clock is behind the ledger's time, and once that it has come up with it."""
        behind = self.ledger.behind_s
        if behind > STEP_S and not self._clock_behind:
            self._log.error("clock stepped back", behind_s=round(behind))
            self._own("audit.clock_step", outcome="failed", reason="clock_back", detail={"behind_s": round(behind)})
            self._clock_behind = True
        elif self._clock_behind and behind == 0.0:
            self._own("audit.clock_step", detail={"behind_s": 0})
            self._clock_behind = False

    def _sign_and_copy(self) -> None:
        """Says when checkpoints cannot be signed or written, again each day, and once that they can be again."""
        try:
            text = self.ledger.checkpoint()
        except Exception:
            self._tell_of_silence()
            raise
        if self._silence_told is not None:
            self._own("audit.signing")
            self._silence_told = None
        self._couriers.offer(text)

    def _tell_of_silence(self) -> None:
        told, now = self._silence_told, time.monotonic()
        if told is None or now - told >= SILENCE_S:
            self._own("audit.signing", outcome="failed", reason="not_signed")
            self._silence_told = now  # only once it stands: the next turn tries again

    def _look_after_space(self) -> None:
        """Says when the disk is full, again each day that it stays so, and once that it is not any more."""
        told, now = self._full_told, time.monotonic()
        if not self.ledger.short_of_space:
            if told is not None:
                self._own("audit.space")
                self._full_told = None
        elif told is None or now - told >= FULL_S:
            self._own("audit.space", outcome="failed", reason="disk_full")
            self._full_told = now  # only once it stands: the next turn tries again
        self.ledger.refill()

    def _keep_level(self) -> None:
        pause = FIRST_FEED_S
        while not self._stop.wait(pause):
            self._try("query store is behind", self._level)
            pause = FEED_S

    def _keep_retention(self) -> None:
        pause = FIRST_RETENTION_S
        while not self._stop.wait(pause):
            self._try("retention not looked at", self._retention.look)
            pause = RETENTION_S

    def _level(self) -> None:
        self._feed.catch_up(self.ledger.size)
        cause = self._feed.cause
        if cause:
            self._log.warning("query store was built again", cause=cause)
            self._own("audit.rebuild", detail={"cause": cause, "rows": self._feed.mark})
            self._feed.cause = ""

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


def _without_call(act: Callable[[Any], Any]) -> Handler:
    return lambda message, _call: act(message)


def _keep_vkey(path: Path, text: str) -> None:
    """Writes only what is new: a full disk takes nothing, and a ledger must start on one."""
    try:
        known = path.read_text("utf-8") == text
    except (OSError, UnicodeDecodeError):
        known = False
    if not known:
        write_file(path, text.encode())


def log_origin(folder: Path) -> str:
    """The name of this log, made once and never changed: ``enclave.local/`` and 16 random hex digits."""
    path = folder / "origin"
    try:
        return path.read_text("ascii").strip()
    except FileNotFoundError:
        origin = f"enclave.local/{secrets.token_hex(8)}"
        write_file(path, f"{origin}\n".encode(), durable=True)
        return origin
