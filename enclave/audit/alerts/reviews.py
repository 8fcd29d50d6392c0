"""The desk of reviews: an auditor signs off a week over a checkpoint; weeks without a full signature are told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from enclave.audit.alerts.desk import AlertDesk, check_words
from enclave.audit.alerts.model import Alert, Signature
from enclave.audit.alerts.review import Week, parse_week, unsigned, weeks_over
from enclave.core.clock import format_time, parse_time
from enclave.core.errors import EnclaveError, NotFoundError, UnavailableError
from enclave.policy.model import Facts, OversightFacts, Resource
from enclave.wire.messages import watch as m
from enclave.wire.messages.audit import AskWatched, LogState

READING = ("audit.query", "alert.list", "review.list", "review.sign", "login.ok", "login.out")  # looking is no act


class Checkpoint(Protocol):
    """Asks the ledger for a fresh checkpoint."""

    def __call__(self) -> LogState:
        """Raises ``UnavailableError``; the checkpoint is an older one while ``unsigned`` events are left out of it."""
        ...


@dataclass(frozen=True, slots=True)
class ReviewDesk:
    """Answers auditors about weeks."""

    desk: AlertDesk
    checkpoint: Checkpoint

    def list_weeks(self, message: m.ListReviews) -> m.ReviewList:
        """Every week that is over, the newest first; with a summary of one."""
        actor, _ = self.desk.allow(message.token, "review.list")
        summary: dict[str, int] = {}
        if message.period:
            week = parse_week(message.period)
            for kind, _, outcome, events, _ in self._events(week):
                name = f"{kind} {outcome}"
                summary[name] = summary.get(name, 0) + int(events)
            summary["sign-ins from new networks"] = int(self._ask("new_networks", week).rows[0][0])
        return m.ReviewList(weeks=tuple(self._told(week, actor.name) for week in self.weeks()), summary=summary)

    def sign(self, message: m.SignReview) -> m.ReviewWeek:
        """The auditor's name under a week, over the ledger as it stands now."""
        week, known = self._week(message.period)
        mine = frozenset(one.person for one in week.signatures)
        facts = OversightFacts(
            id=week.name, over=week.until <= self._now(), untouched=len(self._untouched(week)), signed_by=mine
        )
        detail: dict[str, Any] = {"period": week.name}
        actor, role = self.desk.allow(
            message.token,
            "review.sign",
            facts=Facts(oversight=facts),
            resource=Resource(id=week.name),
            detail=detail,
        )
        if not known:
            self.desk.refuse("review.sign", actor.name, "period_unknown", detail)
            raise NotFoundError("period: wanted a week that the ledger knows, got one before its first event")
        note = check_words(message.note, what="note")
        rows = self._events(week)
        acted = any(who == actor.name and kind not in READING for kind, who, *_ in rows)
        head = self.checkpoint()
        if head.unsigned:
            self.desk.refuse("review.sign", actor.name, "not_signed", detail)
            raise UnavailableError(
                "review: wanted a checkpoint over all of the ledger, got an older one; its key does not answer",
                code="checkpoint_old",
            )
        signature = Signature(week.name, actor.name, format_time(self._now()), head.size, head.root, acted)
        after = replace(week, signatures=(*week.signatures, signature))
        detail |= {"size": head.size, "root": head.root, "events": sum(int(row[3]) for row in rows)}
        detail |= {"signatures": len(after.signatures), "complete": after.complete}
        watch = self.desk.watch
        with watch.store.transaction():
            watch.store.sign(signature)
            watch.audit.record("review.sign", actor=actor.name, role=role, detail=detail, bodies={"note": note})
        return self._told(after, actor.name)

    def weeks(self) -> tuple[Week, ...]:
        """Every week since the first event that is over."""
        rows = self._ask("first_event", None)
        first = rows.rows[0][0] if rows.rows else None
        at = parse_time(str(first)) if first else None
        return weeks_over(first=at, at=self._now(), signatures=self.desk.watch.store.signatures())

    def unsigned(self) -> tuple[Week, ...]:
        """Those that still want a name, the oldest first."""
        return unsigned(self.weeks())

    def _week(self, name: str) -> tuple[Week, bool]:
        """The week, and whether the ledger knows it as one that is over."""
        parsed = parse_week(name)
        found = next((week for week in self.weeks() if week.name == parsed.name), None)
        return found or parsed, found is not None

    def _untouched(self, week: Week) -> list[Alert]:
        """Real alerts of the week that nobody took up."""
        waiting = self.desk.watch.store.alerts(state="open", drill="", limit=10_000)
        return [alert for alert in waiting if week.since <= parse_time(alert.opened) < week.until]

    def _told(self, week: Week, person: str) -> m.ReviewWeek:
        untouched = len(self._untouched(week))
        signed = any(one.person == person for one in week.signatures)
        return m.ReviewWeek(
            period=week.name,
            since=format_time(week.since),
            until=format_time(week.until),
            complete=week.complete,
            signatures=tuple(
                m.ReviewSignature(person=s.person, at=s.at, size=s.size, root=s.root, acted=s.acted)
                for s in week.signatures
            ),
            open_alerts=untouched,
            may_sign=not signed and not untouched and week.until <= self._now(),
        )

    def _events(self, week: Week) -> Any:
        return self._ask("period", week).rows

    def _ask(self, question: str, week: Week | None) -> Any:
        watch = self.desk.watch
        since, until = (week.since, week.until) if week else (self._now(), self._now())
        return watch.ledger.ask(AskWatched(question=question, since=format_time(since), at=format_time(until)))

    def _now(self) -> datetime:
        return self.desk.watch.clock.now()


def count_unsigned(weeks: Callable[[], tuple[Week, ...]]) -> tuple[int, str]:
    """How many weeks want a name, and the oldest; -1 when the ledger does not answer."""
    try:
        found = weeks()
    except EnclaveError:
        return -1, ""
    return len(found), found[0].name if found else ""
