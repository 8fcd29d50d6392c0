"""The break-glass desk: facts, decision, event, alarm, change, event; originals leave in one reply only."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Protocol, TypeVar

from enclave.audit.client import AuditClient
from enclave.audit.ledger_clock import LedgerClock
from enclave.core.clock import format_time
from enclave.core.errors import ConflictError, DeniedError, EnclaveError, UnavailableError
from enclave.core.ids import check_name, check_ticket
from enclave.policy.decide import decide
from enclave.policy.model import NO_FACTS, Actor, BreakGlassFacts, Facts, Resource
from enclave.reidentification.alarms import AlarmStore
from enclave.reidentification.key_map import KeyMap
from enclave.reidentification.requests import RequestStore
from enclave.reidentification.settings import VaultSettings
from enclave.reidentification.states import (
    APPROVALS,
    Request,
    approved,
    awaits_review,
    check_subjects,
    check_words,
    state_of,
)
from enclave.runtime.log import Log
from enclave.wire.messages.vault import (
    Alarm,
    AlarmList,
    BreakGlass,
    BreakGlassList,
    Original,
    RequestBreakGlass,
    Revealed,
)

T = TypeVar("T")
_WRONG_STATE = frozenset({"break_glass_state", "break_glass_over"})
_READING = frozenset({"reidentify.list", "reidentify.alarms", "reidentify.acknowledge"})
_TAKES_AWAY = "reidentify.refuse"
_UNKNOWN = Actor("unknown", frozenset())


class Standing(Protocol):
    """Whether a person belongs to a project of a dataset; None when nobody knows the dataset."""

    def __call__(self, *, token: str, person: str, dataset: str) -> bool | None:
        """Asks; raises ``UnavailableError`` without an answer."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultFiles:
    """What the vault keeps on disk, each under its key."""

    requests: RequestStore
    alarms: AlarmStore
    keys: KeyMap


@dataclass(frozen=True, slots=True)
class _Try:
    """One person's attempt at one act, as the ledger will show it."""

    kind: str
    token: str
    actor: Actor = _UNKNOWN
    dataset: str | None = None
    ticket: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)


class BreakGlassDesk:
    """Requests, approvals, shows and reviews, one at a time."""

    def __init__(
        self,
        *,
        files: VaultFiles,
        audit: AuditClient,
        resolve: Callable[[str], Actor],
        standing: Standing,
        clock: LedgerClock,
        settings: VaultSettings,
        log: Log,
    ) -> None:
        self._store, self._alarms, self._keys = files.requests, files.alarms, files.keys
        self._audit = audit
        self._resolve = resolve
        self._standing = standing
        self._clock = clock
        self._settings = settings
        self._log = log
        self._guard = threading.Lock()

    # ── acts ────────────────────────────────────────────────────────────────

    def request(self, message: RequestBreakGlass) -> BreakGlass:
        """A new request that waits for two approvals."""
        with self._guard:
            made = self._person(_Try("reidentify.request", message.token))
            request = self._checked(made, lambda: self._new(message, made.actor))
            made = _about(made, request)
            role = self._allow(made, request, state="new")
            self._checked(made, lambda: self._keys.entries(request.dataset, request.subjects))
            self._record(made, "intent", role=role)
            self._alarm(made, "requested")
            return self._commit(made, request, role=role)

    def approve(self, token: str, request_id: str) -> BreakGlass:
        """One approval; the second one opens the request for a few hours."""
        with self._guard:
            made, request = self._known(_Try("reidentify.approve", token), request_id)
            role = self._allow(made, request)
            after = approved(
                request,
                by=made.actor.name,
                at=self._clock.now(),
                open_for=timedelta(hours=self._settings.open_hours),
                shows=self._settings.shows,
            )
            opens = len(after.approvers) >= APPROVALS
            made = replace(made, detail={**made.detail, "approvals": len(after.approvers), "opens": opens})
            self._record(made, "intent", role=role)
            if opens:
                self._alarm(made, "opened")
            return self._commit(made, after, role=role)

    def refuse(self, token: str, request_id: str, *, reason: str) -> BreakGlass:
        """One refusal ends the request, whoever had approved it before."""
        with self._guard:
            made, request = self._known(_Try("reidentify.refuse", token), request_id)
            role = self._allow(made, request)
            words = self._checked(made, lambda: check_words(reason, what="reason"))
            self._record(made, "intent", role=role)
            at = format_time(self._clock.now())
            after = replace(request, refused_by=made.actor.name, refused=at, refusal=words)
            return self._commit(made, after, role=role)

    def show(self, token: str, request_id: str) -> Revealed:
        """The originals, to the requester; each time counts, and counts even if the reply is lost."""
        with self._guard:
            made, request = self._known(_Try("reidentify.show", token), request_id)
            role = self._allow(made, request)
            entries = self._checked(made, lambda: self._keys.entries(request.dataset, request.subjects))
            after = replace(request, shown=request.shown + 1)
            made = replace(made, detail={**made.detail, "shows_left": after.shows_left})
            self._record(made, "intent", role=role, objects=request.subjects)
            self._alarm(made, "shown")
            self._put(made, after)
            self._record(made, "ok", role=role, objects=request.subjects)  # without this receipt nothing is shown
            return Revealed(
                id=request.id,
                until=request.until,
                shows_left=after.shows_left,
                subjects=tuple(
                    Original(pseudonym=e.pseudonym, original_ids=e.original_ids, offset_days=e.offset_days)
                    for e in entries
                ),
            )

    def review(self, token: str, request_id: str, *, finding: str) -> BreakGlass:
        """An auditor's look at what was done; its requester may then ask again."""
        with self._guard:
            made, request = self._known(_Try("reidentify.review", token), request_id)
            role = self._allow(made, request)
            words = self._checked(made, lambda: check_words(finding, what="finding"))
            self._record(made, "intent", role=role)
            at = format_time(self._clock.now())
            return self._commit(
                made, replace(request, reviewed_by=made.actor.name, reviewed=at, finding=words), role=role
            )

    def list_all(self, token: str) -> BreakGlassList:
        """All requests, newest first; pseudonyms only."""
        with self._guard:
            made = self._person(_Try("reidentify.list", token))
            self._decide(made, Resource(), NO_FACTS)
            return BreakGlassList(requests=tuple(map(self._told, self._store.all())))

    def list_alarms(self, token: str) -> AlarmList:
        """The alarms that this person has not acknowledged, newest first."""
        with self._guard:
            made = self._person(_Try("reidentify.alarms", token))
            self._decide(made, Resource(), NO_FACTS)
            return AlarmList(alarms=self._alarms.waiting_for(made.actor.name))

    def acknowledge(self, token: str, alarm_id: str) -> Alarm:
        """This person has seen the alarm; everybody else goes on seeing it."""
        with self._guard:
            made = self._person(_Try("reidentify.acknowledge", token))
            role = self._decide(made, Resource(), NO_FACTS)
            alarm = self._checked(made, lambda: self._alarms.get(alarm_id))
            made = replace(made, detail={"alarm": alarm.id})
            self._record(made, "intent", role=role)
            self._alarms.acknowledge(alarm.id, by=made.actor.name)
            self._record(made, "ok", role=role)
            return alarm

    # ── facts and decision ──────────────────────────────────────────────────

    def _new(self, message: RequestBreakGlass, actor: Actor) -> Request:
        at = self._clock.now()
        return Request(
            id=secrets.token_hex(16),
            dataset=check_name(message.dataset, what="dataset"),
            subjects=check_subjects(message.subjects),
            reason=check_words(message.reason, what="reason"),
            ticket=check_ticket(message.ticket),
            requested_by=actor.name,
            requested=format_time(at),
            waits_until=format_time(at + timedelta(days=self._settings.wait_days)),
        )

    def _person(self, made: _Try) -> _Try:
        return replace(made, actor=self._checked(made, lambda: self._resolve(made.token)))

    def _known(self, made: _Try, request_id: str) -> tuple[_Try, Request]:
        made = self._person(made)
        request = self._checked(made, lambda: self._store.get(request_id))
        return _about(made, request), request

    def _allow(self, made: _Try, request: Request, *, state: str = "") -> str:
        """The role that allows the act; every refusal is in the ledger and an alarm before it is answered."""
        actor, at = made.actor, self._clock.asked()
        facts = BreakGlassFacts(
            id=request.id,
            state=state or state_of(request, at=at),
            requested_by=request.requested_by,
            approvers=frozenset(request.approvers),
            actor_on_project=self._checked(
                made, lambda: self._standing(token=made.token, person=actor.name, dataset=request.dataset)
            ),
            review_pending=self._review_pending(request),
        )
        resource = Resource(dataset=request.dataset, id=request.id)
        role = self._decide(made, resource, Facts(break_glass=facts))
        if made.kind != _TAKES_AWAY:
            self._checked(made, self._clock.check)
        return role

    def _review_pending(self, request: Request) -> bool:
        return any(
            awaits_review(other) and other.id != request.id and other.requested_by == request.requested_by
            for other in self._store.all()
        )

    def _decide(self, made: _Try, resource: Resource, facts: Facts) -> str:
        decision = decide(made.actor, made.kind, resource, facts, self._clock.now())
        if not decision.allowed:
            family = ConflictError if decision.reason in _WRONG_STATE else DeniedError
            self._refuse(made, decision.reason)
            raise family(decision.message, code=decision.reason)
        return decision.role

    def _checked(self, made: _Try, look: Callable[[], T]) -> T:
        """What ``look`` returns; what it raises is a refusal in the ledger, unless a part does not answer."""
        try:
            return look()
        except UnavailableError:
            raise
        except EnclaveError as error:
            self._refuse(made, error.code)
            raise

    # ── ledger and state ────────────────────────────────────────────────────

    def _commit(self, made: _Try, request: Request, *, role: str) -> BreakGlass:
        self._put(made, request)
        try:
            self._record(made, "ok", role=role)
        except UnavailableError:
            self._log.warning("outcome not recorded", kind=made.kind)  # the intent is; the change is durable
        return self._told(request)

    def _put(self, made: _Try, request: Request) -> None:
        try:
            self._store.put(request)
        except OSError:
            self._record(made, "failed", reason="disk")
            raise UnavailableError("vault: wanted to write its state, got an error of the disk; nothing done") from None

    def _refuse(self, made: _Try, reason: str) -> None:
        self._record(made, "refused", reason=reason)
        if made.kind not in _READING:
            self._alarm(made, "refused", reason=reason)

    def _alarm(self, made: _Try, stage: str, *, reason: str | None = None) -> None:
        detail = {key: made.detail[key] for key in ("request", "subjects") if key in made.detail}
        self._audit.record(
            "reidentify.alarm",
            actor=made.actor.name,
            reason=reason or f"break_glass_{stage}",
            dataset=made.dataset,
            ticket=made.ticket,
            source="vault",
            detail={**detail, "stage": stage, "act": made.kind},
        )
        self._alarms.add(
            Alarm(
                id=secrets.token_hex(16),
                at=format_time(self._clock.now()),
                stage=stage,
                act=made.kind,
                actor=made.actor.name,
                reason=reason or f"break_glass_{stage}",
                dataset=made.dataset or "",
                ticket=made.ticket or "",
                request=detail.get("request", ""),
                subjects=detail.get("subjects", 0),
            )
        )

    def _record(
        self,
        made: _Try,
        outcome: str,
        *,
        reason: str | None = None,
        role: str | None = None,
        objects: tuple[str, ...] | None = None,
    ) -> None:
        self._audit.record(
            made.kind,
            actor=made.actor.name,
            outcome=outcome,
            role=role,
            reason=reason,
            dataset=made.dataset,
            objects=objects,
            ticket=made.ticket,
            source="vault",
            detail=made.detail,
        )

    def _told(self, request: Request) -> BreakGlass:
        return BreakGlass(
            id=request.id,
            dataset=request.dataset,
            state=state_of(request, at=self._clock.now()),
            subjects=request.subjects,
            reason=request.reason,
            ticket=request.ticket,
            requested_by=request.requested_by,
            requested=request.requested,
            waits_until=request.waits_until,
            approvers=request.approvers,
            refused_by=request.refused_by,
            refusal=request.refusal,
            until=request.until,
            shows_left=request.shows_left,
            shown=request.shown,
            reviewed_by=request.reviewed_by,
            finding=request.finding,
        )


def _about(made: _Try, request: Request) -> _Try:
    detail = {"request": request.id, "subjects": len(request.subjects)}
    return replace(made, dataset=request.dataset, ticket=request.ticket, detail=detail)
