"""The one way to write to the ledger: no receipt, no act."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from enclave.audit.event import Event, check_event, event_to_json
from enclave.audit.vocabulary import check_kind
from enclave.core.canonical import canonical_bytes
from enclave.core.clock import Clock, format_time, parse_time
from enclave.core.errors import UnavailableError
from enclave.runtime.clock import SystemClock
from enclave.wire.framing import VERSION, WireError
from enclave.wire.line import Line, reply_in, tail_of
from enclave.wire.messages.audit import Append, AskTime, LedgerTime, Receipt

DEADLINE_S = 2.0
FINAL = frozenset(
    {"ledger_quota", "ledger_reserve", "ledger_body_lost"}
)  # the ledger's own words; asking again at once changes nothing
_MAX_IDLE = 32
_PAUSE_S = 0.05  # between two attempts
_APPEND, _ASK_TIME = tail_of(Append), tail_of(AskTime)
_RECEIPT = re.compile(
    rb'\{"body":\{"leaf_hash":"([0-9a-f]{64})","seq":(0|[1-9][0-9]{0,15}),"time":"([0-9TZ:.-]+)"\},'
    rb'"id":"([0-9a-f]+)","ok":true,"v":%d\}' % VERSION
)


class AuditClient:
    """Appends events and returns their receipts; fail-closed within two seconds.

    Thread-safe; each concurrent call has a connection of its own. An event is sent again with the same id when
    the connection broke, so it stands in the ledger once.
    """

    def __init__(self, socket: Path, *, clock: Clock | None = None, deadline_s: float = DEADLINE_S) -> None:
        self._socket = socket
        self._clock = clock or SystemClock()
        self._deadline_s = deadline_s
        self._idle: list[Line] = []
        self._guard = threading.Lock()
        self._heard = ""

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
            id=os.urandom(16).hex(),
            time=format_time(self._clock.now()),
            kind=kind,
            actor=actor,
            outcome=outcome,
            **fields,
        )
        return self.append(event, bodies=bodies)

    def append(
        self, event: Event, *, bodies: Mapping[str, str] | None = None, deadline_s: float | None = None
    ) -> Receipt:
        """Appends ``event``; raises ``UnavailableError`` when no receipt came in time: then do not act.

        ``deadline_s``: for this call, where less time is left than the client's calls have.

        Raises ``InvalidError`` when its kind or a key of its detail is not declared in ``audit/kinds/``.
        """
        body = append_body(event, bodies)
        end = time.monotonic() + (deadline_s or self._deadline_s)
        try:
            line: Line | None = self._idle.pop()
        except IndexError:
            line = None
        if line is not None and deadline_s is not None:
            line.limit(deadline_s)
        while True:
            line, receipt = self._attempt(line, body, end)
            if receipt is not None:
                return receipt
            if line is not None:
                line.limit(max(_PAUSE_S, end - time.monotonic()))

    def _attempt(self, line: Line | None, body: bytes, end: float) -> tuple[Line | None, Receipt | None]:
        """Asks once; without a receipt what to ask on next, after a pause unless it is at once worth while."""
        fresh = line is None
        try:
            if line is None:
                line = Line(self._socket, timeout_s=max(_PAUSE_S, end - time.monotonic()))
            frame, number = line.ask(body, _APPEND)
            receipt = receipt_in(frame, number) or reply_in(frame, number, Append)
        except (OSError, WireError):
            # One that was open may have led to a daemon that has ended since, as all others then did.
            self.close()
            if line is not None:
                line.close()
            self._pause(end, 0.0 if not fresh else _PAUSE_S)
            return None, None
        except UnavailableError as error:
            if error.code in FINAL and line is not None:
                self._give(line)
                raise
            self._pause(end, _PAUSE_S)
            return line, None
        except BaseException:
            if line is not None:
                line.close()
            raise
        self._give(line)
        self._hear(receipt.time)
        return None, receipt

    def _pause(self, end: float, seconds: float) -> None:
        if time.monotonic() + seconds >= end:
            raise UnavailableError(
                f"ledger: wanted a receipt, got none within {self._deadline_s:g} s; nothing was done. "
                "Try again once it is back",
                code="ledger_unavailable",
            ) from None
        time.sleep(seconds)

    @property
    def ledger_time(self) -> datetime | None:
        """The latest time of the ledger that a receipt told; None before the first."""
        return parse_time(self._heard) if self._heard else None

    def ask_time(self, *, wait_s: float = 0.0) -> datetime:
        """Asks for the ledger's time, again for ``wait_s``; raises ``UnavailableError`` when it does not answer."""
        end = time.monotonic() + wait_s
        while True:
            try:
                return self._ask_time()
            except UnavailableError:
                if time.monotonic() + _PAUSE_S >= end:
                    raise
            time.sleep(_PAUSE_S)

    def _ask_time(self) -> datetime:
        line = None
        try:
            line = Line(self._socket, timeout_s=self._deadline_s)
            told: LedgerTime = reply_in(*line.ask(b"{}", _ASK_TIME), AskTime)
        except (OSError, WireError, UnavailableError):
            words = "ledger: wanted its time, got no answer; without it nothing is opened. Try again once it is back"
            raise UnavailableError(words, code="ledger_unavailable") from None
        finally:
            if line is not None:
                line.close()
        self._hear(told.time)
        return parse_time(told.time)

    def _hear(self, time: str) -> None:
        with self._guard:
            self._heard = max(self._heard, time)  # one spelling (format_time), so text sorts as time does

    def close(self) -> None:
        """Ends all idle connections."""
        while self._idle:
            with contextlib.suppress(IndexError):
                self._idle.pop().close()

    def _give(self, line: Line) -> None:
        """Keeps a line for the next call. A list's pop and append are whole, so they need no lock."""
        if len(self._idle) >= _MAX_IDLE:
            line.close()
            return
        line.limit(self._deadline_s)
        self._idle.append(line)


def append_body(event: Event, bodies: Mapping[str, str] | None = None) -> bytes:
    """What ``audit.append`` is asked with, in canonical JSON.

    Raises ``InvalidError`` when its kind or a key of its detail is not declared in ``audit/kinds/``.
    """
    data = canonical_bytes(event_to_json(check_kind(check_event(event))))
    if bodies:
        return b'{"bodies":%b,"event":%b}' % (canonical_bytes(dict(bodies)), data)
    return b'{"bodies":{},"event":%b}' % data


def receipt_in(frame: bytes, number: bytes) -> Receipt | None:
    """The receipt in an answer to this request, spelled as it always is; None when it is anything else."""
    found = _RECEIPT.fullmatch(frame)
    if found is None or found[4] != number:
        return None
    return Receipt(seq=int(found[2]), leaf_hash=found[1].decode("ascii"), time=found[3].decode("ascii"))
