"""The auditors' desk: who may ask the query store, what was asked, what came out; each of it an event."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Protocol

from enclave.audit.feed import Feed
from enclave.core.clock import Clock
from enclave.core.errors import DeniedError, EnclaveError, UnavailableError
from enclave.policy.decide import check, decide
from enclave.policy.model import Actor, Facts, Resource
from enclave.wire.messages.audit import Query, Rows

UNKNOWN = "unknown"  # who shows a token that is nobody's


class Note(Protocol):
    """Writes one of the ledger's own events."""

    def __call__(self, kind: str, *, outcome: str = ..., **fields: Any) -> object:
        """Returns when it is durable; raises ``UnavailableError``."""
        ...


class Desk:
    """Answers queries of people with the role auditor."""

    def __init__(
        self,
        *,
        resolve: Callable[[str], Actor] | None,
        note: Note,
        feed: Feed,
        size: Callable[[], int],
        clock: Clock,
        max_rows: int,
        timeout_s: float,
    ) -> None:
        self._resolve, self._note, self._feed, self._size = resolve, note, feed, size
        self._clock, self._max_rows, self._timeout_s = clock, max_rows, timeout_s

    def query(self, message: Query) -> Rows:
        """The rows; raises ``DeniedError``, ``InvalidError`` for what is no SELECT, ``UnavailableError``."""
        actor = self._who(message)
        told: dict[str, Any] = {"actor": actor.name, "role": "auditor"}
        detail = {"sql_hash": hashlib.sha256(message.sql.encode("utf-8", "replace")).hexdigest()}
        self._note("audit.query", outcome="intent", detail=detail, bodies={"sql": message.sql}, **told)
        try:
            limit = max(0, min(message.limit, self._max_rows))
            rows = self._feed.query(
                message.sql, size=self._size(), limit=limit, timeout_s=self._timeout_s, person=actor.name
            )
        except EnclaveError as error:
            self._note("audit.query", outcome="failed", reason=error.code, detail=detail, **told)
            raise
        counted = detail | {"rows": len(rows.rows), "truncated": rows.truncated}
        self._note("audit.query", detail=counted, **told)
        return rows

    def _who(self, message: Query) -> Actor:
        if self._resolve is None:
            raise UnavailableError("audit query: wanted the Hub to say who asks, this ledger runs without one")
        try:
            actor = self._resolve(message.token)
        except DeniedError as error:
            self._note("audit.query", outcome="refused", reason=error.code, actor=UNKNOWN)
            raise
        decision = decide(actor, "audit.query", Resource(), Facts(), self._clock.now())
        if not decision.allowed:
            self._note("audit.query", outcome="refused", reason=decision.reason, actor=actor.name)
        check(decision)
        return actor
