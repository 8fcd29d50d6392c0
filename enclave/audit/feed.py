"""From the segments into the query store: in order, in batches, each record exactly once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa

from enclave.audit.bodies import Body, BodyReader, with_bodies
from enclave.audit.columns import record_columns
from enclave.audit.merkle import leaf_hash
from enclave.audit.segments import SegmentReader
from enclave.audit.store_host import GONE, StoreHost
from enclave.audit.turns import Turns
from enclave.core.errors import IntegrityError, UnavailableError
from enclave.core.secret import Secret
from enclave.keys.box import Box
from enclave.wire.messages.audit import Rows

BATCH = 122_880  # a row group of the engine: whole ones are written once, past its write-ahead log
BODIES = pa.schema([("seq", pa.int64()), ("name", pa.string()), ("text", pa.string())])


class Feed:
    """Keeps one query store level with one log."""

    def __init__(self, folder: Path, *, box: Box, key: Secret, socket: Path, memory_mib: int = 512) -> None:
        """Opens nothing yet: a ledger takes events before its query store is ready."""
        self._folder, self._box, self._key, self._memory_mib = folder, box, key, memory_mib
        self._socket = socket
        self._turns = Turns()
        self._guard = threading.Lock()
        self._store: StoreHost | None = None
        self.path = folder / "store" / "ledger.duckdb"
        self.mark = 0  # the high-water mark, as last seen
        self._size = 0  # of the log, the largest that anybody has told: who asked earlier may come in later
        self.cause = ""  # why the store had to be built again, until somebody has told it

    @property
    def store(self) -> StoreHost:
        """The open store; raises ``UnavailableError`` before the first ``catch_up``."""
        if self._store is None:
            raise _gone()
        return self._store

    def catch_up(self, size: int, *, progress: Callable[[int], None] | None = None) -> int:
        """Adds the records below ``size`` that are not in yet; returns the high-water mark.

        A store that cannot be read, or that knows more or other records than the log, is built again.
        """
        with self._guard:
            if self._store is not None and not self._store.alive:
                self._store.kill()
                self._store = None
            if self._store is None:
                self._first_open()
            self._size = max(self._size, size)
            if self.mark > self._size:
                self.cause = "ahead_of_the_log"
                self._renew()
            try:
                self._read_on(size, progress or (lambda _mark: None))
            except UnavailableError as error:
                raise self._after(error) from None
            return self.mark

    def _read_on(self, size: int, progress: Callable[[int], None]) -> None:
        """Makes the next batch ready while the store takes the last one."""
        store, read = self.store, self.mark
        with ThreadPoolExecutor(1) as sender:
            sent: Future[None] | None = None
            while read < size or sent is not None:
                batch = self._batch(size) if read < size else None
                if sent is not None:
                    sent.result()
                    self.mark, sent = read, None
                    progress(read)
                if batch is not None:
                    records, bodies, read = batch
                    sent = sender.submit(store.add, records, bodies, high_water=read)

    def _batch(self, size: int) -> tuple[pa.Table, pa.Table, int]:
        """Records, bodies and the mark after them."""
        records = self._records.read(upto=size, count=BATCH)
        mark = records[-1].seq + 1 if len(records) == BATCH else size
        bodies = self._bodies.read(dict(with_bodies(records)))
        return record_columns(records), _bodies(bodies), mark

    def _after(self, error: UnavailableError) -> UnavailableError:
        if error.code != UnavailableError.family:
            self._rewind()
            return error
        # No answer: whether the batch is in, the file knows. It is asked before anything is read further.
        self.store.kill()
        self._store = None
        return _gone()

    def rebuild(self, size: int, *, progress: Callable[[int], None] | None = None) -> int:
        """Throws the store away and builds it again; returns how many records are in."""
        with self._guard:
            self._renew()
        return self.catch_up(size, progress=progress)

    def query(self, sql: str, *, size: int, limit: int, timeout_s: float, person: str) -> Rows:
        """The rows of one SELECT over everything below ``size``.

        One that failed while others ran, for want of memory, or together with the whole process is run once more by
        itself: so whoever asks too much fails, and who came after a process had ended for another reason does not.
        """
        with self._turns.shared(person, timeout_s=timeout_s) as turn:
            try:
                return self._ask(sql, size, limit, timeout_s)
            except UnavailableError as error:
                if error.code != GONE and not (error.code == "query_memory" and turn.beside):
                    raise
        with self._turns.alone():
            try:
                return self._ask(sql, size, limit, timeout_s)
            except UnavailableError as error:
                raise _own_fault(error) from None

    def _ask(self, sql: str, size: int, limit: int, timeout_s: float) -> Rows:
        self.catch_up(size)
        return self.store.query(sql, limit=limit, timeout_s=timeout_s)

    def close(self) -> None:
        """Closes the store."""
        with self._guard:
            if self._store is not None:
                self._store.close()
                self._store = None

    def _first_open(self) -> None:
        self.path.parent.mkdir(mode=0o700, exist_ok=True)
        try:
            self._open()
        except IntegrityError:
            self.cause = "unreadable"
            self._remove()
            self._open()
        if not self._continues():
            self.cause = "differs_from_the_log"
            self._renew()

    def _continues(self) -> bool:
        """Whether the newest record of the store is the log's: a log that lost its tail gives the numbers again."""
        store = self.store
        if store.newest < 0:
            return True
        found = SegmentReader(self._folder / "segments", next_seq=store.newest).read(upto=store.newest + 1, count=1)
        return all(leaf_hash(record.payload) == store.newest_leaf for record in found)

    def _open(self) -> None:
        self._store = StoreHost(self.path, socket=self._socket, key=self._key, memory_mib=self._memory_mib)
        self.mark = self._store.high_water()
        self._rewind()

    def _rewind(self) -> None:
        """Reads on from the high-water mark."""
        self._records = SegmentReader(self._folder / "segments", next_seq=self.mark)
        self._bodies = BodyReader(self._folder / "bodies", box=self._box, next_seq=self.mark)

    def _renew(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None
        self._remove()
        self.path.parent.mkdir(mode=0o700, exist_ok=True)
        self._open()

    def _remove(self) -> None:
        for path in self.path.parent.glob("ledger.duckdb*"):
            path.unlink()


def _gone() -> UnavailableError:
    return UnavailableError("query store: wanted it open, it is not; try again", code=GONE)


def _own_fault(error: UnavailableError) -> UnavailableError:
    """What the asker hears: a process that ended twice under one query, the second time alone, was ended by it."""
    if error.code != GONE:
        return error
    return UnavailableError("audit query: wanted less memory, got past the limit; ask for less", code="query_memory")


def _bodies(found: list[Body]) -> pa.Table:
    rows = [{"seq": body.seq, "name": body.name, "text": body.text} for body in found]
    return pa.Table.from_pylist(rows, schema=BODIES)
