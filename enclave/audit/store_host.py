"""The ledger's side of the query store's process: starts it, feeds it, asks it, ends it when it does not answer."""

from __future__ import annotations

import base64
import contextlib
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from enclave.core.errors import UnavailableError
from enclave.core.secret import Secret
from enclave.wire.client import WireClient
from enclave.wire.messages.audit import Rows
from enclave.wire.messages.audit_store import AddBatch, AskStore, CloseStore, OpenStore, StoreMark

START_S = 30.0
FEED_S = 120.0  # a batch while hostile queries take all the time that they are given
GRACE_S = 2.0  # what a query gets beyond its own limit before the process is ended
GONE = "query_store_gone"
_PASSED_ON = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "TZ")
# Few arenas and no pool of its own: what one query needed is given back, and address space is not counted ahead.
_ALLOCATION = {"MALLOC_ARENA_MAX": "2", "ARROW_DEFAULT_MEMORY_POOL": "system"}


class StoreHost:
    """One store in one process of its own. Thread-safe once opened."""

    def __init__(self, path: Path, *, socket: Path, key: Secret, memory_mib: int) -> None:
        """Starts the process and opens the store; raises ``IntegrityError`` when it cannot be read with this key."""
        self._socket = socket
        self._child = _start(socket, memory_mib)
        self._feeder = WireClient(socket, timeout_s=FEED_S)
        try:
            secret = base64.b64encode(key.reveal()).decode()
            mark: StoreMark = self._feeder.call(OpenStore(path=str(path), key=secret), timeout_s=START_S + FEED_S)
        except BaseException:
            self.kill()
            raise
        self._mark = mark.high_water
        self.newest = mark.newest  # the number of the newest record when it was opened, -1 without one
        self.newest_leaf = bytes.fromhex(mark.leaf_hash)

    @property
    def pid(self) -> int:
        """The process."""
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._child.poll() is None

    def high_water(self) -> int:
        """How many records are in."""
        return self._mark

    def add(self, records: pa.Table, bodies: pa.Table, *, high_water: int) -> None:
        """Adds one batch exactly once; raises ``UnavailableError``: then the store has to be opened again."""
        with _memory(records) as first, _memory(bodies) as second:
            self._feeder.call_with_descriptors(AddBatch(high_water=high_water), descriptors=(first, second))
        self._mark = high_water

    def query(self, sql: str, *, limit: int, timeout_s: float) -> Rows:
        """The rows of one SELECT; raises ``InvalidError`` for anything else, ``UnavailableError`` past its limits.

        With the code ``query_store_gone`` the process ended meanwhile, not necessarily by this query.
        """
        client = WireClient(self._socket, timeout_s=timeout_s + GRACE_S)
        try:
            rows: Rows = client.call(AskStore(sql=sql, limit=limit, timeout_s=timeout_s))
        except UnavailableError as error:
            if error.code != UnavailableError.family:
                raise
            raise self._silent() from None
        finally:
            client.close()
        return rows

    def _silent(self) -> UnavailableError:
        """No answer: the process is gone, or it runs on and on and is ended now."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(0.2)
        if self.alive:
            self.kill()
            words = "audit query: wanted an answer in time, got none; ask for less"
            return UnavailableError(words, code="query_timeout")
        return UnavailableError("audit query: wanted an answer, the query store ended; try again", code=GONE)

    def close(self) -> None:
        """Folds the write-ahead log in and ends the process."""
        with contextlib.suppress(UnavailableError):
            self._feeder.call(CloseStore())
        self.kill()

    def kill(self) -> None:
        """Ends the process at once; what it had committed stays."""
        self._child.kill()
        self._child.wait()
        self._feeder.close()  # after the process: what waits for an answer of it holds the connection until then
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()
        self._socket.unlink(missing_ok=True)


def _start(socket: Path, memory_mib: int) -> subprocess.Popen[bytes]:
    # No other part of the environment is its business.
    env = {name: value for name in _PASSED_ON if (value := os.environ.get(name)) is not None}
    argv = [sys.executable, "-P", "-m", "enclave.audit.store_process"]
    child = subprocess.Popen(
        [*argv, "--socket", str(socket), "--memory-mib", str(memory_mib)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=env | _ALLOCATION,
        start_new_session=True,
    )
    out: Any = child.stdout
    ready, _, _ = select.select([out], [], [], START_S)
    if not ready or out.readline() != b"ready\n":
        child.kill()
        child.wait()
        raise UnavailableError("query store: wanted its process to start, it did not; look at auditd's log")
    return child


@contextlib.contextmanager
def _memory(table: pa.Table) -> Iterator[int]:
    """A descriptor of memory that holds the table as an Arrow stream."""
    fd = os.memfd_create("enclave-audit", os.MFD_CLOEXEC)
    try:
        with open(fd, "wb", closefd=False) as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)
        yield fd
    finally:
        os.close(fd)
