"""The ledger and two databases that could stand in its place, each made durable before an append returns.

The databases get the same canonical JSON and a unique id, in a transaction per event: no tree, no checkpoint, no check
of the kind, which all of ours do.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb

from benchmarks.audit.load import Append
from enclave.audit.checkpoint import VerifierKey
from enclave.audit.client import AuditClient
from enclave.audit.daemon import log_origin
from enclave.audit.event import Event, event_to_json
from enclave.audit.ledger import Ledger
from enclave.audit.vocabulary import check_kind
from enclave.core.canonical import canonical_bytes
from enclave.keys.box import open_box
from enclave.keys.files import new_ed25519, new_symmetric
from enclave.keys.sign import open_signer
from enclave.keys.uri import file_uri
from enclave.keys.verify import verify_ed25519
from enclave.runtime.clock import SystemClock
from enclave.runtime.home import HOME_FORMAT, Home
from enclave.runtime.log import Log

Ways = Callable[[int], Append]
NO_QUOTA = "[audit]\nquota_events_per_s = 1e9\nquota_burst = 1000000000\nquota_mib_per_day = 1000000\n"
TABLE = "CREATE TABLE IF NOT EXISTS records (seq INTEGER PRIMARY KEY, id TEXT UNIQUE, record TEXT)"


def make_home(root: Path, *, settings: str = "") -> Home:
    """An enclave home with the ledger's keys only."""
    home = Home(root)
    (root / "keys").mkdir(parents=True, mode=0o700)
    home.settings_file.write_text(settings, "utf-8")
    home.format_file.write_text(f"{HOME_FORMAT}\n", "ascii")
    new_ed25519(home.key_file("audit-checkpoint"))
    for name in ("audit-body", "audit-store"):
        new_symmetric(home.key_file(name))
    return home


@contextlib.contextmanager
def ledger(folder: Path) -> Iterator[Ways]:
    """The engine without its socket."""
    home = make_home(folder / "home")
    store = home.state("audit")
    store.mkdir(mode=0o700)
    signer = open_signer(file_uri(home.key_file("audit-checkpoint")))
    opened = Ledger(
        store,
        key=VerifierKey(log_origin(store), signer.public_key),
        sign=signer.sign,
        verify=verify_ed25519,
        box=open_box(file_uri(home.key_file("audit-body"))),
        clock=SystemClock(),
        log=Log("benchmark"),
    )
    yield lambda _client: lambda event: opened.append(check_kind(event))
    opened.close()


@contextlib.contextmanager
def daemon(home: Home) -> Iterator[subprocess.Popen[bytes]]:
    """`enclave-auditd` as a process, listening; ended in order unless it was killed before."""
    home.socket("auditd").unlink(missing_ok=True)
    child = subprocess.Popen(
        [sys.executable, "-m", "enclave.cli.auditd", "--home", str(home.root)], stderr=subprocess.DEVNULL
    )
    try:
        while not home.socket("auditd").exists():
            if child.poll() is not None:
                raise RuntimeError("auditd did not start")
            time.sleep(0.02)
        yield child
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
        child.wait(60)


@contextlib.contextmanager
def sqlite(folder: Path) -> Iterator[Ways]:
    """SQLite with its write-ahead log and ``synchronous=FULL``: an fsync per commit."""
    path = folder / "records.sqlite"
    sqlite_way(path)
    yield lambda _client: sqlite_way(path)


def sqlite_way(path: Path) -> Append:
    """A connection of one's own, as every client of SQLite has."""
    engine = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
    engine.execute("PRAGMA journal_mode=WAL")
    engine.execute("PRAGMA synchronous=FULL")
    engine.execute(TABLE)

    def append(event: Event) -> None:
        record = canonical_bytes(event_to_json(event)).decode()
        engine.execute("INSERT INTO records (id, record) VALUES (?, ?)", (event.id, record))

    return append


@contextlib.contextmanager
def duckdb_direct(folder: Path) -> Iterator[Ways]:
    """DuckDB, a transaction per event; one process, a cursor per client."""
    engine = duckdb.connect(folder / "records.duckdb")
    engine.execute("CREATE SEQUENCE seqs")
    engine.execute("CREATE TABLE records (seq BIGINT DEFAULT nextval('seqs'), id TEXT PRIMARY KEY, record TEXT)")

    def make(_client: int) -> Append:
        cursor = engine.cursor()

        def append(event: Event) -> None:
            record = canonical_bytes(event_to_json(event)).decode()
            cursor.execute("INSERT INTO records (id, record) VALUES (?, ?)", (event.id, record))

        return append

    yield make
    engine.close()


def way_of(contender: str, place: str) -> Append:
    """How a client process appends: over the daemon's socket, or into the file of SQLite."""
    if contender == "sqlite":
        return sqlite_way(Path(place))
    client = AuditClient(Path(place), deadline_s=30)
    return client.append


def kill(child: subprocess.Popen[bytes]) -> None:
    """Ends a daemon as a crash would."""
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
