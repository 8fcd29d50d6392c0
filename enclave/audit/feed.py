"""From the segments into the query store: in order, in batches, each record exactly once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from enclave.audit.bodies import Body, BodyReader
from enclave.audit.merkle import leaf_hash
from enclave.audit.segments import Record, SegmentReader
from enclave.audit.store import QueryStore
from enclave.core.canonical import parse_json
from enclave.core.errors import EnclaveError, IntegrityError, UnavailableError
from enclave.core.secret import Secret
from enclave.keys.box import Box

BATCH = 10_000
RECORDS = pa.schema([("seq", pa.int64()), ("payload", pa.string()), ("leaf_hash", pa.string())])
BODIES = pa.schema([("seq", pa.int64()), ("name", pa.string()), ("text", pa.string())])


class Feed:
    """Keeps one query store level with one log."""

    def __init__(self, folder: Path, *, box: Box, key: Secret, memory_mib: int = 512) -> None:
        """Opens nothing yet: a ledger takes events before its query store is ready."""
        self._folder, self._box, self._key, self._memory_mib = folder, box, key, memory_mib
        self._guard = threading.Lock()
        self._store: QueryStore | None = None
        self.path = folder / "store" / "ledger.duckdb"
        self.mark = 0  # the high-water mark, as last seen
        self.cause = ""  # why the store had to be built again, until somebody has told it

    @property
    def store(self) -> QueryStore:
        """The open store; raises ``UnavailableError`` before the first ``catch_up``."""
        if self._store is None:
            raise UnavailableError("query store: wanted it open, it is not; try again")
        return self._store

    def catch_up(self, size: int, *, progress: Callable[[int], None] | None = None) -> int:
        """Adds the records below ``size`` that are not in yet; returns the high-water mark.

        A store that cannot be read, or that knows more than the log, is built again.
        """
        with self._guard:
            if self._store is None:
                self._first_open()
            if self.mark > size:
                self.cause = "ahead_of_the_log"
                self._renew()
            while self.mark < size:
                records = self._records.read(upto=size, count=BATCH)
                mark = records[-1].seq + 1 if len(records) == BATCH else size
                self._add(records, mark)
                self.mark = mark
                if progress is not None:
                    progress(mark)
            return self.mark

    def rebuild(self, size: int, *, progress: Callable[[int], None] | None = None) -> int:
        """Throws the store away and builds it again; returns how many records are in."""
        with self._guard:
            self._renew()
        return self.catch_up(size, progress=progress)

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

    def _open(self) -> None:
        self._store = QueryStore(self.path, key=self._key, memory_mib=self._memory_mib)
        self.mark = self._store.high_water()
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

    def _add(self, records: list[Record], mark: int) -> None:
        rows = [(record.seq, text, leaf_hash(record.payload).hex()) for record, text in _texts(records)]
        bodies = self._bodies.read(dict(_with_bodies(records)))
        columns: list[list[Any]] = [list(column) for column in zip(*rows, strict=True)] or [[], [], []]
        table = pa.table([pa.array(c, f.type) for c, f in zip(columns, RECORDS, strict=True)], schema=RECORDS)
        self.store.add(table, _bodies(bodies), high_water=mark)


def _texts(records: list[Record]) -> Iterator[tuple[Record, str]]:
    for record in records:
        with contextlib.suppress(UnicodeDecodeError):  # not of our writing; verify names it
            yield record, record.payload.decode("utf-8")


def _with_bodies(records: list[Record]) -> Iterator[tuple[int, str]]:
    """Sequence number and event id of the records that have bodies, which canonical JSON puts first."""
    for record in records:
        if record.payload.startswith(b'{"bodies":'):
            with contextlib.suppress(EnclaveError, KeyError, TypeError):
                yield record.seq, str(parse_json(record.payload)["event"]["id"])


def _bodies(found: list[Body]) -> pa.Table:
    rows = [{"seq": body.seq, "name": body.name, "text": body.text} for body in found]
    return pa.Table.from_pylist(rows, schema=BODIES)
