"""What people do at the watch: look at alerts, take them up, close them, drill, sign off weeks. Each is an event."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from enclave.audit.alerts import drill as drills
from enclave.audit.alerts.model import VERDICTS, Alert, DrillRecord, next_state
from enclave.audit.alerts.rules import Rule, known_rules
from enclave.audit.alerts.watch import Watch
from enclave.core.clock import format_time
from enclave.core.errors import ConflictError, DeniedError, EnclaveError, InvalidError, NotFoundError
from enclave.core.ids import check_name
from enclave.policy.decide import decide
from enclave.policy.model import NO_FACTS, Actor, Decision, Facts, OversightFacts, Resource
from enclave.wire.messages import watch as m
from enclave.wire.messages.schema import Done

UNKNOWN: Final = "unknown"  # who shows a token that is nobody's
MAX_WORDS: Final = 2000
MAX_SHOWN: Final = 500
WRONG_STATE: Final = frozenset({"alert_state", "week_not_over", "alerts_untouched", "signed_already"})


@dataclass(frozen=True, slots=True)
class AlertDesk:
    """Answers people about alerts and drills; ``resolve`` turns a token into who that is."""

    watch: Watch
    resolve: Callable[[str], Actor]

    def list_alerts(self, message: m.ListAlerts) -> m.AlertList:
        """The alerts an auditor asked for."""
        actor, role = self.allow(message.token, "alert.list")
        limit = max(1, min(message.limit, MAX_SHOWN))
        found = self.watch.store.alerts(
            state=message.state, rule=message.rule, drill=None if message.drills else "", limit=limit
        )
        detail = {"count": len(found)}
        self.watch.audit.record("alert.list", actor=actor.name, role=role, detail=detail)
        return m.AlertList(alerts=tuple(self._told(alert, actor) for alert in found))

    def acknowledge(self, message: m.AcknowledgeAlert) -> m.AlertInfo:
        """Somebody looks at it now."""
        alert, actor, role = self._about(message.token, "alert.acknowledge", message.id)
        at = format_time(self.watch.clock.now())
        state = next_state(alert.state, "acknowledge")
        after = replace(alert, state=state, acknowledged_by=actor.name, acknowledged=at)
        self.watch.change(after, "acknowledge", actor=actor.name, role=role)
        return self._told(after, actor)

    def close(self, message: m.ResolveAlert) -> m.AlertInfo:
        """It is dealt with; the words go into the ledger, encrypted."""
        alert, actor, role = self._about(message.token, "alert.resolve", message.id)
        words = check_words(message.reason, what="reason")
        if message.verdict not in VERDICTS:
            raise InvalidError(f"verdict: wanted one of {', '.join(VERDICTS)}, got another")
        at = format_time(self.watch.clock.now())
        state = next_state(alert.state, "resolve")
        after = replace(alert, state=state, resolved_by=actor.name, resolved=at, verdict=message.verdict)
        detail = {"verdict": message.verdict}
        self.watch.change(after, "resolve", actor=actor.name, role=role, detail=detail, note=words)
        return self._told(after, actor)

    def declare_canary(self, message: m.DeclareCanary) -> Done:
        """From now on every touch of it is an alert; the declaration itself is an event that only auditors can read."""
        actor, role = self.allow(message.token, "canary.declare", kind="watch.canary")
        if message.version < 1:
            raise InvalidError("canary: wanted a dataset version, got a number below 1")
        self.watch.audit.record(
            "watch.canary",
            actor=actor.name,
            role=role,
            dataset=check_name(message.dataset, what="dataset"),
            version=message.version,
            objects=message.objects or None,
        )
        return Done()

    # ── drills ──────────────────────────────────────────────────────────────

    def run_drill(self, message: m.RunDrill) -> m.DrillReport:
        """Plays the planted incidents; what fires is told by ``show_drill`` within seconds."""
        actor, role = self.allow(message.token, "drill.run")
        rules = [_rule(name) for name in message.rules] or list(known_rules().values())
        at = format_time(self.watch.clock.now())
        record = DrillRecord(secrets.token_hex(8), at, actor.name, tuple(rule.id for rule in rules))
        detail = {"drill": record.id, "rules": list(record.rules)}
        told: dict[str, Any] = {"actor": actor.name, "role": role}
        self.watch.audit.record("drill.run", outcome="intent", detail=detail, **told)
        with self.watch.store.transaction():
            self.watch.store.put_drill(record)
        for event in drills.events_of(rules, drill=record.id):
            self.watch.audit.record("audit.drill", detail=event, **told)
        self.watch.audit.record("drill.run", detail=detail, **told)
        return self._report(record)

    def show_drill(self, message: m.ShowDrill) -> m.DrillReport:
        """What came of it so far."""
        self.allow(message.token, "drill.show", kind="drill.run")
        found = [one for one in self.watch.store.drills(limit=1000) if message.id in ("", one.id)]
        if not found:
            raise NotFoundError("drill: wanted one that was played, got none; `enclave audit drill` plays one")
        return self._report(found[0])

    def _report(self, record: DrillRecord) -> m.DrillReport:
        store = self.watch.store
        alerts = store.alerts(drill=record.id, limit=1000)
        deliveries = {alert.id: store.deliveries(alert.id) for alert in alerts}
        return drills.report(record, alerts=alerts, deliveries=deliveries, at=self.watch.clock.now())

    # ── who may ─────────────────────────────────────────────────────────────

    def allow(
        self,
        token: str,
        action: str,
        *,
        kind: str = "",
        facts: Facts = NO_FACTS,
        resource: Resource | None = None,
        detail: dict[str, Any] | None = None,
    ) -> tuple[Actor, str]:
        """Who asks and the role that allows it; every refusal is in the ledger before it is answered."""
        kind = kind or action
        try:
            actor = self.resolve(token)
        except DeniedError as error:
            self.refuse(kind, UNKNOWN, error.code, detail)
            raise
        decision = decide(actor, action, resource or Resource(), facts, self.watch.clock.now())
        if not decision.allowed:
            self.refuse(kind, actor.name, decision.reason, detail)
            raise _refusal(decision)
        return actor, decision.role

    def _about(self, token: str, action: str, alert_id: str) -> tuple[Alert, Actor, str]:
        """The alert, for somebody who may do this with it."""
        try:
            alert = self.watch.store.find(alert_id)
        except NotFoundError as error:
            self._who_asked_for_nothing(token, action, error)
            raise
        facts = Facts(oversight=OversightFacts(id=alert.id, subject=alert.hit.subject, state=alert.state))
        detail = {"alert": alert.id, "rule": alert.rule}
        actor, role = self.allow(token, action, facts=facts, resource=Resource(id=alert.id), detail=detail)
        return alert, actor, role

    def _who_asked_for_nothing(self, token: str, action: str, error: EnclaveError) -> None:
        actor, _ = self.allow(token, "alert.list", kind=action)  # others do not learn what there is
        self.refuse(action, actor.name, error.code, None)

    def refuse(self, kind: str, actor: str, reason: str, detail: dict[str, Any] | None) -> None:
        """Writes a refusal down; the caller raises it."""
        self.watch.audit.record(kind, actor=actor, outcome="refused", reason=reason, detail=detail or {})

    def _told(self, alert: Alert, actor: Actor) -> m.AlertInfo:
        rule, hit = known_rules()[alert.rule], alert.hit
        mine = hit.subject == actor.name
        may = () if mine else tuple(act for act in ("acknowledge", "resolve") if _can(alert, act))
        return m.AlertInfo(
            id=alert.id, rule=rule.id, title=rule.title, severity=alert.severity, what=rule.what, remedy=rule.remedy,
            subject=hit.subject, key=hit.key, value=hit.value, threshold=rule.threshold, first_seq=hit.first_seq,
            last_seq=hit.last_seq, events=hit.events, moment=hit.moment, opened=alert.opened, state=alert.state,
            drill=alert.drill, acknowledged_by=alert.acknowledged_by, acknowledged=alert.acknowledged,
            resolved_by=alert.resolved_by, resolved=alert.resolved, verdict=alert.verdict, may=may,
        )  # fmt: skip


def check_words(text: str, *, what: str) -> str:
    """Words of a person; raises ``InvalidError`` for none or too many."""
    words = text.strip()
    if not 0 < len(words) <= MAX_WORDS:
        raise InvalidError(f"{what}: wanted 1 to {MAX_WORDS} characters, got {len(words)}")
    return words


def _rule(name: str) -> Rule:
    rule = known_rules().get(name)
    if rule is None:
        raise NotFoundError("alert rule: wanted one of this release, got another; docs/alerts.md has all")
    return rule


def _can(alert: Alert, act: str) -> bool:
    return (act == "acknowledge" and alert.state == "open") or (act == "resolve" and alert.state != "resolved")


def _refusal(decision: Decision) -> EnclaveError:
    family = ConflictError if decision.reason in WRONG_STATE else DeniedError
    return family(decision.message, code=decision.reason)
