"""The queue of runs: it survives a restart, and holds names, states and digests, never a value from the data."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from enclave.core.canonical import canonical_bytes, parse_json
from enclave.core.clock import format_time, parse_time
from enclave.core.errors import NotFoundError
from enclave.reports.schedule import Entry

State = Literal["queued", "running", "done", "failed"]
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, entry TEXT NOT NULL, notebook TEXT NOT NULL, project TEXT NOT NULL, dataset TEXT NOT NULL,
    asked_by TEXT NOT NULL, state TEXT NOT NULL, queued TEXT NOT NULL, finished TEXT NOT NULL DEFAULT '',
    message TEXT NOT NULL DEFAULT '', attempts INTEGER NOT NULL DEFAULT 0,
    sha256 TEXT NOT NULL DEFAULT '', size_bytes INTEGER NOT NULL DEFAULT 0, parameters TEXT NOT NULL DEFAULT '{}'
) STRICT;
CREATE TABLE IF NOT EXISTS entries (name TEXT PRIMARY KEY, first_seen TEXT NOT NULL) STRICT;
"""
_COLUMNS: Final = (
    "id, entry, notebook, project, dataset, asked_by, state, queued, finished, message, attempts, sha256, size_bytes, "
    "parameters"
)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one entry. ``sha256`` and ``size_bytes`` are those of its page once it is done."""

    id: str
    entry: str
    notebook: str
    project: str
    dataset: str
    asked_by: str
    state: State
    queued: str
    finished: str
    message: str
    attempts: int
    sha256: str
    size_bytes: int
    parameters: Mapping[str, str]


class RunStore:
    """Runs in SQLite with full synchronisation: what was answered is on the disk. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self._guard = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        path.chmod(0o600)
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Ends the connection."""
        with self._guard:
            self._db.close()

    def add(self, run_id: str, entry: Entry, *, asked_by: str, at: datetime) -> Run:
        """Queues a run of ``entry``."""
        parameters = canonical_bytes(dict(entry.parameters)).decode("utf-8")
        names = (run_id, entry.name, entry.notebook, entry.project, entry.dataset)
        with self._transaction() as db:
            db.execute(
                "INSERT INTO runs (id, entry, notebook, project, dataset, asked_by, state, queued, parameters) "
                "VALUES (?, ?, ?, ?, ?, ?, 'queued', ?, ?)",
                (*names, asked_by, format_time(at), parameters),
            )
        return self.get(run_id)

    def get(self, run_id: str) -> Run:
        """The run; raises ``NotFoundError``."""
        found = self._select("WHERE id = ?", run_id)
        if not found:
            raise NotFoundError("report run: wanted one that exists, got another id; `enclave report list` names them")
        return found[0]

    def all(self) -> tuple[Run, ...]:
        """Every run, newest first."""
        return self._select("ORDER BY queued DESC, id")

    def waiting(self) -> tuple[Run, ...]:
        """Queued runs, oldest first."""
        return self._select("WHERE state = 'queued' ORDER BY queued, id")

    def unfinished(self, entry: str) -> Run | None:
        """The queued or running run of an entry, if there is one."""
        found = self._select("WHERE entry = ? AND state IN ('queued', 'running') ORDER BY queued LIMIT 1", entry)
        return found[0] if found else None

    def due_since(self, entry: str, *, at: datetime) -> datetime:
        """When the entry's last run was queued; else when the entry was first seen, which is now at the latest."""
        with self._transaction() as db:
            db.execute("INSERT OR IGNORE INTO entries (name, first_seen) VALUES (?, ?)", (entry, format_time(at)))
            last = db.execute("SELECT max(queued) FROM runs WHERE entry = ?", (entry,)).fetchone()[0]
            first = db.execute("SELECT first_seen FROM entries WHERE name = ?", (entry,)).fetchone()[0]
        return parse_time(last or first)

    def begin(self, run_id: str) -> None:
        """The run starts: one attempt more."""
        with self._transaction() as db:
            db.execute("UPDATE runs SET state = 'running', attempts = attempts + 1 WHERE id = ?", (run_id,))

    def put_back(self, run_id: str, *, message: str) -> None:
        """The run could not start or was cut off: it waits for its next attempt."""
        with self._transaction() as db:
            db.execute("UPDATE runs SET state = 'queued', message = ? WHERE id = ?", (message, run_id))

    def finish(
        self, run_id: str, *, state: State, at: datetime, message: str, sha256: str = "", size_bytes: int = 0
    ) -> None:
        """The run is over."""
        with self._transaction() as db:
            db.execute(
                "UPDATE runs SET state = ?, finished = ?, message = ?, sha256 = ?, size_bytes = ? WHERE id = ?",
                (state, format_time(at), message, sha256, size_bytes, run_id),
            )

    def recover(self) -> int:
        """After a restart: what was running waits again; returns how many."""
        with self._transaction() as db:
            return db.execute(
                "UPDATE runs SET state = 'queued', message = 'cut off by a restart; it runs again' "
                "WHERE state = 'running'"
            ).rowcount

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._guard:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _select(self, tail: str, *values: str) -> tuple[Run, ...]:
        with self._guard:
            rows = self._db.execute(f"SELECT {_COLUMNS} FROM runs {tail}", values).fetchall()  # noqa: S608 - own text
        return tuple(Run(*(*row[:-1], parse_json(row[-1]))) for row in rows)
