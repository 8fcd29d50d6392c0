"""A daemon's own state in one SQLite file: what was answered is on the disk, a change is whole or not at all."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from enclave.core.errors import UnavailableError


class Database:
    """One file with a write-ahead log, ``synchronous=FULL`` and foreign keys. Thread-safe; one transaction at a time.

    Stores of a daemon are subclasses. ``subject`` and ``code`` are what an error of the disk is told under.
    """

    def __init__(self, path: Path, *, schema: str, subject: str, code: str) -> None:
        """``schema`` is SQL that may be run on a file that has it already."""
        self._subject, self._code = subject, code
        self._guard = threading.RLock()
        self._depth = 0
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        for setting in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            self._db.execute(f"PRAGMA {setting}")
        self._db.executescript(schema)

    def close(self) -> None:
        """Ends the connection."""
        with self._guard:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing: an error inside, such as a missing receipt, undoes every change.

        One inside another is part of it. Raises ``UnavailableError`` when the disk refuses.
        """
        with self._guard:
            if self._depth:
                yield
                return
            self._depth += 1
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._db.execute("COMMIT")
            except sqlite3.OperationalError:
                self._undo()
                raise UnavailableError(
                    f"{self._subject}: wanted to write the state, got a storage error; "
                    "an operator must look at the disk",
                    code=self._code,
                ) from None
            except BaseException:
                self._undo()
                raise
            finally:
                self._depth -= 1

    def _undo(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _rows(self, sql: str, values: tuple[Any, ...]) -> list[Any]:
        with self._guard:
            return self._db.execute(sql, values).fetchall()
