"""The one way to write to the ledger: no receipt, no act."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from enclave.audit.event import Event, check_event, event_to_json
from enclave.audit.vocabulary import check_kind
from enclave.core.clock import Clock, format_time
from enclave.core.errors import UnavailableError
from enclave.runtime.clock import SystemClock
from enclave.wire.client import WireClient
from enclave.wire.messages.audit import Append, Receipt

DEADLINE_S = 2.0
_MAX_IDLE = 16


class AuditClient:
    """Appends events and returns their receipts; fail-closed within two seconds.

    Thread-safe; each concurrent call has a connection of its own. An event is sent again with the same id when
    the connection broke, so it stands in the ledger once.
    """

    def __init__(self, socket: Path, *, clock: Clock | None = None, deadline_s: float = DEADLINE_S) -> None:
        self._socket = socket
        self._clock = clock or SystemClock()
        self._deadline_s = deadline_s
        self._idle: list[WireClient] = []
        self._guard = threading.Lock()

    def record(
        self,
        kind: str,
        *,
        actor: str,
        outcome: str = "ok",
        bodies: Mapping[str, str] | None = None,
        **fields: Any,
    ) -> Receipt:
        """Makes an event of ``kind`` now and appends it; ``fields`` are those of ``Event``."""
        event = Event(
            id=secrets.token_hex(16),
            time=format_time(self._clock.now()),
            kind=kind,
            actor=actor,
            outcome=outcome,
            **fields,
        )
        return self.append(event, bodies=bodies)

    def append(self, event: Event, *, bodies: Mapping[str, str] | None = None) -> Receipt:
        """Appends ``event``; raises ``UnavailableError`` when no receipt came in time: then do not act.

        Raises ``InvalidError`` when its kind or a key of its detail is not declared in ``audit/kinds/``.
        """
        message = Append(event=event_to_json(check_kind(check_event(event))), bodies=dict(bodies or {}))
        end = time.monotonic() + self._deadline_s
        while True:
            client = self._take()
            try:
                receipt: Receipt = client.call(message, timeout_s=max(0.05, end - time.monotonic()))
            except UnavailableError:
                client.close()
                if time.monotonic() + 0.05 >= end:
                    raise UnavailableError(
                        "ledger: wanted a receipt, got none within 2 s; nothing was done. Try again once it is back",
                        code="ledger_unavailable",
                    ) from None
                time.sleep(0.05)
            except BaseException:
                client.close()
                raise
            else:
                self._give(client)
                return receipt

    def close(self) -> None:
        """Ends all idle connections."""
        with self._guard:
            for client in self._idle:
                client.close()
            self._idle.clear()

    def _take(self) -> WireClient:
        with self._guard:
            return self._idle.pop() if self._idle else WireClient(self._socket, timeout_s=self._deadline_s)

    def _give(self, client: WireClient) -> None:
        with self._guard:
            if len(self._idle) < _MAX_IDLE:
                self._idle.append(client)
                return
        client.close()
