"""Holding, planning and destroying: who may, what was asked, what came of it; each of it an event before it is done."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from enclave.audit.bodies import MAX_SEALED_BYTES, Shredded, shred_bodies
from enclave.audit.body_keys import BodyKeys
from enclave.audit.copies import CopySettings
from enclave.audit.cosignature import cosigned_at
from enclave.audit.desk import UNKNOWN, Note
from enclave.audit.retention import Hold, Plan, RetentionSettings, check_hold, plan, ripe_since
from enclave.audit.retention_scan import DUE, LIFTED, PLACED, Scanned, bodies_in, scan
from enclave.audit.segments import segment_files
from enclave.core.clock import Clock, format_time, parse_time
from enclave.core.errors import ConflictError, DeniedError, EnclaveError, InvalidError, NotFoundError, UnavailableError
from enclave.keys.verify import verify_ed25519
from enclave.policy.decide import check, decide
from enclave.policy.model import Actor, Facts, Resource
from enclave.wire.messages.audit import (
    ApplyRetention,
    Copy,
    HoldPlaced,
    HoldRow,
    Holds,
    LiftHold,
    ListHolds,
    PlaceHold,
    PlanRetention,
    RetentionPlan,
)
from enclave.wire.messages.audit import Shredded as ShreddedReply
from enclave.wire.messages.schema import Done

SERVICE = "service:auditd"


class RetentionDesk:
    """Answers stewards and auditors. One act at a time: no hold comes between a plan and what follows from it."""

    def __init__(  # noqa: PLR0913 - the parts of one process, all by keyword
        self,
        folder: Path,
        *,
        keys: BodyKeys,
        settings: RetentionSettings,
        copies: CopySettings,
        copy_status: Callable[[], tuple[Copy, ...]],
        resolve: Callable[[str], Actor] | None,
        note: Note,
        rotate: Callable[[], None],
        rebuild: Callable[[], object],
        clock: Clock,
    ) -> None:
        self._folder, self._keys, self._settings = folder, keys, settings
        self._copies, self._copy_status = copies, copy_status
        self._resolve, self._note, self._rotate, self._rebuild, self._clock = resolve, note, rotate, rebuild, clock
        self._guard = threading.Lock()

    def place(self, message: PlaceHold) -> HoldPlaced:
        """Keeps bodies from destruction; the event is the hold."""
        actor = self._who(message.token, "audit.hold_place", PLACED)
        hold = check_hold(
            Hold(
                id=secrets.token_hex(8),
                project=message.project,
                dataset=message.dataset,
                person=message.person,
                since=parse_time(message.since) if message.since else None,
                until=parse_time(message.until) if message.until else None,
            )
        )
        detail: dict[str, Any] = {"hold": hold.id}
        detail |= {key: value for key, value in _sides(hold).items() if value}
        told = {"project": hold.project or None, "dataset": hold.dataset or None, "detail": detail}
        with self._guard:
            self._tell(PLACED, actor.name, message.reason, message.ticket, told=told)
        return HoldPlaced(id=hold.id)

    def lift(self, message: LiftHold) -> Done:
        """Ends a hold; raises ``NotFoundError``."""
        actor = self._who(message.token, "audit.hold_lift", LIFTED)
        with self._guard:
            hold = next((hold for hold in self._scan(set()).holds if hold.id == message.id), None)
            if hold is None:
                raise NotFoundError("legal hold: wanted one that stands, got none of this id")
            told = {"project": hold.project or None, "dataset": hold.dataset or None, "detail": {"hold": hold.id}}
            self._tell(LIFTED, actor.name, message.reason, message.ticket, told=told)
        return Done()

    def holds(self, message: ListHolds) -> Holds:
        """Those that stand."""
        self._who(message.token, "audit.hold_list", PLACED)
        return Holds(holds=tuple(_row(hold) for hold in self._scan(set()).holds))

    def show_plan(self, message: PlanRetention) -> RetentionPlan:
        """What would be destroyed now, and nothing done."""
        self._who(message.token, "audit.retention_plan", "audit.retention")
        with self._guard:
            made, at = self._plan()
        return RetentionPlan(
            digest=made.digest,
            due=len(made.due),
            held=len(made.held),
            kept=made.kept,
            oldest=made.due[0] if made.due else -1,
            newest=made.due[-1] if made.due else -1,
            time=format_time(at),
            holds=tuple(_row(hold) for hold in made.holds),
        )

    def apply(self, message: ApplyRetention) -> ShreddedReply:
        """Destroys exactly the bodies of the plan that was shown; raises ``ConflictError`` for another."""
        actor = self._who(message.token, "audit.retention_apply", "audit.retention")
        with self._guard:
            made, _ = self._plan()
            if made.digest != message.digest:
                self._refused("audit.retention", actor, "plan_changed")
                raise ConflictError("retention: wanted the plan that was shown, got another by now; look again")
            gone = self._carry_out(made, actor.name, message.reason, message.ticket)
        return ShreddedReply(bodies=gone.bodies, months=gone.months)

    def look(self) -> Shredded | None:
        """What the schedule asks for: tells once what is of age, and destroys what a notice told of long enough ago.

        Returns what was destroyed, None when nothing had to be. Raises ``UnavailableError``.
        """
        with self._guard:
            found, at = self._scan(self._with_body()), self._safe_time()
            made = plan(found.subjects, found.holds, settings=self._settings, at=at)
            ripe = ripe_since(found.notices, settings=self._settings, at=at)
            if ripe is not None:
                old = plan(found.subjects, found.holds, settings=self._settings, at=ripe)
                if old.due:
                    return self._carry_out(old, SERVICE, f"Of age by policy; told on {format_time(ripe)}.", "")
            if made.due and not any(notice.digest == made.digest for notice in found.notices):
                detail = {**_counts(made), "notice_days": self._settings.notice_days}
                self._note(DUE, actor=SERVICE, detail=detail)
        return None

    def _carry_out(self, made: Plan, actor: str, reason: str, ticket: str) -> Shredded:
        """An event before, an event after."""
        detail = _counts(made)
        self._rotate()  # the body of our own event begins a new segment: those before it are written to no more
        self._tell("audit.retention", actor, reason, ticket, told={"outcome": "intent", "detail": dict(detail)})
        try:
            gone = self._shred(made)
        except (OSError, EnclaveError) as error:
            code = error.code if isinstance(error, EnclaveError) else "disk"
            self._note("audit.retention", outcome="failed", reason=code, actor=actor, detail=detail)
            raise UnavailableError("retention: wanted to destroy bodies, the disk refused; do it again") from None
        detail |= {"shredded": gone.bodies, "months": list(gone.months)}
        self._note("audit.retention", actor=actor, detail=detail)
        return gone

    def _shred(self, made: Plan) -> Shredded:
        folder = self._folder / "bodies"
        gone = shred_bodies(folder, seqs=set(made.due), keys=self._keys, before=segment_files(folder)[-1])
        if gone.bodies:
            self._rebuild()  # the query store held the texts too
        return gone

    def _plan(self) -> tuple[Plan, datetime]:
        found = self._scan(self._with_body())
        at = self._safe_time()
        return plan(found.subjects, found.holds, settings=self._settings, at=at), at

    def _with_body(self) -> set[int]:
        return bodies_in(self._folder, max_record=MAX_SEALED_BYTES)

    def _scan(self, with_body: set[int]) -> Scanned:
        return scan(self._folder, with_body=with_body, own_uid=os.getuid())

    def _safe_time(self) -> datetime:
        """The earlier of our clock and the last witness's: a clock set ahead must not make bodies come of age."""
        keys = {witness.name: witness.key for witness in self._copies.witnesses}
        texts = [(copy.checkpoint, keys[copy.name]) for copy in self._copy_status() if copy.name in keys]
        seen = [cosigned_at(text, key=key, verify=verify_ed25519) or 0 for text, key in texts]
        now = self._clock.now()
        return min(now, datetime.fromtimestamp(max(seen), UTC)) if seen else now

    def _who(self, token: str, action: str, kind: str) -> Actor:
        if self._resolve is None:
            raise UnavailableError("retention: wanted the Hub to say who asks, this ledger runs without one")
        try:
            actor = self._resolve(token)
        except DeniedError as error:
            self._note(kind, outcome="refused", reason=error.code, actor=UNKNOWN)
            raise
        decision = decide(actor, action, Resource(), Facts(), self._clock.now())
        if not decision.allowed:
            self._refused(kind, actor, decision.reason)
        check(decision)
        return actor

    def _refused(self, kind: str, actor: Actor, reason: str) -> None:
        self._note(kind, outcome="refused", reason=reason, actor=actor.name)

    def _tell(self, kind: str, actor: str, reason: str, ticket: str, *, told: dict[str, Any]) -> None:
        if not reason.strip():
            raise InvalidError("retention: wanted a reason, got none; say why")
        self._note(kind, actor=actor, ticket=ticket or None, bodies={"reason": reason}, **told)


def _counts(made: Plan) -> dict[str, Any]:
    return {"digest": made.digest, "due": len(made.due), "held": len(made.held)}


def _sides(hold: Hold) -> dict[str, str]:
    since, until = (format_time(at) if at else "" for at in (hold.since, hold.until))
    return {"person": hold.person, "since": since, "until": until}


def _row(hold: Hold) -> HoldRow:
    return HoldRow(id=hold.id, project=hold.project, dataset=hold.dataset, **_sides(hold))
