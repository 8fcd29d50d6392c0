"""The query store: DuckDB, encrypted by its own AES-256-GCM (its write-ahead log too), never the truth.

DuckDB 1.5 writes encrypted files only with the cryptography that its ``httpfs`` extension carries; the extension comes
as a wheel and is loaded from its file, so nothing is ever fetched. After opening, the engine can reach no file or
address any more and its configuration is locked.
"""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import math
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from enclave.audit.one_select import one_select
from enclave.audit.pairing import OpenCells
from enclave.audit.views import END_CELLS, INGEST, INGEST_ACTS, INGEST_CELLS, OPEN_CELLS, SCHEMA, TABLES, VIEWS
from enclave.core.canonical import canonical_bytes
from enclave.core.clock import format_time
from enclave.core.errors import EnclaveError, IntegrityError, InvalidError, UnavailableError
from enclave.core.secret import Secret
from enclave.wire.messages.audit import Rows

MAX_REPLY_BYTES = 900_000  # what fits a frame of the wire with its envelope
_TOLD = (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException)  # they quote the SQL, never a value


class QueryStore:
    """One encrypted database file, open in this process alone (see ``store_process``). Thread-safe."""

    def __init__(self, path: Path, *, key: Secret, memory_mib: int = 512, threads: int = 2) -> None:
        """Opens or makes the file; raises ``IntegrityError`` when it cannot be read with this key."""
        self._write_guard = threading.Lock()
        self._engine = duckdb.connect(
            ":memory:", config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
        )
        try:
            self._open(path, key, memory_mib, threads)
        except duckdb.Error:
            self._engine.close()
            raise IntegrityError(
                "query store: wanted a database of this key, got none; it is built again from the segments",
                code="query_store_damaged",
            ) from None

    def _open(self, path: Path, key: Secret, memory_mib: int, threads: int) -> None:
        engine = self._engine
        engine.execute(f"LOAD '{_quoted(str(extension_file()))}'")
        secret = base64.b64encode(key.reveal()).decode()
        engine.execute(f"ATTACH '{_quoted(str(path))}' AS ledger (ENCRYPTION_KEY '{secret}', ENCRYPTION_CIPHER 'GCM')")
        engine.execute("USE ledger")
        if not engine.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = 'state'").fetchall():
            with _transaction(engine):
                engine.execute(TABLES + VIEWS)
                engine.execute("INSERT INTO state VALUES (0, ?)", [SCHEMA])
        if engine.execute("SELECT schema FROM state").fetchall() != [(SCHEMA,)]:
            raise duckdb.CatalogException("another schema")
        self._cells = OpenCells.of(engine.execute(OPEN_CELLS).fetchall())
        for setting in (
            f"memory_limit = '{memory_mib}MiB'",
            f"threads = {threads}",
            "temp_directory = ''",  # a spill would lie on the disk unencrypted
            "TimeZone = 'UTC'",
            "python_enable_replacements = false",
            "enable_external_access = false",
            "lock_configuration = true",
        ):
            engine.execute(f"SET GLOBAL {setting}")

    def high_water(self) -> int:
        """How many records are in."""
        with self._write_guard:
            row = self._engine.execute("SELECT high_water FROM state").fetchone()
        return int(row[0]) if row else 0

    def newest(self) -> tuple[int, bytes] | None:
        """Number and leaf hash of the newest record; None without one."""
        with self._write_guard:
            row = self._engine.execute("SELECT seq, leaf_hash FROM records ORDER BY seq DESC LIMIT 1").fetchone()
        return (int(row[0]), bytes(row[1])) if row else None

    def add(self, records: pa.Table, bodies: pa.Table, *, high_water: int) -> None:
        """Adds one batch and moves the high-water mark in the same transaction: each record is in exactly once."""
        try:
            with self._write_guard:
                paired, cells = self._cells.pair(records)
                with _transaction(self._engine):
                    self._insert(paired, bodies, high_water)
                self._cells = cells
        except duckdb.Error as error:
            raise _told(error) from None

    def _insert(self, records: pa.Table, bodies: pa.Table, high_water: int) -> None:
        engine = self._engine
        engine.register("batch_records", records)
        engine.register("batch_bodies", bodies)
        first = records["seq"][0].as_py() if records.num_rows else high_water
        engine.execute(INGEST)
        engine.execute(INGEST_ACTS, [first])
        engine.execute(INGEST_CELLS)
        engine.execute(END_CELLS, [first])
        if bodies.num_rows:
            engine.execute("INSERT INTO bodies SELECT * FROM batch_bodies")
        engine.execute("UPDATE state SET high_water = ?", [high_water])
        engine.unregister("batch_records")
        engine.unregister("batch_bodies")

    def query(self, sql: str, *, limit: int, timeout_s: float) -> Rows:
        """The rows of one SELECT; raises ``InvalidError`` for anything else, ``UnavailableError`` past its limits."""
        cursor = self._engine.cursor()
        timer = threading.Timer(timeout_s, cursor.interrupt)
        try:
            timer.start()
            text = one_select(sql, engine=cursor)
            cursor.execute("USE ledger")
            cursor.execute("BEGIN TRANSACTION READ ONLY")
            cursor.execute(f"SELECT * FROM (\n{text}\n) LIMIT {limit + 1:d}")  # noqa: S608 - parsed above as one SELECT
            columns = tuple(str(column[0]) for column in cursor.description or ())
            found = cursor.fetchall()
        except duckdb.Error as error:
            raise _told(error) from None
        except UnicodeDecodeError:  # an error of the engine's whose text is none
            words = "audit query: wanted a query that runs inside the store, got another"
            raise InvalidError(words, code="bad_query") from None
        finally:
            timer.cancel()
            cursor.close()
        return _rows(columns, found, limit)

    def close(self) -> None:
        """Folds the write-ahead log in and closes the file."""
        with self._write_guard:
            with contextlib.suppress(duckdb.Error):
                self._engine.execute("CHECKPOINT ledger")
            self._engine.close()


def extension_file() -> Path:
    """The extension's file inside its wheel; raises ``UnavailableError`` when the wheel is of another DuckDB."""
    spec = importlib.util.find_spec("duckdb_extension_httpfs")
    root = Path(spec.origin or "").parent if spec else Path("missing")
    path = root / "extensions" / f"v{duckdb.__version__}" / "httpfs.duckdb_extension"
    if not path.is_file():
        raise UnavailableError(
            f"query store: wanted the httpfs wheel of DuckDB {duckdb.__version__}, got another; install the locked ones"
        )
    return path


@contextlib.contextmanager
def _transaction(engine: duckdb.DuckDBPyConnection) -> Iterator[None]:
    engine.execute("BEGIN TRANSACTION")
    try:
        yield
        engine.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(duckdb.Error):
            engine.execute("ROLLBACK")
        raise


def _told(error: duckdb.Error) -> EnclaveError:
    if isinstance(error, duckdb.InterruptException):
        return UnavailableError("audit query: wanted an answer in time, got none; ask for less", code="query_timeout")
    if isinstance(error, duckdb.ConnectionException):
        return UnavailableError("audit query: wanted the query store open, it is being built again; try again later")
    if isinstance(error, duckdb.OutOfMemoryException):
        return UnavailableError(
            "audit query: wanted less memory, got past the limit; ask for less", code="query_memory"
        )
    if isinstance(error, _TOLD):
        return InvalidError(f"audit query: wanted SQL that fits the views, got: {error}", code="bad_query")
    words = f"audit query: wanted a query that runs inside the store, got {type(error).__name__}"
    return InvalidError(words, code="bad_query")


def _rows(columns: tuple[str, ...], found: list[tuple[Any, ...]], limit: int) -> Rows:
    rows: list[list[Any]] = []
    size = 0
    for row in found[:limit]:
        values = [_json(value) for value in row]
        size += len(canonical_bytes(values)) + 1
        if size > MAX_REPLY_BYTES:
            return Rows(columns=columns, rows=tuple(rows), truncated=True)
        rows.append(values)
    return Rows(columns=columns, rows=tuple(rows), truncated=len(found) > limit)


def _json(value: Any) -> Any:
    """A value of DuckDB's as JSON; times as RFC 3339 text, what JSON has no form for as text."""
    for kinds, spell in _SPELLINGS:
        if isinstance(value, kinds):
            return spell(value)
    return str(value)


_SPELLINGS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    ((type(None), bool, int, str), lambda value: value),
    (float, lambda value: value if math.isfinite(value) else None),  # NaN and infinity have no JSON
    (datetime, lambda value: format_time(value if value.tzinfo else value.replace(tzinfo=UTC))),
    (date, date.isoformat),
    ((list, tuple), lambda value: [_json(item) for item in value]),
    (dict, lambda value: {str(key): _json(item) for key, item in value.items()}),
    (timedelta, timedelta.total_seconds),
    (bytes, bytes.hex),
    (Decimal, float),
)


def _quoted(text: str) -> str:
    return text.replace("'", "''")
