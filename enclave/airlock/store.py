"""The state of all egress requests: SQLite, synchronous FULL; what people wrote is sealed inside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from enclave.airlock.states import STATES, Act, Choice, State, VoteCast, is_final, next_state
from enclave.core.canonical import canonical_bytes, parse_json
from enclave.core.errors import NotFoundError
from enclave.keys.box import Box
from enclave.runtime.database import Database
from enclave.wire.messages.schema import Json, from_json, to_json

_SCHEMA = """
CREATE TABLE IF NOT EXISTS request (
  id TEXT PRIMARY KEY, project TEXT NOT NULL, author TEXT NOT NULL, state TEXT NOT NULL,
  round INTEGER NOT NULL, submitted TEXT NOT NULL, verdict TEXT NOT NULL, sealed BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS request_state ON request (state);
CREATE TABLE IF NOT EXISTS vote (
  request TEXT NOT NULL REFERENCES request (id), round INTEGER NOT NULL, checker TEXT NOT NULL,
  choice TEXT NOT NULL, at TEXT NOT NULL, sealed BLOB NOT NULL, PRIMARY KEY (request, round, checker)
) STRICT;
CREATE TABLE IF NOT EXISTS step (
  request TEXT NOT NULL REFERENCES request (id), number INTEGER NOT NULL, at TEXT NOT NULL,
  act TEXT NOT NULL, state TEXT NOT NULL, round INTEGER NOT NULL, PRIMARY KEY (request, number)
) STRICT;
CREATE TABLE IF NOT EXISTS listener (
  kernel TEXT PRIMARY KEY, person TEXT NOT NULL, role TEXT NOT NULL, project TEXT NOT NULL,
  directory TEXT NOT NULL, uid INTEGER NOT NULL
) STRICT;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """One frozen file and what the check said."""

    name: str
    sha256: str
    size_bytes: int
    type: str = "unknown"
    verdict: str = ""
    findings: tuple[Json, ...] = ()
    checks_not_run: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """What may hold values from the data: it is kept sealed."""

    title: str
    purpose: str
    description: str
    files: tuple[FileRecord, ...]
    kernel: str = ""
    cell: str = ""
    manifest: str = ""
    signature: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One egress request."""

    id: str
    project: str
    author: str
    state: State
    round: int
    submitted: str
    verdict: str
    text: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteRecord:
    """One vote with its reason."""

    cast: VoteCast
    at: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerRecord:
    """The binding of one kernel's submit socket; kept so that a restart opens it again."""

    kernel: str
    person: str
    role: str
    project: str
    directory: str
    uid: int


class Store(Database):
    """All requests of one airlock. Thread-safe; one transaction at a time."""

    def __init__(self, path: Path, box: Box) -> None:
        super().__init__(path, schema=_SCHEMA, subject="airlock", code="airlock_storage")
        self._box = box

    def add(self, record: Record, *, at: str) -> None:
        """A new request."""
        with self.transaction():
            self._db.execute(
                "INSERT INTO request VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    record.id,
                    record.project,
                    record.author,
                    record.state,
                    record.round,
                    record.submitted,
                    record.verdict,
                    self._seal(record.id, to_json(record.text)),
                ),
            )
            self._step(record, act="submit", at=at)

    def move(self, record: Record, act: Act, *, at: str) -> Record:
        """``record`` after ``act``, kept; raises ``ConflictError`` when the act leads nowhere."""
        moved = replace(record, state=next_state(record.state, act))
        with self.transaction():
            self._db.execute(
                "UPDATE request SET state = ?, round = ?, submitted = ?, verdict = ?, sealed = ? WHERE id = ?",
                (
                    moved.state,
                    moved.round,
                    moved.submitted,
                    moved.verdict,
                    self._seal(moved.id, to_json(moved.text)),
                    moved.id,
                ),
            )
            self._step(moved, act=act, at=at)
        return moved

    def find(self, request_id: str) -> Record:
        """The request; raises ``NotFoundError``."""
        found = self._select("WHERE id = ?", (request_id,))
        if not found:
            raise NotFoundError("egress request: wanted one that you may see, got none of this id")
        return found[0]

    def all(self) -> list[Record]:
        """Every request, newest first."""
        return self._select("ORDER BY submitted DESC, id", ())

    def of_author(self, author: str, *, project: str) -> list[Record]:
        """One person's requests in one project, newest first."""
        return self._select("WHERE author = ? AND project = ? ORDER BY submitted DESC, id", (author, project))

    def count_open(self, author: str) -> int:
        """How many of one person's requests have not come to an end."""
        final = [state for state in STATES if is_final(state)]
        marks = ", ".join("?" for _ in final)
        # ``marks`` is question marks only; values are bound.
        sql = f"SELECT count(*) FROM request WHERE author = ? AND state NOT IN ({marks})"  # noqa: S608 - see above
        return int(self._rows(sql, (author, *final))[0][0])

    def in_states(self, states: Sequence[State]) -> list[Record]:
        """The requests in these states, oldest first."""
        marks = ", ".join("?" for _ in states)
        return self._select(f"WHERE state IN ({marks}) ORDER BY submitted, id", tuple(states))

    def add_vote(self, request_id: str, cast: VoteCast, *, reason: str, at: str) -> None:
        """One more vote; the primary key refuses a second one of the same checker in the round."""
        with self.transaction():
            self._db.execute(
                "INSERT INTO vote VALUES (?, ?, ?, ?, ?, ?)",
                (request_id, cast.round, cast.checker, cast.choice, at, self._seal(request_id, {"reason": reason})),
            )

    def votes(self, request_id: str) -> list[VoteRecord]:
        """All votes, oldest first."""
        rows = self._rows(
            "SELECT round, checker, choice, at, sealed FROM vote WHERE request = ? ORDER BY at, checker", (request_id,)
        )
        return [
            VoteRecord(
                cast=VoteCast(checker=checker, choice=_choice(choice), round=number),
                at=at,
                reason=str(self._unseal(request_id, sealed)["reason"]),
            )
            for number, checker, choice, at, sealed in rows
        ]

    def steps(self, request_id: str) -> list[dict[str, Any]]:
        """What happened, oldest first: time, act, state after it, round. Single votes are not steps."""
        rows = self._rows("SELECT at, act, state, round FROM step WHERE request = ? ORDER BY number", (request_id,))
        return [{"at": at, "act": act, "state": state, "round": number} for at, act, state, number in rows]

    def released(self, request_id: str) -> str:
        """When it was released (RFC 3339), '' when it was not."""
        rows = self._rows("SELECT max(at) FROM step WHERE request = ? AND act = 'release'", (request_id,))
        return str(rows[0][0] or "")

    def put_listener(self, record: ListenerRecord) -> None:
        """Remembers the binding of a kernel."""
        with self.transaction():
            values = (record.kernel, record.person, record.role, record.project, record.directory, record.uid)
            self._db.execute("INSERT OR REPLACE INTO listener VALUES (?, ?, ?, ?, ?, ?)", values)

    def drop_listener(self, kernel: str) -> None:
        """Forgets it."""
        with self.transaction():
            self._db.execute("DELETE FROM listener WHERE kernel = ?", (kernel,))

    def listeners(self) -> list[ListenerRecord]:
        """All bindings."""
        rows = self._rows("SELECT kernel, person, role, project, directory, uid FROM listener", ())
        return [ListenerRecord(kernel=k, person=p, role=r, project=j, directory=d, uid=u) for k, p, r, j, d, u in rows]

    def _select(self, clause: str, values: tuple[str, ...]) -> list[Record]:
        columns = "id, project, author, state, round, submitted, verdict, sealed"
        # ``clause`` is one of our own literals above; values are bound.
        rows = self._rows(f"SELECT {columns} FROM request {clause}", values)  # noqa: S608 - see the line above
        return [
            Record(
                id=i,
                project=p,
                author=a,
                state=s,
                round=n,
                submitted=t,
                verdict=v,
                text=from_json(Text, self._unseal(i, sealed)),
            )
            for i, p, a, s, n, t, v, sealed in rows
        ]

    def _step(self, record: Record, *, act: str, at: str) -> None:
        self._db.execute(
            "INSERT INTO step SELECT ?, 1 + count(*), ?, ?, ?, ? FROM step WHERE request = ?",
            (record.id, at, act, record.state, record.round, record.id),
        )

    def _seal(self, request_id: str, value: dict[str, Any]) -> bytes:
        return self._box.seal(canonical_bytes(value), context=_context(request_id))

    def _unseal(self, request_id: str, sealed: bytes) -> Any:
        return parse_json(self._box.open(sealed, context=_context(request_id)))


def _context(request_id: str) -> bytes:
    return b"airlock request " + request_id.encode("ascii", "replace")


def _choice(text: str) -> Choice:
    if text == "approve":
        return "approve"
    return "return" if text == "return" else "reject"
