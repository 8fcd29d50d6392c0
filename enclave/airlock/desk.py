"""The people's side: list, look, vote, withdraw, deliver. Each act is decided by policy and told to the ledger."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from enclave.airlock.checks import Checker
from enclave.airlock.holdings import Holdings
from enclave.airlock.members import Standings
from enclave.airlock.package import as_memory, build_package, manifest_digest, package_name
from enclave.airlock.states import CHOICES, Choice, VoteCast, outcome_of
from enclave.airlock.store import FileRecord, Record
from enclave.airlock.trail import NOBODY, SELF, Deed
from enclave.airlock.views import request_view
from enclave.audit.ledger_clock import STEP_WORDS
from enclave.core.clock import format_time, parse_time
from enclave.core.errors import InvalidError, NotFoundError
from enclave.core.ids import check_token_id
from enclave.policy.decide import check, decide
from enclave.policy.model import Actor, Decision, Facts, Resource
from enclave.wire.messages.airlock import (
    Deliver,
    DeliveryReply,
    EgressRequest,
    EgressRequestList,
    ListRequests,
    Preview,
    PreviewReply,
    ShowRequest,
    Vote,
    Withdraw,
)
from enclave.wire.peer import Call, Reply

_ACTS: Final = {"vote": "egress.vote", "withdraw": "egress.withdraw", "deliver": "egress.deliver"}
_NEXT: Final = {"awaiting_review": "egress.vote", "approved": "egress.release", "released": "egress.deliver"}
MAX_REASON: Final = 2_000


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks, and how they and others stand to projects."""

    actor: Actor
    standings: Standings


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What people can ask of the airlock. ``release`` packs an approved request.

    ``resolve`` may answer from what it heard a moment ago, ``resolve_anew`` asks the Hub again.
    """

    holdings: Holdings
    checker: Checker
    resolve: Callable[[str], Actor]
    resolve_anew: Callable[[str], Actor]
    release: Callable[[str], None]

    def list_requests(self, message: ListRequests, call: Call) -> EgressRequestList:
        """What this person may see, newest first."""
        del call
        person = self._person(message.token, Deed(kind="egress.view", actor=NOBODY, detail={"part": "list"}))
        deed = Deed(kind="egress.view", actor=person.actor.name, detail={"part": "list"})
        with self.holdings.trail.telling(deed):
            self._check(person, "egress.list", Resource())
        found = [r for r in self.holdings.store.all() if self._sees(person, r) and message.project in (None, r.project)]
        return EgressRequestList(requests=tuple(self._view(person, record) for record in found[:500]))

    def show(self, message: ShowRequest, call: Call) -> EgressRequest:
        """One request in full."""
        del call
        person, deed = self._begin(message.token, "egress.view", message.id, reads=True)
        deed.detail["part"] = "request"
        with self.holdings.trail.telling(deed):
            self._check(person, "egress.list", Resource())
            record = self._seen(person, message.id)
        self.holdings.trail.done(deed)
        return self._view(person, record)

    def preview(self, message: Preview, call: Call) -> PreviewReply:
        """One file as a marked rendering, for a checker who may vote on it or has."""
        del call
        person, deed = self._begin(message.token, "egress.view", message.id, reads=True)
        deed.detail["part"] = "preview"
        with self.holdings.trail.telling(deed):
            record = self._seen(person, message.id)
            file = _file(record, message.name)
            check(self._decide(person, "egress.preview", record))
        self.holdings.trail.done(deed, sha256=file.sha256)
        now = self.holdings.clock.latest().strftime("%Y-%m-%d %H:%M UTC")
        return self.checker.preview(file, mark=f"{person.actor.name} · {now}")

    def vote(self, message: Vote, call: Call) -> EgressRequest:
        """One independent vote; it may decide the request."""
        del call
        person, deed = self._begin(message.token, "egress.vote", message.id)
        with self.holdings.store.transaction(), self.holdings.trail.telling(deed):
            record = self._seen(person, message.id)
            deed = replace(deed, role="output_checker")
            choice = _choice(message.vote)
            if not 1 <= len(message.reason.strip()) <= MAX_REASON:
                raise InvalidError(
                    f"vote: wanted a reason of 1 to {MAX_REASON} characters, got none or more", code="egress_reason"
                )
            check(self._decide(person, "egress.vote", record, approve=choice == "approve"))
            if choice == "approve":
                self.holdings.clock.check()
            record, decided = self._count(record, person.actor.name, choice, message.reason.strip())
            self.holdings.trail.done(deed, round=record.round, vote=choice, decided=decided or "open")
        if decided == "approve":
            self.release(record.id)
        return self._view(person, self.holdings.store.find(record.id))

    def withdraw(self, message: Withdraw, call: Call) -> EgressRequest:
        """The author takes it back."""
        del call
        person, deed = self._begin(message.token, "egress.withdraw", message.id)
        with self.holdings.store.transaction(), self.holdings.trail.telling(deed):
            record = self._seen(person, message.id)
            check(self._decide(person, "egress.withdraw", record))
            moved = self.holdings.store.move(record, "withdraw", at=self._now())
            self.holdings.trail.done(deed)
        return self._view(person, moved)

    def deliver(self, message: Deliver, call: Call) -> Reply:
        """The package, to its author, once. A broken connection afterwards does not give a second one.

        Nothing that was handed over comes back, so the Hub is asked anew who this is, and the registry whether they
        still belong to the project, it is open, and its agreement stands. Refused, the request stays released.
        """
        del call
        person, deed = self._begin(message.token, "egress.deliver", message.id, anew=True)
        with self.holdings.store.transaction():
            with self.holdings.trail.telling(deed):
                record = self._seen(person, message.id)
                check(self._decide(person, "egress.deliver", record))
                self.holdings.clock.check()
            digest = manifest_digest(record.text.manifest)
            self.holdings.trail.intent(deed, manifest_sha256=digest)
            with self.holdings.trail.telling(deed, failed=True):
                package = build_package(record, self.holdings.frozen.read)
            sha256 = hashlib.sha256(package).hexdigest()
            self.holdings.store.move(record, "deliver", at=self._now())
            self.holdings.trail.done(deed, manifest_sha256=digest, package_sha256=sha256, size_bytes=len(package))
            fd = as_memory(package, name="package")
        reply = DeliveryReply(name=package_name(record), size_bytes=len(package), sha256=sha256)
        return Reply(reply, (fd,))

    # ── who asks, what they may ─────────────────────────────────────────────

    def _begin(
        self, token: str, kind: str, request_id: str, *, anew: bool = False, reads: bool = False
    ) -> tuple[Person, Deed]:
        """Who asks about which request; an unknown token or a broken id is refused and told."""
        unknown = Deed(kind=kind, actor=NOBODY)
        with self.holdings.trail.telling(unknown):
            check_token_id(request_id, what="egress request")
        if not reads:
            self.holdings.clock.asked()  # before the facts: they, too, are judged by what the ledger knows
        person = self._person(token, Deed(kind=kind, actor=NOBODY, detail={"request": request_id}), anew=anew)
        project = None
        with contextlib.suppress(NotFoundError):  # told by the caller, in its own words
            record = self.holdings.store.find(request_id)
            project = record.project
            for one in (person.actor.name, record.author):  # asked here: no transaction waits for the registry
                person.standings.of(one, record.project)
        return person, Deed(kind=kind, actor=person.actor.name, project=project, detail={"request": request_id})

    def _person(self, token: str, deed: Deed, *, anew: bool = False) -> Person:
        with self.holdings.trail.telling(deed):
            actor = (self.resolve_anew if anew else self.resolve)(token)
        return Person(actor, Standings(self.holdings.members))

    def _seen(self, person: Person, request_id: str) -> Record:
        record = self.holdings.store.find(request_id)
        if not self._sees(person, record):
            raise NotFoundError("egress request: wanted one that you may see, got none of this id")
        return record

    def _sees(self, person: Person, record: Record) -> bool:
        return record.author == person.actor.name or bool(person.actor.roles & {"output_checker", "auditor"})

    def _check(self, person: Person, action: str, resource: Resource) -> None:
        check(decide(person.actor, action, resource, Facts(), self.holdings.clock.latest()))

    def _decide(self, person: Person, action: str, record: Record, *, approve: bool = True) -> Decision:
        votes = self.holdings.store.votes(record.id)
        until = self._until(record)
        facts = person.standings.facts(record, votes, actor=person.actor.name, approve=approve, until=until)
        resource = Resource(project=record.project, id=record.id)
        return decide(person.actor, action, resource, facts, self.holdings.clock.latest())

    def _until(self, record: Record) -> datetime | None:
        """When the delivery of a released request ends."""
        if record.state != "released":
            return None
        return parse_time(self.holdings.store.released(record.id)) + timedelta(
            days=self.holdings.settings.delivery_days
        )

    def _view(self, person: Person, record: Record) -> EgressRequest:
        # Who may not approve may still return or reject it, so that is what is offered.
        may = tuple(act for act, action in _ACTS.items() if self._decide(person, action, record, approve=False).allowed)
        preview = ("preview",) if self._decide(person, "egress.preview", record).allowed else ()
        until = self._until(record)
        return request_view(
            record,
            self.holdings.store.votes(record.id),
            self.holdings.store.steps(record.id),
            viewer=person.actor.name,
            may=(*may, *preview),
            held=self._held(person, record, may),
            until=format_time(until) if until else "",
        )

    def _held(self, person: Person, record: Record, may: tuple[str, ...]) -> str:
        """Why the step that its state promises does not come: to its author, and to a checker who may vote."""
        action = _NEXT.get(record.state, "")
        mine = record.author == person.actor.name
        if not action or (action == "egress.vote" and "vote" not in may) or (action == "egress.deliver" and not mine):
            return ""
        actor = SELF if action == "egress.release" else person.actor
        decision = self._decide(Person(actor, person.standings), action, record)
        if decision.allowed:
            return STEP_WORDS if self.holdings.clock.stepped_back() else ""
        return decision.message

    def _count(self, record: Record, checker: str, choice: Choice, reason: str) -> tuple[Record, Choice | None]:
        at = self._now()
        cast = VoteCast(checker=checker, choice=choice, round=record.round)
        self.holdings.store.add_vote(record.id, cast, reason=reason, at=at)
        decided = outcome_of((v.cast for v in self.holdings.store.votes(record.id)), round_number=record.round)
        return (self.holdings.store.move(record, decided, at=at) if decided else record), decided

    def _now(self) -> str:
        return format_time(self.holdings.clock.now())


def _choice(text: str) -> Choice:
    for choice in CHOICES:
        if text == choice:
            return choice
    raise InvalidError("vote: wanted approve, reject or return, got another word", code="egress_vote")


def _file(record: Record, name: str) -> FileRecord:
    for file in record.text.files:
        if file.name == name:
            return file
    raise NotFoundError("egress file: wanted one of the request, got none of this name")
