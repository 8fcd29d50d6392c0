"""The ledger's engine: many callers append, one at a time commits for all, a receipt means durable."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from enclave.audit.bodies import make_bodies, trim_bodies
from enclave.audit.checkpoint import Sign, TreeHead, VerifierKey, Verify, write_checkpoint
from enclave.audit.event import Event, event_to_json
from enclave.audit.merkle import TILE_WIDTH, FullTile, Tree, leaf_hash
from enclave.audit.recovery import Damage, Known, fingerprint, recent_ids, recover
from enclave.audit.segments import MAX_RECORD_BYTES, SegmentWriter, frame, sync_dir
from enclave.audit.tiles import TileFolder, write_file
from enclave.core.canonical import canonical_bytes
from enclave.core.clock import Clock, format_time
from enclave.core.errors import ConflictError, InvalidError, UnavailableError
from enclave.keys.box import Box
from enclave.runtime.home import ensure_private_dir
from enclave.runtime.log import Log

KNOWN_IDS = 200_000  # how far back a repeated id is recognised; a client repeats within seconds
_HEADROOM = 160  # bytes of a record beside its event: time, sequence number, writer


@dataclass(frozen=True, slots=True)
class Durable:
    """A record that will not be lost: its place and its leaf hash."""

    seq: int
    leaf: bytes


class _Ticket:
    """One append on its way. ``gate`` is released when it is durable or failed, or when its turn to lead has come."""

    __slots__ = ("body", "done", "event", "gate", "id", "joiners", "mark", "tail")

    def __init__(self, event_id: bytes, event: bytes, tail: bytes, body: bytes, mark: bytes) -> None:
        self.id, self.event, self.tail, self.body, self.mark = event_id, event, tail, body, mark
        self.gate = threading.Lock()
        self.gate.acquire()
        self.joiners: list[threading.Lock] = []
        self.done = False


class Ledger:
    """One store, opened by one process. Thread-safe."""

    def __init__(
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
    ) -> None:
        self._folder, self._key, self._sign, self._box = folder, key, sign, box
        self._clock, self._log = clock, log
        for name in ("", "segments", "bodies", "log"):
            ensure_private_dir(folder / name)
        self._lock_fd = _lock(folder / "lock")
        recovered = recover(folder, key=key, verify=verify)
        self.damage: list[Damage] = recovered.damage
        _keep_contradicted(folder, recovered.size, recovered.head)
        self._tree = recovered.tree()
        self._known = recent_ids(folder, count=KNOWN_IDS, leaves=recovered.leaves)
        self._writer = SegmentWriter(folder / "segments")
        if recovered.resume is not None:
            self._writer.resume(recovered.resume[0], size_bytes=recovered.resume[1])
        trim_bodies(folder / "bodies", size=recovered.size)
        self._bodies = SegmentWriter(folder / "bodies")
        self._tiles = TileFolder(folder / "log")
        self._full_tiles: list[FullTile] = self._all_full_tiles(recovered.leaves)
        self._signed = TreeHead(key.name, -1, b"")
        self._checkpoint = ""
        self._sign_every = sign_every
        self._start_empty()

    def _start_empty(self) -> None:
        """What is about the requests of this run only."""
        self._last_time = ""
        self._guard = threading.Lock()  # pending, leadership, ids in flight
        self._tree_guard = threading.Lock()
        self._sign_guard = threading.Lock()
        self._pending: list[_Ticket] = []
        self._in_flight: dict[bytes, _Ticket] = {}
        self._leading = False
        self._closed = False
        self.due = threading.Event()  # enough records came for a checkpoint

    @property
    def size(self) -> int:
        """The number of durable records."""
        return self._tree.size

    # --- appending ---

    def append(
        self, event: Event, *, bodies: Mapping[str, str] | None = None, uid: int | None = None, pid: int | None = None
    ) -> Durable:
        """Appends once per event id; returns when the record is durable.

        Raises ``UnavailableError`` when it cannot be written, ``ConflictError`` when the id stands for another event.
        """
        data = canonical_bytes(event_to_json(event))
        mark = fingerprint(data)
        event_id = bytes.fromhex(event.id)
        with self._guard:
            known = self._known.get(event_id)
        if known is not None:
            return _repeated(known, mark)
        ticket = self._ticket(event_id, data, mark, bodies or {}, {"pid": pid or os.getpid(), "uid": _uid(uid)})
        self._wait(ticket)
        known = self._known.get(event_id)
        if known is None:
            raise UnavailableError(
                "ledger: wanted to write a record, the disk refused; nothing was done. Look at auditd's log",
                code="ledger_unavailable",
            )
        return _repeated(known, mark)

    def _ticket(
        self, event_id: bytes, data: bytes, mark: bytes, bodies: Mapping[str, str], writer: dict[str, int]
    ) -> _Ticket:
        hashes, sealed = make_bodies(bodies, box=self._box, event_id=event_id.hex(), salt=secrets.token_bytes)
        head = b'{"bodies":' + canonical_bytes(hashes) + b"," if hashes else b"{"
        event = head + b'"event":' + data + b',"received":"'
        tail = b',"writer":' + canonical_bytes(writer) + b"}"
        if len(event) + len(tail) + _HEADROOM > MAX_RECORD_BYTES:
            raise InvalidError(f"event: wanted at most {MAX_RECORD_BYTES} bytes, got more; put long texts into bodies")
        return _Ticket(event_id, event, tail, sealed, mark)

    def _wait(self, ticket: _Ticket) -> None:
        with self._guard:
            if self._closed:
                raise UnavailableError("ledger: wanted an open store, it is closing", code="ledger_unavailable")
            if ticket.id in self._known:  # became durable since we looked
                return
            first = self._in_flight.get(ticket.id)
            if first is not None:
                first.joiners.append(ticket.gate)
            else:
                self._in_flight[ticket.id] = ticket
                self._pending.append(ticket)
                if not self._leading:
                    self._leading = True
                    ticket.gate.release()
        ticket.gate.acquire()
        if first is None and not ticket.done:
            self._lead()

    def _lead(self) -> None:
        """Commits everything that waits, ours among it, then passes the lead on."""
        with self._guard:
            batch, self._pending = self._pending, []
        try:
            self._commit(batch)
        finally:
            with self._guard:
                for ticket in batch:
                    ticket.done = True
                    del self._in_flight[ticket.id]
                if self._pending:
                    self._pending[0].gate.release()
                else:
                    self._leading = False
            for ticket in batch:
                for gate in (ticket.gate, *ticket.joiners):
                    if gate.locked():
                        gate.release()
        if self._tree.size - self._signed.size >= self._sign_every:
            self.due.set()

    def _commit(self, batch: list[_Ticket]) -> None:
        first = self._tree.size
        self._last_time = max(self._last_time, format_time(self._clock.now()))
        middle = self._last_time.encode() + b'","seq":'
        payloads = [b"%b%b%d%b" % (t.event, middle, first + i, t.tail) for i, t in enumerate(batch)]
        bodies = [frame(first + i, t.body) for i, t in enumerate(batch) if t.body]
        sealed = b"".join(bodies)
        try:
            if sealed:
                self._bodies.write(sealed, first_seq=first)
            try:
                self._writer.write(b"".join(frame(first + i, p) for i, p in enumerate(payloads)), first_seq=first)
            except OSError:
                self._bodies.take_back(len(sealed))
                raise
        except OSError as error:
            self._log.error("ledger cannot write", error, errno=error.errno or 0, waiting=len(batch))
            return
        leaves = [leaf_hash(payload) for payload in payloads]
        with self._tree_guard:
            self._full_tiles.extend(self._tree.add_all(leaves))
        with self._guard:
            for i, ticket in enumerate(batch):
                self._known[ticket.id] = Known(first + i, leaves[i], ticket.mark)
            while len(self._known) > KNOWN_IDS:
                del self._known[next(iter(self._known))]

    # --- checkpoints ---

    def checkpoint(self, *, durable: bool = True) -> str:
        """Signs the tree as it stands, when it grew, and writes tiles and note; raises ``UnavailableError``."""
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

    @property
    def signed(self) -> TreeHead:
        """The head of the last checkpoint; size -1 before the first."""
        return self._signed

    def close(self) -> None:
        """Waits for what is under way, signs a last checkpoint, gives the store free."""
        with self._guard:
            self._closed = True
        while self._leading:
            time.sleep(0.001)
        try:
            self.checkpoint()
        except UnavailableError:
            self._log.warning("closed without a last checkpoint", size=self.size)
        self._writer.close()
        self._bodies.close()
        os.close(self._lock_fd)

    def _keep_in_history(self, text: str) -> None:
        """Older checkpoints narrow down where a log was changed, when its tiles were changed too."""
        try:
            with (self._folder / "log" / "history.jsonl").open("ab") as file:
                file.write(canonical_bytes({"checkpoint": text}) + b"\n")
        except OSError as error:
            self._log.warning("checkpoint history not written", errno=error.errno or 0)

    def _all_full_tiles(self, leaves: list[bytes]) -> list[FullTile]:
        """Full tiles that are missing on the disk (a crash came between record and checkpoint)."""
        return [t for t in Tree().add_all(leaves) if self._tiles.read(t.level, t.index) != t.data]


def _repeated(known: Known, mark: bytes) -> Durable:
    if known.fingerprint != mark:
        raise ConflictError("event id: wanted one id for one event, got it for a second one", code="event_id_reused")
    return Durable(known.seq, known.leaf)


def _uid(uid: int | None) -> int:
    return os.getuid() if uid is None else uid


@contextlib.contextmanager
def lock_store(folder: Path) -> Iterator[None]:
    """Holds a store that no daemon has open; raises ``ConflictError`` when one has."""
    fd = _lock(folder / "lock")
    try:
        yield
    finally:
        os.close(fd)


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


def _keep_contradicted(folder: Path, size: int, head: TreeHead | None) -> None:
    """Sets a checkpoint aside that claims more than the store can show; ``verify`` goes on reporting it."""
    if head is not None and head.size > size:
        kept = folder / "log" / f"checkpoint.contradicted-{head.size}"
        kept.write_bytes((folder / "log" / "checkpoint").read_bytes())
        sync_dir(kept.parent)
