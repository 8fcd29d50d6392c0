"""The process that holds the query store, so that no question of an auditor can reach the ledger that takes events.

``enclave-auditd`` starts it, gives it the key and the records, and ends it when a query does not. It knows the store's
file and nothing else: no segment, no signing key, no key of the bodies. Memory is bounded by the kernel
(``RLIMIT_DATA``, setrlimit(2)) beyond the engine's own limit, priority is lower than the ledger's, and it ends itself
when the pipe on its standard input closes, for then auditd is gone.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import ctypes
import fcntl
import os
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa

from enclave.audit.store import QueryStore
from enclave.core.errors import DeniedError, EnclaveError, UnavailableError
from enclave.core.secret import Secret
from enclave.runtime.log import Log
from enclave.wire.messages.audit import Rows
from enclave.wire.messages.audit_store import AddBatch, AskStore, CloseStore, OpenStore, StoreMark
from enclave.wire.messages.schema import Done
from enclave.wire.peer import Call, WireServer

BEYOND_ENGINE_MIB = 1536  # the interpreter, Arrow, the batch on its way, freed memory that is not given back at once
MAX_FILES = 256
LOWER_PRIORITY = 10
LOCK_WAIT_S = 10.0
_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38  # prctl(2)


class StoreProcess:
    """Answers one parent."""

    def __init__(self, *, memory_mib: int) -> None:
        self._memory_mib = memory_mib
        self._parent = os.getppid()
        self._store: QueryStore | None = None
        self._guard = threading.Lock()
        self._lock_fd = -1

    def handlers(self) -> dict[type[Any], Any]:
        """The requests, each from the parent only: others of the same user could read the file but not add to it."""
        table = {OpenStore: self._open, AddBatch: self._add, AskStore: self._ask, CloseStore: self._close}
        return {cls: self._for_the_parent(handler) for cls, handler in table.items()}

    def _for_the_parent(self, handler: Any) -> Any:
        def checked(message: Any, call: Call) -> Any:
            if call.peer.pid != self._parent:
                raise DeniedError("query store: wanted the ledger that started it, got another process")
            return handler(message, call)

        return checked

    def _open(self, message: OpenStore, _call: Call) -> StoreMark:
        path = Path(message.path)
        with self._guard:
            self._shut()
            self._lock(path.with_name("lock"))
            key = Secret(base64.b64decode(message.key))
            self._store = QueryStore(path, key=key, memory_mib=self._memory_mib)
            newest, leaf = self._store.newest() or (-1, b"")
            return StoreMark(high_water=self._store.high_water(), newest=newest, leaf_hash=leaf.hex())

    def _add(self, message: AddBatch, call: Call) -> StoreMark:
        records, bodies = (_table(fd) for fd in call.descriptors)
        self._opened().add(records, bodies, high_water=message.high_water)
        return StoreMark(high_water=message.high_water)

    def _ask(self, message: AskStore, _call: Call) -> Rows:
        return self._opened().query(message.sql, limit=message.limit, timeout_s=message.timeout_s)

    def _close(self, _message: CloseStore, _call: Call) -> Done:
        with self._guard:
            self._shut()
        return Done()

    def _opened(self) -> QueryStore:
        if self._store is None:
            raise UnavailableError("query store: wanted it open, it is not; try again")
        return self._store

    def _shut(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def _lock(self, path: Path) -> None:
        """Waits for a process of before to be gone: the engine would say that the file is broken."""
        self._lock_fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        end = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if time.monotonic() > end:
                    raise UnavailableError("query store: wanted its file, another process has it") from None
                time.sleep(0.05)
            else:
                return


def bound(*, memory_mib: int) -> None:
    """Sets this process's limits; from here on it can only get less."""
    data = (memory_mib + BEYOND_ENGINE_MIB) << 20
    resource.setrlimit(resource.RLIMIT_DATA, (data, data))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (MAX_FILES, MAX_FILES))
    os.nice(LOWER_PRIORITY)
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in ((_PR_SET_NO_NEW_PRIVS, 1), (_PR_SET_DUMPABLE, 0)):
        if libc.prctl(option, value, 0, 0, 0) != 0:
            raise UnavailableError("query store: wanted to give up rights, the kernel refused")


def _table(fd: int) -> pa.Table:
    with open(fd, "rb", closefd=False) as file:
        file.seek(0)
        return pa.ipc.open_stream(file.read()).read_all()


def main() -> None:
    """Runs until standard input ends."""
    parser = argparse.ArgumentParser(prog="enclave-audit-store")
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--memory-mib", type=int, required=True)
    given = parser.parse_args()
    log = Log("auditd.store")
    try:
        bound(memory_mib=given.memory_mib)
        process = StoreProcess(memory_mib=given.memory_mib)
        server = WireServer(
            given.socket, process.handlers(), log=log, allowed_uids=frozenset({os.getuid()}), max_descriptors=2
        )
        server.start()
    except EnclaveError as error:
        log.warning("query store did not start", code=error.code)
        sys.exit(error.exit_code)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    with contextlib.suppress(OSError):
        os.read(sys.stdin.fileno(), 1)
    server.close()
    os._exit(0)  # a query may still run; nothing of it is worth waiting for


if __name__ == "__main__":
    main()
