"""What a gate refuses becomes events: the first at once, more of the same kind as one event with their count."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from enclave.audit.client import AuditClient
from enclave.core.errors import EnclaveError
from enclave.runtime.log import Log

WINDOW_S = 60.0
MAX_KINDS = 64  # a flood of many kinds is counted under one more
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Kind:
    """What makes two refusals alike. All three are words of ours, nothing that a client chose."""

    leg: str
    method: str
    route: str


@dataclass(slots=True)
class _Counted:
    since: float
    waiting: int = 0
    reason: str = ""


@dataclass(slots=True)
class Refusals:
    """Counts and records refusals of one gate. A refusal stands, receipt or not: nothing was done."""

    person: str
    audit: AuditClient
    log: Log
    _kinds: dict[Kind, _Counted] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def add(self, leg: str, method: str, route: str, *, reason: str) -> None:
        """Notes one refusal; must be called in the event loop."""
        kind = Kind(leg, method if method in _METHODS else "OTHER", route)
        if kind not in self._kinds and len(self._kinds) >= MAX_KINDS:
            kind = Kind(leg, "OTHER", "many")
        counted = self._kinds.get(kind)
        if counted is None:
            self._kinds[kind] = _Counted(time.monotonic(), reason=reason)
            self._write(kind, count=1, reason=reason)
        else:
            counted.waiting += 1
            counted.reason = reason

    async def run(self) -> None:
        """Writes once a minute what has gathered; runs until cancelled."""
        while True:
            await asyncio.sleep(WINDOW_S / 6)
            self.flush(older_than=WINDOW_S)

    def flush(self, *, older_than: float = 0.0) -> None:
        """Writes one event for each kind that has gathered for ``older_than`` seconds."""
        now = time.monotonic()
        for kind, counted in list(self._kinds.items()):
            if now - counted.since >= older_than:
                del self._kinds[kind]
                if counted.waiting:
                    self._write(kind, count=counted.waiting, reason=counted.reason)

    async def drain(self) -> None:
        """Flushes and waits until all is written."""
        self.flush()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)

    def _write(self, kind: Kind, *, count: int, reason: str) -> None:
        task = asyncio.get_running_loop().create_task(self._record(kind, count=count, reason=reason))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _record(self, kind: Kind, *, count: int, reason: str) -> None:
        detail = {"leg": kind.leg, "method": kind.method, "route": kind.route, "count": count}
        try:
            await asyncio.to_thread(
                self.audit.record, "gate.refused", actor=self.person, outcome="refused", reason=reason, detail=detail
            )
        except EnclaveError as error:
            self.log.warning("refusal not recorded", reason=error.code, route=kind.route, count=count)
