"""How every change is made: facts, decision, event, change, commit, event. No other module writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from enclave.audit.client import AuditClient
from enclave.audit.ledger_clock import LedgerClock
from enclave.core.clock import format_time
from enclave.core.errors import ConflictError, DeniedError, EnclaveError, InvalidError, UnavailableError
from enclave.policy.decide import decide
from enclave.policy.model import NO_FACTS, Actor, Decision, Facts, Resource
from enclave.registry.store import RegistryStore
from enclave.runtime.log import Log

T = TypeVar("T")
Question = Callable[[], tuple[Resource, Facts]]

WRONG_STATE: Final = frozenset(
    {
        "release_state",
        "determination_state",
        "project_not_open",
        "grant_state",
        "review_waiting",
        "review_decided",
        "agreement_state",
    }
)
"""Refusals that say *not in this state* rather than *not you*: a conflict for the asker."""

OPENS_NOTHING: Final = frozenset(
    {
        "agreement.end",
        "authenticator.revoke",
        "determination.decline",
        "determination.revoke",
        "grant.revoke",
        "project.close",
        "project.member_remove",
        "release.withdraw",
        "version.register",
        "version.sample",
    }
)
"""Acts that take away, or note what intake made: they are done under a clock that was set back, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One act as the ledger will show it; ``kind`` is also the policy's action unless ``action`` says otherwise.

    ``words`` are texts of people, kept encrypted beside the intent; ``ticket`` is what asked for the act.
    """

    kind: str
    actor: Actor
    action: str = ""
    project: str | None = None
    dataset: str | None = None
    version: int | None = None
    ticket: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Acts:
    """Binds the state, the ledger and the clock."""

    store: RegistryStore
    audit: AuditClient
    clock: LedgerClock
    log: Log

    def perform(
        self, act: Act, question: Question, change: Callable[[], T], *, guard: Callable[[], None] | None = None
    ) -> T:
        """Does ``change`` when the policy allows it; refusals and their reasons stand in the ledger.

        ``guard`` raises when the act is allowed to this actor but what they brought is not good enough.
        The intent is in the ledger before the change is committed. Raises what the decision or the change raised.
        """
        intended = False
        try:
            with self.store.transaction():
                decision = self._decide(act, question, guard)
                self.record(act, "intent", role=decision.role)
                intended = True
                result = change()
        except EnclaveError as error:
            if intended:
                self.record(act, "failed", reason=error.code)
                error.recorded = True
            raise
        try:
            self.record(act, "ok", role=decision.role)
        except UnavailableError:
            self.log.warning("outcome not recorded", kind=act.kind)  # the intent is; the change is durable
        return result

    def check_may_read(self, act: Act) -> None:
        """Raises (and records the refusal) when the actor may not read this kind of thing."""
        self._decide(act, lambda: (Resource(), NO_FACTS), reads=True)

    def _decide(
        self, act: Act, question: Question, guard: Callable[[], None] | None = None, *, reads: bool = False
    ) -> Decision:
        try:
            # Asked before the facts: they, too, are judged by what the ledger knows.
            at = self.clock.latest() if reads else self.clock.asked()
            resource, facts = question()
            decision = decide(act.actor, act.action or act.kind, resource, facts, at)
            if not decision.allowed:
                family = ConflictError if decision.reason in WRONG_STATE else DeniedError
                raise family(decision.message, code=decision.reason)
            if not reads and act.kind not in OPENS_NOTHING:
                self.clock.check()
            if guard is not None:
                guard()
        except UnavailableError:
            raise
        except EnclaveError as error:
            self.record(act, "refused", reason=error.code)
            error.recorded = True
            raise
        return decision

    def record(self, act: Act, outcome: str, *, reason: str | None = None, role: str | None = None) -> None:
        """One event; raises ``UnavailableError`` without a receipt."""
        self.audit.record(
            act.kind,
            actor=act.actor.name,
            outcome=outcome,
            role=role or None,
            reason=reason,
            project=act.project,
            dataset=act.dataset,
            version=act.version,
            ticket=act.ticket,
            source="registry",
            detail=act.detail,
            bodies=act.words if outcome == "intent" else None,
        )

    def now_text(self) -> str:
        """The time now as it is kept."""
        return format_time(self.clock.now())


def check_reason(reason: str) -> None:
    """Raises ``InvalidError`` unless a decision comes with 1 to 2000 characters of why."""
    if not 0 < len(reason.strip()) <= 2000:
        raise InvalidError("reason: wanted 1 to 2000 characters, got none or more")
