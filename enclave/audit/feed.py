"""From the segments into the query store: in order, in batches, each record exactly once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from enclave.audit.bodies import Body, BodyReader
from enclave.audit.merkle import leaf_hash
from enclave.audit.segments import Record, SegmentReader
from enclave.audit.store import QueryStore
from enclave.core.canonical import canonical_bytes, parse_json
from enclave.core.clock import parse_time
from enclave.core.errors import EnclaveError, IntegrityError, UnavailableError
from enclave.core.secret import Secret
from enclave.keys.box import Box

BATCH = 2000
_TIME = pa.timestamp("us", tz="UTC")
_TEXT = (
    "kind", "actor", "role", "project", "dataset", "session", "kernel", "cell", "source", "ticket", "trace",
    "outcome", "reason",
)  # fmt: skip
RECORDS = pa.schema(
    [
        ("seq", pa.int64()),
        ("id", pa.string()),
        ("time", _TIME),
        ("received", _TIME),
        *((name, pa.string()) for name in _TEXT[:5]),
        ("version", pa.int32()),
        ("objects", pa.list_(pa.string())),
        *((name, pa.string()) for name in _TEXT[5:]),
        ("detail", pa.string()),
        ("writer_uid", pa.int64()),
        ("leaf_hash", pa.string()),
    ]
)
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
        rows: list[dict[str, Any]] = []
        with_bodies: dict[int, str] = {}
        for record in records:
            row = _row(record)
            if row is None:
                continue  # not of our writing; verify names it
            rows.append(row)
            if row.pop("bodies"):
                with_bodies[record.seq] = row["id"]
        bodies = self._bodies.read(with_bodies)
        self.store.add(pa.Table.from_pylist(rows, schema=RECORDS), _bodies(bodies), high_water=mark)


def _row(record: Record) -> dict[str, Any] | None:
    try:
        value = parse_json(record.payload)
        event = value["event"]
        row = {name: event.get(name) for name in (*_TEXT, "version", "objects", "id")}
        row["seq"] = record.seq
        row["time"] = parse_time(event["time"])
        row["received"] = parse_time(value["received"])
        row["detail"] = canonical_bytes(event.get("detail", {})).decode()
        row["writer_uid"] = value["writer"]["uid"]
        row["leaf_hash"] = leaf_hash(record.payload).hex()
        row["bodies"] = value.get("bodies")
    except (EnclaveError, KeyError, TypeError, AttributeError):
        return None
    return row


def _bodies(found: list[Body]) -> pa.Table:
    rows = [{"seq": body.seq, "name": body.name, "text": body.text} for body in found]
    return pa.Table.from_pylist(rows, schema=BODIES)
