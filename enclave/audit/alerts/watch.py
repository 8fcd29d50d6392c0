"""The watch itself: which events arrived, which rules are due, what they find; each new hit is told once."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from enclave.audit.alerts.delivery import ACTOR, Courier
from enclave.audit.alerts.model import Alert, Change, Hit, hits_in
from enclave.audit.alerts.ocsf import finding_of
from enclave.audit.alerts.rules import Rule, known_rules, rules_digest
from enclave.audit.alerts.store import AlertStore
from enclave.audit.client import AuditClient
from enclave.audit.ocsf import line_of
from enclave.core.clock import Clock, format_time
from enclave.core.errors import EnclaveError, UnavailableError
from enclave.runtime.log import Log
from enclave.wire.messages.audit import AskWatched, Rows

SIZE_CHECK_S: Final = 10.0
SHARE: Final = 10  # a rule rests ten times as long as it took, so that watching costs a tenth of one core at most
OWN_KINDS: Final = ("alert.", "watch.", "review.", "drill.")  # our own telling is no reason to look again
TOO_MUCH: Final = frozenset({"query_timeout", "query_memory"})  # the rule's fault, not the ledger's
SEQ_MARK: Final = "last_seq"


class Ledger(Protocol):
    """The narrow way to the query store: one question of the closed list at a time."""

    def ask(self, message: AskWatched) -> Rows:
        """The rows; raises ``UnavailableError``."""
        ...


@dataclass(slots=True)
class Turn:
    """When a rule was looked at last (monotonic seconds), how long it took, whether it is due."""

    last: float = float("-inf")
    took: float = 0.0
    due: bool = True
    failing: bool = False


@dataclass(slots=True, kw_only=True)
class Watch:
    """Looks at the ledger in turns. One thread only calls ``look``."""

    ledger: Ledger
    store: AlertStore
    audit: AuditClient
    clock: Clock
    log: Log
    product_version: str
    couriers: tuple[Courier, ...] = ()
    turns: dict[str, Turn] = field(default_factory=lambda: {name: Turn() for name in known_rules()})
    _size_checked: float = float("-inf")

    def begin(self) -> None:
        """Records which rules watch from now on; raises ``UnavailableError`` without a receipt."""
        detail = {"rules": len(known_rules()), "rules_digest": rules_digest()}
        self.audit.record("watch.started", actor=ACTOR, detail=detail)

    def look(self) -> int:
        """One turn; how many alerts it opened. Raises ``UnavailableError`` when the ledger does not answer.

        The ledger is asked for its time first: it may be ahead of this machine's clock, and an event of the future
        would be none for a rule.
        """
        self.audit.ask_time()
        self._check_size()
        self._note_arrivals()
        return sum(self._look_by(rule) for rule in known_rules().values() if self._is_due(rule))

    def _look_by(self, rule: Rule) -> int:
        """One rule's turn: its fault stops no other rule, and is told in the log and the figures until it is gone."""
        turn = self.turns[rule.id]
        try:
            opened = self._evaluate(rule)
        except EnclaveError as error:
            if isinstance(error, UnavailableError) and error.code not in TOO_MUCH:
                turn.due = True
                raise
            if not turn.failing:
                self.log.warning("rule cannot be evaluated", rule=rule.id, code=error.code)
            turn.failing = True
            return 0
        turn.failing = False
        return opened

    def failing(self) -> tuple[str, ...]:
        """The rules whose last turn failed."""
        return tuple(name for name, turn in self.turns.items() if turn.failing)

    # ── what is due ─────────────────────────────────────────────────────────

    def _note_arrivals(self) -> None:
        after = self.store.mark(SEQ_MARK)
        rows = self._ask("arrivals", after=after)
        if not rows.rows:
            return
        arrived = [(str(kind), bool(refused)) for kind, refused, _, _ in rows.rows]
        for rule in known_rules().values():
            if any(_wakes(rule, kind, refused=refused) for kind, refused in arrived):
                self.turns[rule.id].due = True
        self.store.set_mark(SEQ_MARK, max(int(row[3]) for row in rows.rows))

    def _is_due(self, rule: Rule) -> bool:
        turn, now = self.turns[rule.id], time.monotonic()
        if now - turn.last >= rule.every_s:
            return True
        return turn.due and now - turn.last >= SHARE * turn.took

    def _check_size(self) -> None:
        """A ledger that is shorter than it was has lost records that had receipts."""
        if time.monotonic() - self._size_checked < SIZE_CHECK_S:
            return
        rows = self._ask("first_event")
        last = rows.rows[0][1] if rows.rows else None
        known = self.store.mark(SEQ_MARK)
        size = -1 if last is None else int(last)
        if size < known:
            detail = {"known_size": known + 1, "size": size + 1}
            self.audit.record("watch.gap", actor=ACTOR, outcome="failed", reason="ledger_shorter", detail=detail)
            self.store.set_mark(SEQ_MARK, size)
        self._size_checked = time.monotonic()

    # ── what is found ───────────────────────────────────────────────────────

    def _evaluate(self, rule: Rule) -> int:
        turn = self.turns[rule.id]
        turn.due = False
        began = time.monotonic()
        at = self.clock.now()
        try:
            rows = self._ask(rule.id, since=at - timedelta(hours=rule.window_hours), at=at)
        finally:
            turn.last = time.monotonic()
            turn.took = turn.last - began
        return self._tell(rule, hits_in(rows))

    def _tell(self, rule: Rule, hits: Iterable[Hit]) -> int:
        count = 0
        for hit in hits:
            if not self.store.knows(rule.id, hit):
                self.open(rule, hit)
                count += 1
        return count

    def open(self, rule: Rule, hit: Hit) -> Alert:
        """A new alert: its event, then its row and what goes out, in one transaction."""
        alert = Alert(
            id=secrets.token_hex(16),
            rule=rule.id,
            severity=rule.severity,
            hit=hit,
            opened=format_time(self.clock.now()),
        )
        detail: dict[str, Any] = {"severity": rule.severity, "subject": hit.subject, "value": hit.value}
        detail |= {"threshold": rule.threshold, "events": hit.events}
        detail |= {"first_seq": hit.first_seq, "last_seq": hit.last_seq}
        self.change(alert, "open", actor=ACTOR, detail=detail)
        return alert

    def change(
        self,
        alert: Alert,
        change: Change,
        *,
        actor: str,
        role: str | None = None,
        detail: dict[str, Any] | None = None,
        note: str = "",
    ) -> None:
        """Keeps a change and queues it for every receiver; without its event nothing changes."""
        told = {"alert": alert.id, "rule": alert.rule, **(detail or {})}
        if alert.drill:
            told["drill"] = alert.drill
        rule = known_rules()[alert.rule]
        at = format_time(self.clock.now())
        finding = finding_of(alert, rule=rule, change=change, at=at, product_version=self.product_version)
        with self.store.transaction():
            self.store.put(alert)
            for courier in self.couriers:
                self.store.queue(courier.channel, alert=alert.id, change=change, line=line_of(finding))
            bodies = {"note": note} if note else None
            self.audit.record(f"alert.{change}", actor=actor, role=role, detail=told, bodies=bodies)
        for courier in self.couriers:
            courier.wake()

    def _ask(
        self, question: str, *, since: datetime | None = None, at: datetime | None = None, after: int = -1
    ) -> Rows:
        at = at or self.clock.now()
        message = AskWatched(question=question, since=format_time(since or at), at=format_time(at), after=after)
        return self.ledger.ask(message)


def _wakes(rule: Rule, kind: str, *, refused: bool) -> bool:
    if kind == "audit.drill":
        return True
    if kind.startswith(OWN_KINDS) and kind not in rule.on:
        return False
    return rule.is_about(kind, refused=refused)
