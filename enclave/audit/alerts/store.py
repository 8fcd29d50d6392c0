"""The watch's own table of alerts, what waits to be sent, drills and signatures: SQLite, synchronous FULL.

Ids, counts and codes only; the words of a resolution or a review are bodies in the ledger.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from enclave.audit.alerts.model import Alert, Delivered, DrillRecord, Hit, Signature, Waiting
from enclave.core.errors import NotFoundError
from enclave.runtime.database import Database

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS alert (
  number INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, rule TEXT NOT NULL, severity TEXT NOT NULL,
  subject TEXT NOT NULL, key TEXT NOT NULL, value REAL NOT NULL, first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL,
  events INTEGER NOT NULL, moment TEXT NOT NULL, drill TEXT NOT NULL, opened TEXT NOT NULL, state TEXT NOT NULL,
  acknowledged_by TEXT NOT NULL, acknowledged TEXT NOT NULL, resolved_by TEXT NOT NULL, resolved TEXT NOT NULL,
  verdict TEXT NOT NULL, UNIQUE (rule, subject, key, drill)
) STRICT;
CREATE INDEX IF NOT EXISTS alert_state ON alert (state);
CREATE TABLE IF NOT EXISTS waiting (
  number INTEGER PRIMARY KEY AUTOINCREMENT, channel TEXT NOT NULL, alert TEXT NOT NULL, change TEXT NOT NULL,
  line TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS delivery (
  alert TEXT NOT NULL, change TEXT NOT NULL, channel TEXT NOT NULL, at TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS delivery_alert ON delivery (alert);
CREATE TABLE IF NOT EXISTS drill (
  id TEXT PRIMARY KEY, started TEXT NOT NULL, person TEXT NOT NULL, rules TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS signature (
  period TEXT NOT NULL, person TEXT NOT NULL, at TEXT NOT NULL, size INTEGER NOT NULL, root TEXT NOT NULL,
  acted INTEGER NOT NULL, PRIMARY KEY (period, person)
) STRICT;
CREATE TABLE IF NOT EXISTS mark (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
"""
_HIT: Final = ("subject", "key", "value", "first_seq", "last_seq", "events", "moment", "drill")
_OWN: Final = (
    *("id", "rule", "severity", "opened", "state", "acknowledged_by", "acknowledged"),
    *("resolved_by", "resolved", "verdict"),
)


class AlertStore(Database):
    """All alerts of one enclave. Thread-safe; one transaction at a time."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, schema=_SCHEMA, subject="alerts", code="watch_storage")

    # ── alerts ──────────────────────────────────────────────────────────────

    def knows(self, rule: str, hit: Hit) -> bool:
        """Whether this was told before."""
        sql = "SELECT 1 FROM alert WHERE rule = ? AND subject = ? AND key = ? AND drill = ?"
        return bool(self._rows(sql, (rule, hit.subject, hit.key, hit.drill)))

    def put(self, alert: Alert) -> None:
        """A new alert, or the new state of a known one."""
        values = {name: getattr(alert.hit, name) for name in _HIT} | {name: getattr(alert, name) for name in _OWN}
        columns, places = ", ".join(values), ", ".join("?" for _ in values)
        changed = ", ".join(f"{name} = excluded.{name}" for name in _OWN if name not in ("id", "rule", "opened"))
        sql = f"INSERT INTO alert ({columns}) VALUES ({places}) ON CONFLICT (id) DO UPDATE SET {changed}"  # noqa: S608 - column names of this module
        with self._guard:
            self._db.execute(sql, tuple(values.values()))

    def find(self, alert_id: str) -> Alert:
        """Raises ``NotFoundError``."""
        rows = self._rows("SELECT * FROM alert WHERE id = ?", (alert_id,))
        if not rows:
            raise NotFoundError("alert: wanted one of this id, got none; `enclave audit alerts list` has all")
        return _alert(rows[0])

    def alerts(self, *, state: str = "", rule: str = "", drill: str | None = None, limit: int = 500) -> list[Alert]:
        """The newest first; '' is any state and any rule, ``drill`` None any or no drill."""
        sql = (
            "SELECT * FROM alert WHERE (? = '' OR state = ?) AND (? = '' OR rule = ?) AND (? IS NULL OR drill = ?) "
            "ORDER BY number DESC LIMIT ?"
        )
        return [_alert(row) for row in self._rows(sql, (state, state, rule, rule, drill, drill, limit))]

    def counts(self) -> list[tuple[str, str, str, bool, int]]:
        """Rule, severity, state, whether of drills, how many."""
        sql = "SELECT rule, severity, state, drill <> '', count(*) FROM alert GROUP BY 1, 2, 3, 4"
        return [(row[0], row[1], row[2], bool(row[3]), row[4]) for row in self._rows(sql, ())]

    # ── what waits to be sent ───────────────────────────────────────────────

    def queue(self, channel: str, *, alert: str, change: str, line: str) -> None:
        """One line for a receiver."""
        sql = "INSERT INTO waiting (channel, alert, change, line) VALUES (?, ?, ?, ?)"
        with self._guard:
            self._db.execute(sql, (channel, alert, change, line))

    def waiting(self, channel: str, *, limit: int = 100) -> list[Waiting]:
        """The oldest first."""
        sql = "SELECT number, channel, alert, change, line FROM waiting WHERE channel = ? ORDER BY number LIMIT ?"
        return [Waiting(*row) for row in self._rows(sql, (channel, limit))]

    def waiting_count(self, channel: str) -> int:
        """How many lines wait."""
        return int(self._rows("SELECT count(*) FROM waiting WHERE channel = ?", (channel,))[0][0])

    def sent(self, lines: Sequence[Waiting], *, at: str) -> None:
        """They went out."""
        with self.transaction():
            for one in lines:
                self._db.execute("DELETE FROM waiting WHERE number = ?", (one.number,))
                self._db.execute("INSERT INTO delivery VALUES (?, ?, ?, ?)", (one.alert, one.change, one.channel, at))

    def deliveries(self, alert: str) -> list[Delivered]:
        """What of an alert went where, oldest first."""
        sql = "SELECT alert, change, channel, at FROM delivery WHERE alert = ? ORDER BY at"
        return [Delivered(*row) for row in self._rows(sql, (alert,))]

    # ── drills, signatures, marks ───────────────────────────────────────────

    def put_drill(self, drill: DrillRecord) -> None:
        """A drill that begins."""
        with self._guard:
            values = (drill.id, drill.started, drill.person, ",".join(drill.rules))
            self._db.execute("INSERT INTO drill VALUES (?, ?, ?, ?)", values)

    def drills(self, *, limit: int = 20) -> list[DrillRecord]:
        """The newest first."""
        rows = self._rows("SELECT * FROM drill ORDER BY started DESC LIMIT ?", (limit,))
        return [DrillRecord(row[0], row[1], row[2], tuple(row[3].split(","))) for row in rows]

    def sign(self, signature: Signature) -> None:
        """A name under a week."""
        values = (signature.period, signature.person, signature.at, signature.size, signature.root, signature.acted)
        with self._guard:
            self._db.execute("INSERT INTO signature VALUES (?, ?, ?, ?, ?, ?)", values)

    def signatures(self) -> list[Signature]:
        """All, oldest first."""
        rows = self._rows("SELECT period, person, at, size, root, acted FROM signature ORDER BY at", ())
        return [Signature(row[0], row[1], row[2], row[3], row[4], bool(row[5])) for row in rows]

    def mark(self, name: str) -> int:
        """A number that was kept, -1 without one."""
        rows = self._rows("SELECT value FROM mark WHERE name = ?", (name,))
        return int(rows[0][0]) if rows else -1

    def set_mark(self, name: str, value: int) -> None:
        """Keeps a number."""
        sql = "INSERT INTO mark VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
        with self._guard:
            self._db.execute(sql, (name, value))


def _alert(row: sqlite3.Row) -> Alert:
    hit = Hit(**{name: row[name] for name in _HIT})
    return Alert(hit=hit, **{name: row[name] for name in _OWN})
