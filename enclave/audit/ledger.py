"""The ledger's engine: many callers append, one at a time commits for all, a receipt means durable."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from enclave.audit.bodies import lost_bodies, make_bodies, trim_bodies
from enclave.audit.checkpoint import Sign, TreeHead, VerifierKey, Verify, write_checkpoint
from enclave.audit.event import Event, event_to_json
from enclave.audit.kept_checkpoints import CONTRADICTED, HISTORY
from enclave.audit.merkle import TILE_WIDTH, FullTile, Tree, leaf_hash
from enclave.audit.recovery import Damage, Durable, Recovered, fingerprint, last_time, recent_ids, recover
from enclave.audit.reserve import Reserve
from enclave.audit.segments import FULL, MAX_RECORD_BYTES, SegmentWriter, frame
from enclave.audit.tiles import TileFolder, write_file
from enclave.audit.vocabulary import class_of
from enclave.core.canonical import canonical_bytes
from enclave.core.clock import Clock, format_time, parse_time
from enclave.core.errors import ConflictError, EnclaveError, InvalidError, UnavailableError
from enclave.keys.box import Box
from enclave.runtime.durable import sync_folder
from enclave.runtime.home import ensure_private_dir
from enclave.runtime.log import Log

PLENTY_BYTES = 64 << 20  # more than a second's records: so often the room on the disk is looked at
KNOWN_IDS = 200_000  # how far back a repeated id is recognised; a client repeats within seconds
_HEADROOM = 160  # bytes of a record beside its event: time, sequence number, writer


class Entry(NamedTuple):
    """One event that was checked: its canonical JSON, the texts beside it, the process that sent it."""

    id: bytes
    data: bytes
    bodies: Mapping[str, str]
    uid: int
    pid: int
    reserved: bool = False  # control or refusal: written on a full disk, too


@dataclass(slots=True)
class _Ticket:
    """One append on its way: the record's bytes before and after what is known only when it is written."""

    id: bytes
    event: bytes
    tail: bytes
    body: bytes
    mark: bytes
    reserved: bool = False
    group: _Group | None = None


class _Group:
    """What one caller appends at once. ``gate`` opens when all of it is durable or failed, or to let it lead."""

    __slots__ = ("done", "gate", "joiners", "tickets")

    def __init__(self, tickets: list[_Ticket]) -> None:
        self.tickets = tickets
        self.gate = threading.Lock()
        self.gate.acquire()
        self.joiners: list[threading.Lock] = []
        self.done = False
        for ticket in tickets:
            ticket.group = self


class Ledger:
    """One store, opened by one process. Thread-safe."""

    def __init__(  # noqa: PLR0913 - what one store is made of, all but its folder by keyword
        self,
        folder: Path,
        *,
        key: VerifierKey,
        sign: Sign,
        verify: Verify,
        box: Box,
        clock: Clock,
        log: Log,
        sign_every: int = 256,
        reserve_bytes: int = 8 << 20,
    ) -> None:
        self._folder, self._key, self._sign, self._box = folder, key, sign, box
        self._clock, self._log = clock, log
        _make_folders(folder)
        self._lock_fd = _lock(folder / "lock")
        recovered = recover(folder, key=key, verify=verify)
        self.damage: list[Damage] = recovered.damage
        _keep_contradicted(folder, recovered)
        self._tree = recovered.tree()
        self._known = recent_ids(folder, count=KNOWN_IDS, leaves=recovered.leaves)
        self._writer = SegmentWriter(folder / "segments")
        if recovered.resume is not None:
            self._writer.resume(recovered.resume[0], size_bytes=recovered.resume[1])
        self._order = deque(self._known)
        self._bodiless = self._look_at_bodies(recovered)
        self._bodies = SegmentWriter(folder / "bodies")
        self._tiles = TileFolder(folder / "log")
        self._full_tiles: list[FullTile] = self._all_full_tiles(recovered.leaves)
        self._signed = TreeHead(key.name, -1, b"")
        self._checkpoint = ""
        self._before = _signed_before(folder, recovered) or (self._signed, "")
        self._sign_every = sign_every
        self._reserve = Reserve(folder / "reserve", size_bytes=reserve_bytes)
        self._last_time = last_time(folder)
        self._look_at_room()
        self._start_empty()

    def _look_at_bodies(self, recovered: Recovered) -> dict[bytes, int]:
        """Cuts off bodies that have no record; the records after the last checkpoint that have lost theirs."""
        trim_bodies(self._folder / "bodies", size=recovered.size)
        signed = recovered.head.size if recovered.head is not None else 0
        lost = lost_bodies(self._folder, first=signed, size=recovered.size)
        if lost:
            self.damage.append(Damage("bodies", 0, 0, min(lost.values()), proven=False))
        return lost

    def _start_empty(self) -> None:
        """What is about the requests of this run only."""
        self._guard = threading.Lock()  # pending, leadership, ids in flight
        self._tree_guard = threading.Lock()
        self._sign_guard = threading.Lock()
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="audit:bodies")
        self._pending: list[_Group] = []
        self._in_flight: dict[bytes, _Ticket] = {}
        self._leading = False
        self._closed = False
        self.due = threading.Event()  # enough records came for a checkpoint

    @property
    def size(self) -> int:
        """The number of durable records."""
        return self._tree.size

    @property
    def time(self) -> str:
        """The ledger's time: that of the last commit; it never goes back, not by a restart either."""
        return self._last_time

    @property
    def behind_s(self) -> float:
        """How many seconds the machine's clock is behind the ledger's time."""
        if not self._last_time:
            return 0.0
        return max(0.0, (parse_time(self._last_time) - self._clock.now()).total_seconds())

    # --- appending ---

    def append(
        self, event: Event, *, bodies: Mapping[str, str] | None = None, uid: int | None = None, pid: int | None = None
    ) -> Durable:
        """Appends once per event id; returns when the record is durable.

        Raises ``UnavailableError`` when it cannot be written, ``ConflictError`` when the id stands for another event.
        """
        data = canonical_bytes(event_to_json(event))
        whose = os.getuid() if uid is None else uid
        reserved = class_of(event.kind, event.outcome) != "ordinary"
        entry = Entry(bytes.fromhex(event.id), data, bodies or {}, whose, pid or os.getpid(), reserved)
        (found,) = self.append_all([entry])
        if isinstance(found, EnclaveError):
            raise found
        return found

    def append_all(self, entries: Sequence[Entry]) -> list[Durable | EnclaveError]:
        """Appends all of them with one commit; for each what ``append`` would return or raise, in their order."""
        marks = [fingerprint(entry.data) for entry in entries]
        faults: dict[int, EnclaveError] = {}
        tickets: list[_Ticket] = []
        for number, (entry, mark) in enumerate(zip(entries, marks, strict=True)):
            if entry.id not in self._known:
                try:
                    tickets.append(self._ticket(entry, mark))
                except EnclaveError as error:
                    faults[number] = error
        if tickets:
            self._wait(tickets)
        return [
            faults.get(number) or self._outcome(entry.id, mark)
            for number, (entry, mark) in enumerate(zip(entries, marks, strict=True))
        ]

    def _outcome(self, event_id: bytes, mark: bytes) -> Durable | EnclaveError:
        known = self._known.get(event_id)
        if known is None:
            return UnavailableError(
                "ledger: wanted to write a record, the disk refused; nothing was done. Look at auditd's log",
                code="ledger_unavailable",
            )
        if known.fingerprint != mark:
            words = "event id: wanted one id for one event, got it for a second one"
            return ConflictError(words, code="event_id_reused")
        if event_id in self._bodiless:
            words = "ledger: wanted the texts beside a record, a crash took them; nothing was done, ask anew"
            return UnavailableError(words, code="ledger_body_lost")
        return known

    def _ticket(self, entry: Entry, mark: bytes) -> _Ticket:
        sealed = b""
        if entry.bodies:
            event_id = entry.id.hex()
            hashes, sealed = make_bodies(entry.bodies, box=self._box, event_id=event_id, salt=secrets.token_bytes)
            event = b'{"bodies":%b,"event":%b,"received":"' % (canonical_bytes(hashes), entry.data)
        else:
            event = b'{"event":%b,"received":"' % entry.data
        tail = b',"writer":{"pid":%d,"uid":%d}}' % (entry.pid, entry.uid)
        if len(event) + len(tail) + _HEADROOM > MAX_RECORD_BYTES:
            raise InvalidError(f"event: wanted at most {MAX_RECORD_BYTES} bytes, got more; put long texts into bodies")
        if not entry.reserved and not self._reserve.whole:
            raise UnavailableError(
                "ledger: wanted room on the disk for an ordinary event, got only what is reserved for refusals and "
                "control; make room, nothing was done",
                code="ledger_reserve",
            )
        return _Ticket(entry.id, event, tail, sealed, mark, entry.reserved)

    def _wait(self, tickets: list[_Ticket]) -> None:
        group, gates = self._queue(tickets)
        if group.tickets:
            group.gate.acquire()
            if not group.done:
                self._lead()
        for gate in gates:
            gate.acquire()

    def _queue(self, tickets: list[_Ticket]) -> tuple[_Group, list[threading.Lock]]:
        """The group of those that are new, and a gate for each that is on its way already."""
        gates: list[threading.Lock] = []
        with self._guard:
            if self._closed:
                raise UnavailableError("ledger: wanted an open store, it is closing", code="ledger_unavailable")
            own: dict[bytes, _Ticket] = {}
            for ticket in tickets:
                first = self._in_flight.get(ticket.id)
                if first is not None and first.group is not None:
                    gate = threading.Lock()
                    gate.acquire()
                    first.group.joiners.append(gate)
                    gates.append(gate)
                elif ticket.id not in self._known:  # it may have become durable since we looked
                    own.setdefault(ticket.id, ticket)
            group = _Group(list(own.values()))
            if own:
                self._in_flight.update(own)
                self._pending.append(group)
                if not self._leading:
                    self._leading = True
                    group.gate.release()
        return group, gates

    def _lead(self) -> None:
        """Commits everything that waits, ours among it, then passes the lead on."""
        with self._guard:
            groups, self._pending = self._pending, []
        batch = [ticket for group in groups for ticket in group.tickets]
        try:
            self._commit(batch)
        finally:
            with self._guard:
                for ticket in batch:
                    del self._in_flight[ticket.id]
                for group in groups:
                    group.done = True
                if self._pending:
                    self._pending[0].gate.release()
                else:
                    self._leading = False
            for group in groups:
                for gate in (group.gate, *group.joiners):
                    if gate.locked():
                        gate.release()
        if self._tree.size - self._signed.size >= self._sign_every:
            self.due.set()

    def _commit(self, batch: list[_Ticket]) -> None:
        """Writes the batch; on a full disk what may use the reserve, the rest gets no receipt."""
        full = self._write(batch)
        kept = [ticket for ticket in batch if ticket.reserved]
        while full and kept and self._reserve.give():
            full = self._write(kept)

    def _write(self, batch: list[_Ticket]) -> bool:
        """True when the disk was full and nothing was written."""
        first = self._tree.size
        self._last_time = max(self._last_time, format_time(self._clock.now()))
        middle = self._last_time.encode() + b'","seq":'
        payloads = [b"%b%b%d%b" % (t.event, middle, first + i, t.tail) for i, t in enumerate(batch)]
        bodies = [frame(first + i, t.body) for i, t in enumerate(batch) if t.body]
        records = b"".join([frame(first + i, p) for i, p in enumerate(payloads)])
        try:
            self._make_durable(records, b"".join(bodies), first)
        except OSError as error:
            self._log.error("ledger cannot write", error, errno=error.errno or 0, waiting=len(batch))
            return error.errno in FULL
        leaves = [leaf_hash(payload) for payload in payloads]
        with self._tree_guard:
            self._full_tiles.extend(self._tree.add_all(leaves))
        with self._guard:
            for i, ticket in enumerate(batch):
                self._known[ticket.id] = Durable(first + i, leaves[i], ticket.mark)
                self._order.append(ticket.id)
            while len(self._order) > KNOWN_IDS:
                del self._known[self._order.popleft()]
        return False

    def _make_durable(self, records: bytes, bodies: bytes, first: int) -> None:
        """Writes both files, then waits for the disk once for both at the same time; nothing is kept when one fails.

        The bodies are written first, so that a process that is killed in between leaves no record without them.
        """
        if not bodies:
            self._writer.write(records, first_seq=first)
            return
        try:
            self._bodies.put(bodies, first_seq=first)
            self._writer.put(records, first_seq=first)
            beside = self._beside.submit(self._bodies.sync)
            try:
                self._writer.sync()
            finally:
                wait((beside,))
            beside.result()
        except OSError:
            self._writer.close()
            self._bodies.close()
            raise
        self._bodies.keep()
        self._writer.keep()

    @property
    def short_of_space(self) -> bool:
        """Whether only what is reserved is left."""
        return not self._reserve.whole

    def refill(self) -> bool:
        """Takes the reserved space again; True when it is whole. Spare space is only for a disk with plenty of room."""
        self._look_at_room()
        with self._guard:
            return self._leading or self._reserve.refill()

    def _look_at_room(self) -> None:
        with contextlib.suppress(OSError):
            disk = os.statvfs(self._folder)
            self._writer.sparing = self._bodies.sparing = disk.f_bavail * disk.f_frsize < PLENTY_BYTES

    # --- checkpoints ---

    def checkpoint(self, *, durable: bool = True) -> str:
        """Signs the tree as it stands, when it grew, and writes tiles and note.

        Raises ``UnavailableError`` when the disk refuses, and whatever the key raises, all of them ``EnclaveError``.
        """
        with self._sign_guard:
            with self._tree_guard:
                size, tiles = self._tree.size, [list(tile) for tile in self._tree.open_tiles]
                root, full = self._tree.root(), list(self._full_tiles)
            if size == self._signed.size:
                return self._checkpoint
            head = TreeHead(self._key.name, size, root)
            text = write_checkpoint(head, key=self._key, sign=self._sign)
            try:
                self._tiles.write_full(full)
                self._tiles.write_open(size, tiles)
                write_file(self._folder / "log" / "checkpoint", text.encode(), durable=durable)
            except OSError as error:
                self._log.error("checkpoint not written", error, size=size)
                raise UnavailableError("ledger: wanted to write a checkpoint, the disk refused") from None
            with self._tree_guard:
                del self._full_tiles[: len(full)]
            if size // TILE_WIDTH > self._signed.size // TILE_WIDTH:
                self._keep_in_history(text)
            self._signed, self._checkpoint = head, text
            return text

    def rotate_bodies(self) -> None:
        """Makes the next body begin a new segment of bodies."""
        self._bodies.rotate()

    @property
    def last_checkpoint(self) -> tuple[TreeHead, str]:
        """The newest checkpoint that was signed, its head and its text; asks no key. Size -1 before the first ever."""
        with self._sign_guard:
            return (self._signed, self._checkpoint) if self._checkpoint else self._before

    def close(self) -> None:
        """Waits for what is under way, signs a last checkpoint if the key does, gives the store free."""
        with self._guard:
            self._closed = True
        while self._leading:
            time.sleep(0.001)
        try:
            self.checkpoint()
        except EnclaveError as error:
            self._log.warning("closed without a last checkpoint", size=self.size, reason=error.code)
        self._beside.shutdown()
        self._writer.close()
        self._bodies.close()
        self._reserve.release()
        os.close(self._lock_fd)

    def _keep_in_history(self, text: str) -> None:
        """Older checkpoints narrow down where a log was changed, when its tiles were changed too."""
        try:
            with (self._folder / "log" / HISTORY).open("ab") as file:
                file.write(canonical_bytes({"checkpoint": text}) + b"\n")
        except OSError as error:
            self._log.warning("checkpoint history not written", errno=error.errno or 0)

    def _all_full_tiles(self, leaves: list[bytes]) -> list[FullTile]:
        """Full tiles that are missing on the disk (a crash came between record and checkpoint)."""
        return [t for t in Tree().add_all(leaves) if self._tiles.read(t.level, t.index) != t.data]


@contextlib.contextmanager
def lock_store(folder: Path) -> Iterator[None]:
    """Holds a store that no daemon has open; raises ``ConflictError`` when one has."""
    fd = _lock(folder / "lock")
    try:
        yield
    finally:
        os.close(fd)


def _make_folders(folder: Path) -> None:
    """With durable names, for a receipt must not lie in a folder that a power cut takes."""
    for name in ("", "segments", "bodies", "log"):
        ensure_private_dir(folder / name)
    for parent in (folder, folder.parent):
        sync_folder(parent)


def _lock(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise ConflictError(
            "ledger store: wanted it for ourselves, another process has it open; stop that one first",
            code="ledger_locked",
        ) from None
    return fd


def _signed_before(folder: Path, recovered: Recovered) -> tuple[TreeHead, str] | None:
    """The checkpoint that an earlier run left, None when there is none or the store does not hold what it signed."""
    if recovered.head is None or recovered.contradicted:
        return None
    return recovered.head, (folder / "log" / "checkpoint").read_text("utf-8")


def _keep_contradicted(folder: Path, recovered: Recovered) -> None:
    """Sets a checkpoint aside that the stored records contradict; ``verify`` goes on reporting it."""
    if recovered.head is not None and recovered.contradicted:
        text = (folder / "log" / "checkpoint").read_bytes()
        write_file(folder / "log" / f"{CONTRADICTED}{recovered.head.size}", text, durable=True)
