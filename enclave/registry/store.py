"""The registry's state: one sqlite file, every change in one transaction that is durable when it returns."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from enclave.core.errors import ConflictError, IntegrityError, UnavailableError

SCHEMA_VERSION: Final = 8
_SCHEMA: Final = """
create table if not exists meta (key text primary key, value text not null) strict;
create table projects (
    name text primary key, title text not null, purpose text not null,
    state text not null check (state in ('open', 'closed', 'frozen')),
    created_by text not null, created text not null
) strict;
create table members (
    project text not null references projects(name), person text not null, role text not null,
    added_by text not null, added text not null, primary key (project, person)
) strict;
create table versions (
    dataset text not null, version integer not null check (version > 0), content_root text not null,
    state text not null check (state in ('candidate', 'released', 'withdrawn', 'shredded')),
    summary text not null, steward text not null, registered text not null, only_for text not null default '',
    primary key (dataset, version)
) strict;
create table determinations (
    id text primary key, dataset text not null, version integer not null, expert text not null,
    steward text not null, state text not null, text text not null, digest text not null,
    signature text, public_key text, drafted_by text not null, drafted text not null,
    changed text not null, reason text not null default '',
    foreign key (dataset, version) references versions(dataset, version)
) strict;
create index determinations_by_version on determinations(dataset, version, state);
create table releases (
    id text primary key, dataset text not null, version integer not null,
    project text not null references projects(name),
    state text not null check (state in ('requested', 'approved', 'refused', 'withdrawn')),
    certificate text not null references determinations(id),
    requested_by text not null, requested text not null,
    decided_by text not null default '', decided text not null default '', reason text not null default '',
    foreign key (dataset, version) references versions(dataset, version)
) strict;
create unique index one_open_release on releases(dataset, version, project)
    where state in ('requested', 'approved');
"""
_GRANTS: Final = """
create table grants (
    id text primary key, dataset text not null, version integer not null,
    project text not null references projects(name), person text not null,
    state text not null check (state in ('requested', 'active', 'refused', 'revoked', 'over')),
    until text not null default '', release text not null default '',
    requested_by text not null, requested text not null,
    decided_by text not null default '', decided text not null default '', reason text not null default '',
    foreign key (dataset, version) references versions(dataset, version)
) strict;
create unique index one_open_grant on grants(dataset, version, project, person)
    where state in ('requested', 'active');
"""
# Before there were grants an approved release opened the version for every member: who may open it today still may.
_GRANTS_OF_BEFORE: Final = """
insert into grants
    select lower(hex(randomblob(16))), r.dataset, r.version, r.project, m.person, 'active', '', r.id,
           r.requested_by, r.requested, r.decided_by, r.decided, 'By the release.'
    from releases r join members m using (project) where r.state = 'approved';
"""
_SAMPLES: Final = """
create table samples (
    dataset text not null, version integer not null, required integer not null check (required in (0, 1)),
    sample integer not null, waiting integer not null, unclean integer not null,
    verdict text not null default '' check (verdict in ('', 'yes', 'no')),
    decided_by text not null default '', decided text not null default '', reason text not null default '',
    primary key (dataset, version), foreign key (dataset, version) references versions(dataset, version)
) strict;
"""
# Versions from before reviews could be required: none was, and their pseudonyms are the dataset's.
_SAMPLES_OF_BEFORE: Final = """
alter table versions add column only_for text not null default '';
insert into samples (dataset, version, required, sample, waiting, unclean)
    select dataset, version, 0, 0, 0, 0 from versions;
"""
# A signature of before names no algorithm: it was Ed25519 with the key beside it.
_COUNTERSIGNATURES: Final = """
alter table determinations add column countersignature text;
update determinations set signature =
    '{"algorithm":"Ed25519","public_key":"' || public_key || '","value":"' || signature || '"}'
    where signature is not null;
alter table determinations drop column public_key;
"""
_SECURITY_KEYS: Final = """
create table security_keys (
    id text primary key, person text not null, public_key text not null, attested text not null,
    sign_count integer not null, label text not null, enrolled text not null, issued_by text not null,
    used text not null default ''
) strict;
create table enrolment_codes (
    id text primary key, person text not null unique, digest text not null, issued_by text not null,
    issued text not null, expires text not null, tries integer not null default 0
) strict;
create table step_ups (
    id text primary key, person text not null, nonce text not null, expires text not null
) strict;
"""
_REASSESSMENTS: Final = """
create table reassessments (
    certificate text not null references determinations(id), reason text not null, by_version integer not null,
    opened text not null, closed text not null default '', closed_by text not null default '',
    words text not null default '', software text not null default ''
) strict;
create unique index one_open_reassessment on reassessments(certificate, reason) where closed = '';
"""
_AGREEMENTS: Final = """
create table agreements (
    id text primary key, project text not null references projects(name), terms text not null, document text not null,
    state text not null check (state in ('recorded', 'in_force', 'refused', 'ended')),
    recorded_by text not null, recorded text not null, decided_by text not null default '',
    decided text not null default '', ended_by text not null default '', ended text not null default '',
    reason text not null default ''
) strict;
create index agreements_by_project on agreements(project, state);
"""
_SOFTWARE: Final = "alter table reassessments add column software text not null default '';"
_SINCE_5: Final = _REASSESSMENTS + _AGREEMENTS
_SINCE_4: Final = _SECURITY_KEYS + _SINCE_5
_SINCE_3: Final = _COUNTERSIGNATURES + _SINCE_4
_STEPS: Final = {  # layout found → what makes it the present one
    0: _SCHEMA + _GRANTS + _SAMPLES + _SINCE_3,
    1: f"{_SCHEMA.split(';')[0]};{_GRANTS}{_GRANTS_OF_BEFORE}{_SAMPLES}{_SAMPLES_OF_BEFORE}{_SINCE_3}",
    2: _SAMPLES + _SAMPLES_OF_BEFORE + _SINCE_3,
    3: _SINCE_3,
    4: _SINCE_4,
    5: _SINCE_5,
    6: _SOFTWARE + _AGREEMENTS,
    7: _AGREEMENTS,
}

Row = sqlite3.Row


class RegistryStore:
    """One connection that writes, one that reads: an act that waits for the ledger keeps no question waiting.

    Writers wait for each other; readers see committed states only, but inside of a transaction its own changes.
    """

    def __init__(self, path: Path) -> None:
        self._guard = threading.RLock()
        self._reading = threading.Lock()
        self._writer: int | None = None  # the thread whose transaction is open
        self._db = _connect(path)
        path.chmod(0o600)
        try:
            self._set_up()
            self._reader = _connect(path)
            self._reader.execute("pragma query_only=ON")
        except BaseException:
            self._db.close()
            raise

    def _set_up(self) -> None:
        try:
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "trusted_schema=OFF"):
                self._db.execute(f"pragma {pragma}")
            self._prepare()
        except sqlite3.OperationalError as error:
            raise _unavailable(error) from None
        except sqlite3.DatabaseError:
            raise IntegrityError(
                "registry state: wanted the database that registryd wrote, got other bytes; restore a backup"
            ) from None

    def _prepare(self) -> None:
        found = int(self._db.execute("pragma user_version").fetchone()[0])
        if found > SCHEMA_VERSION:
            raise ConflictError(
                f"registry state: wanted layout {SCHEMA_VERSION} or older, got {found}; use the newer release"
            )
        if found == SCHEMA_VERSION:
            return
        with self.transaction():
            for statement in _STEPS[found].split(";"):
                if statement.strip():
                    self._db.execute(statement)
            self._db.execute(f"pragma user_version = {SCHEMA_VERSION}")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; durable once the block has ended. Raises ``UnavailableError`` when it cannot be."""
        with self._guard:
            self._execute(self._db, "begin immediate")
            self._writer = threading.get_ident()
            try:
                yield
                self._execute(self._db, "commit")
            except BaseException:
                self._roll_back()
                raise
            finally:
                self._writer = None

    def _roll_back(self) -> None:
        """Sqlite has done so itself when the disk was full."""
        if self._db.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("rollback")

    def rows(self, sql: str, *values: Any) -> list[Row]:
        """All rows of a query."""
        if self._writer == threading.get_ident():
            return self._execute(self._db, sql, *values).fetchall()
        with self._reading:
            return self._execute(self._reader, sql, *values).fetchall()

    def row(self, sql: str, *values: Any) -> Row | None:
        """The first row of a query, or None."""
        found = self.rows(sql, *values)
        return found[0] if found else None

    def change(self, sql: str, *values: Any) -> int:
        """Runs one statement inside of a transaction; returns how many rows it touched."""
        with self._guard:
            return self._execute(self._db, sql, *values).rowcount

    def close(self) -> None:
        """Ends the connections; what was committed stays."""
        with self._guard, self._reading:
            self._reader.close()
            self._db.close()

    @staticmethod
    def _execute(db: sqlite3.Connection, sql: str, *values: Any) -> sqlite3.Cursor:
        try:
            return db.execute(sql, values)
        except sqlite3.IntegrityError:
            raise ConflictError(
                "registry: wanted something new or something that fits, got what exists already"
            ) from None
        except sqlite3.Error as error:
            raise _unavailable(error) from None


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
    db.row_factory = sqlite3.Row
    return db


def _unavailable(error: sqlite3.Error) -> UnavailableError:
    return UnavailableError(
        f"registry state: wanted it to be read and written, got {type(error).__name__}; is the disk full?"
    )
