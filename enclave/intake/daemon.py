"""`enclave-intaked`: takes batches in, works on one after the other, says where each stands."""

from __future__ import annotations

import os
import queue
import secrets
import shutil
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from enclave.audit.client import AuditClient
from enclave.audit.ledger_clock import LedgerClock
from enclave.core.clock import Clock, format_time, parse_time
from enclave.core.errors import (
    ConflictError,
    DeniedError,
    EnclaveError,
    InvalidError,
    NotFoundError,
    UnavailableError,
)
from enclave.core.ids import check_name
from enclave.intake import review
from enclave.intake.batches import BatchRegister
from enclave.intake.drafting import DraftTerms
from enclave.intake.engagement import facts_for_expert
from enclave.intake.material import ReviewMaterial
from enclave.intake.pipeline import ACTOR, Pipeline
from enclave.intake.recipe import IntakeRecipe, read_intake_recipe
from enclave.intake.settings import IntakeSettings
from enclave.intake.software import software_sha256
from enclave.keys.box import open_box
from enclave.keys.uri import file_uri
from enclave.policy.decide import check, decide
from enclave.policy.model import NO_FACTS, Actor, Facts, Resource, ReviewFacts
from enclave.runtime.clock import SystemClock
from enclave.runtime.home import Home, ensure_private_dir, service_uids
from enclave.runtime.log import Log
from enclave.wire.client import WireClient, call_once
from enclave.wire.messages.determination import NoteSoftware
from enclave.wire.messages.facts import AskProjectStanding
from enclave.wire.messages.intake import (
    AddBatch,
    Batch,
    BatchList,
    ListBatches,
    LookAtItem,
    ReviewImage,
    ReviewItem,
    ShowBatch,
)
from enclave.wire.peer import Call, Handler, WireServer

_UNKNOWN = Actor("unknown", frozenset())
_NOTHING = Resource()
_READS = "intake.list"  # where batches stand: no data, so it is told whatever the clock does
_INBOXES = ("demo", "inbox")  # the only folders of the home that may be handed in
_MOST_JOBS = 4  # each takes some 400 MB for the text network
_SOFTWARE_EVERY_S = 3600.0
_SOFTWARE_RETRY_S = 2.0
_Task = tuple[Batch, IntakeRecipe, Path]


class IntakeDaemon:
    """The intake desk behind one socket, and one worker behind it.

    ``resolve`` turns a person's token into an actor and raises ``DeniedError`` when it is none.
    """

    def __init__(
        self,
        home: Home,
        *,
        resolve: Callable[[str], Actor],
        log: Log,
        settings: IntakeSettings | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._home = home
        self._resolve = resolve
        self._log = log
        self._settings = settings or IntakeSettings()
        self._clock = clock or SystemClock()
        ensure_private_dir(home.run_dir, mode=0o711)
        folder = ensure_private_dir(home.state("identified"))
        self._audit = AuditClient(home.socket("auditd"), clock=self._clock)
        self._time = LedgerClock(self._clock, self._audit)
        self._register = BatchRegister(folder / "batches")
        self._registry = WireClient(home.socket("registryd"))
        box = open_box(file_uri(home.key_file("intake-box")))
        self._material = ReviewMaterial(folder / "review", box=box)
        self._pipeline = self._make_pipeline()
        self._tasks: queue.Queue[_Task | None] = queue.Queue()
        self._reviewing = threading.Lock()
        self._worker = threading.Thread(target=self._work, name="intake", daemon=True)
        self._ended = threading.Event()
        self._teller = threading.Thread(target=self._tell_software, name="software", daemon=True)
        uids = service_uids(home)
        self._server = WireServer(
            home.socket("intaked"),
            self._handlers(),
            log=log,
            allowed_uids=uids,
            mode=0o600 if len(uids) == 1 else 0o666,
        )

    def _make_pipeline(self) -> Pipeline:
        return Pipeline(
            home=self._home,
            register=self._register,
            audit=self._audit,
            vault=WireClient(self._home.socket("vaultd")),
            registry=self._registry,
            clock=self._clock,
            notes=self._log,
            material=self._material,
            jobs=self._settings.jobs or min(_MOST_JOBS, len(os.sched_getaffinity(0))),
        )

    def _handlers(self) -> dict[type[Any], Handler]:
        return {
            AddBatch: self._add,
            ListBatches: self._list,
            ShowBatch: self._show,
            LookAtItem: self._look,
            ReviewImage: self._review,
        }

    def start(self) -> None:
        """Settles what a former process left behind, then listens."""
        self._settle()
        for batch in self._register.all():
            if batch.state == "sealed" and any(batch.review.values()):
                self._tell_review(batch)
        self._worker.start()
        self._teller.start()
        self._server.start()

    def close(self) -> None:
        """Stops listening and gives the running batch a moment; if it is longer, the next start settles it."""
        self._server.close()
        self._ended.set()
        self._tasks.put(None)
        self._worker.join(timeout=5.0)
        self._teller.join(timeout=5.0)
        self._audit.close()

    def _tell_software(self) -> None:
        """At the start and every hour: determinations about the work of other software than this are looked at again,
        and views of heads that are too old go.

        What runs is what was loaded: the hash is taken once. A registry that is away is told once it is there.
        """
        message = NoteSoftware(software_sha256=software_sha256())
        while not self._ended.is_set():
            pause_s = _SOFTWARE_EVERY_S
            try:
                self._forget_old_views()
                noted = call_once(self._home.socket("registryd"), message)
            except EnclaveError as error:
                pause_s = _SOFTWARE_RETRY_S
                self._log.warning("registry or ledger did not answer; told again soon", code=error.code)
            else:
                if noted.reopened:
                    self._log.info("determinations reopened by a change of software", count=len(noted.reopened))
            self._ended.wait(pause_s)

    def _forget_old_views(self) -> None:
        """Heads as they came in are not kept for ever; those that nobody has judged wait for it."""
        oldest = self._time.latest() - timedelta(days=self._settings.face_views_days)
        for batch in self._register.all():
            heads = tuple(one for one in review.judged_heads(batch) if self._material.holds(batch.id, one))
            if heads and parse_time(batch.received) <= oldest:
                self._audit.record(
                    "intake.forget",
                    actor=ACTOR,
                    role="service",
                    dataset=batch.dataset,
                    version=batch.version,
                    objects=heads,
                    ticket=batch.id,
                    detail={"batch": batch.id},
                )
                for item in heads:
                    self._material.forget(batch.id, item)

    # ── people ──────────────────────────────────────────────────────────────

    def _add(self, message: AddBatch, _call: Call) -> Batch:
        actor, role = self._allowed(message.token, "intake.add", resource=Resource(dataset=message.dataset))
        try:
            recipe, directory = self._check_batch(message, person=actor.name)
        except EnclaveError as error:
            self._audit.record("intake.add", actor=actor.name, role=role, outcome="refused", reason=error.code)
            raise
        batch = Batch(
            id=secrets.token_hex(16),
            dataset=message.dataset,
            recipe=recipe.name,
            state="received",
            submitted_by=actor.name,
            received=format_time(self._clock.now()),
            progress=0.0,
            summary={},
            project=message.project,
        )
        self._audit.record(
            "intake.add",
            actor=actor.name,
            role=role,
            dataset=batch.dataset,
            project=batch.project or None,
            ticket=batch.id,
            detail={"batch": batch.id, "recipe": recipe.name},
        )
        self._register.put(batch)
        self._tasks.put((batch, recipe, directory))
        return batch

    def _list(self, message: ListBatches, _call: Call) -> BatchList:
        self._allowed(message.token, "intake.list")
        return BatchList(batches=self._register.all())

    def _show(self, message: ShowBatch, _call: Call) -> Batch:
        return self._known(message.token, message.id, "intake.list")

    def _look(self, message: LookAtItem, _call: Call) -> ReviewItem:
        with self._reviewing:
            batch, actor, role = self._reviewer(message, "intake.look")
            self._audit.record(
                "intake.look",
                actor=actor.name,
                role=role,
                dataset=batch.dataset,
                version=batch.version,
                objects=(message.image,),
                ticket=batch.id,
                detail={"batch": batch.id},
            )
            return self._material.show(batch.id, message.image)

    def _reviewer(self, message: LookAtItem | ReviewImage, action: str) -> tuple[Batch, Actor, str]:
        batch = self._batch_to_review(message)
        seen = self._review_facts(batch, message.image)

        def facts(actor: Actor) -> Facts:
            if action == "intake.look" and seen.face and "expert" in actor.roles:
                return facts_for_expert(self._registry, actor.name, batch=batch, seen=seen)
            return Facts(review=seen)

        resource = Resource(dataset=batch.dataset, version=batch.version or 0, id=batch.id)
        return batch, *self._allowed(message.token, action, resource=resource, facts=facts)

    def _review_facts(self, batch: Batch, image: str) -> ReviewFacts:
        face = review.shows_face(image)
        in_sample = batch.state == "sealed" and image in batch.review
        return ReviewFacts(
            batch=batch.id,
            submitted_by=batch.submitted_by,
            waiting=review.waits(batch, image),
            face=face,
            kept=face and in_sample and self._material.holds(batch.id, image),
        )

    def _review(self, message: ReviewImage, _call: Call) -> Batch:
        with self._reviewing:
            batch, actor, role = self._reviewer(message, "intake.review")
            after = self._judged(batch, message, actor=actor.name)
            counts = {**batch.summary["quality"]["review"], **review.standing(after.review)}
            summary = {**batch.summary, "quality": {**batch.summary["quality"], "review": counts}}
            self._audit.record(
                "intake.review",
                actor=actor.name,
                role=role,
                dataset=batch.dataset,
                version=batch.version,
                objects=(message.image,),
                ticket=batch.id,
                detail={"batch": batch.id, "clean": message.clean, "waiting": counts["waiting"]},
                bodies={"reason": message.reason} if message.reason else None,
            )
            changed = self._register.change(batch.id, review=after.review, summary=summary)
            if not review.shows_face(message.image):
                self._material.forget(batch.id, message.image)
        self._tell_review(changed)
        return changed

    def _judged(self, batch: Batch, message: ReviewImage, *, actor: str) -> Batch:
        try:
            review.check_reason(message.reason, clean=message.clean)
        except InvalidError as error:
            self._audit.record(
                "intake.review", actor=actor, dataset=batch.dataset, outcome="refused", reason=error.code
            )
            raise
        at = format_time(self._clock.now())
        return review.judged(
            batch, image=message.image, clean=message.clean, by=actor, at=at, reason=message.reason.strip()
        )

    def _tell_review(self, batch: Batch) -> None:
        """A registry that is away hears it at the next judgement or start; until then it approves nothing more."""
        try:
            self._pipeline.tell_review(batch)
        except EnclaveError as error:
            self._log.warning("registry not told of the review", batch=batch.id, code=error.code)

    def _batch_to_review(self, message: LookAtItem | ReviewImage) -> Batch:
        """The batch; that there is none is told only to who may see the list."""
        try:
            return self._register.get(message.id)
        except (NotFoundError, InvalidError):
            kind = "intake.look" if isinstance(message, LookAtItem) else "intake.review"
            return self._known(message.token, message.id, kind)

    def _known(self, token: str, batch_id: str, kind: str) -> Batch:
        """The batch, to who may see the list; that there is none is in the ledger before it is told."""
        actor, role = self._allowed(token, "intake.list")
        try:
            return self._register.get(batch_id)
        except (NotFoundError, InvalidError) as error:
            self._audit.record(kind, actor=actor.name, role=role, outcome="refused", reason=error.code)
            raise

    def _allowed(
        self, token: str, action: str, *, resource: Resource = _NOTHING, facts: Callable[[Actor], Facts] | None = None
    ) -> tuple[Actor, str]:
        """The actor and the role that allows the act; a refusal is in the ledger before it is answered."""
        actor = _UNKNOWN
        try:
            actor = self._resolve(token)
            reads = action == _READS
            at = self._time.latest() if reads else self._time.asked()
            known = facts(actor) if facts else NO_FACTS
            decision = decide(actor, action, resource, known, at)
            check(decision)
            if not reads:
                self._time.check()
        except (DeniedError, UnavailableError) as error:
            self._audit.record(action, actor=actor.name, outcome="refused", reason=error.code)
            raise
        return actor, decision.role

    def _check_directory(self, text: str) -> Path:
        directory = Path(text)
        if not directory.is_absolute() or not directory.is_dir():
            raise InvalidError("intake: wanted the absolute path of a folder that intaked can read, got another")
        real, home = directory.resolve(), self._home.root.resolve()
        inside = real.is_relative_to(home) or home.is_relative_to(real)
        if inside and not any(real.is_relative_to(home / name) for name in _INBOXES):
            raise DeniedError(
                "intake: wanted a folder outside of the enclave's own state, got one inside; use HOME/inbox",
                code="folder_of_the_enclave",
            )
        return real

    def _check_batch(self, message: AddBatch, *, person: str) -> tuple[IntakeRecipe, Path]:
        check_name(message.dataset, what="dataset")
        recipe = read_intake_recipe(message.recipe, folder=self._settings.recipes_dir)
        self._check_project(message.project, recipe, person=person)
        return recipe, self._check_directory(message.directory)

    def _check_project(self, project: str, recipe: IntakeRecipe, *, person: str) -> None:
        """A project is named when, and only when, the recipe's pseudonyms are per project; it must be open."""
        wanted = recipe.deid.pseudonym_domain == "project"
        if wanted != bool(project):
            raise InvalidError(
                f"recipe {recipe.name}: wanted {'a project' if wanted else 'no project'} with it, got "
                f"{'none' if wanted else 'one'}; pseudonym_domain in the recipe says which"
            )
        if project:
            check_name(project, what="project")
            standing = self._registry.call(AskProjectStanding(person=person, project=project), timeout_s=30)
            if standing.state != "open":
                raise ConflictError(
                    "intake: wanted an open project, got one that is closed or not there", code="project_not_open"
                )

    # ── the worker ──────────────────────────────────────────────────────────

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            batch, recipe, directory = task
            self._register.change(batch.id, state="deidentifying", progress=0.0)
            self._pipeline.run(batch, recipe, directory)

    def _settle(self) -> None:
        """A batch that was sealed is registered now; any other one failed, and its half-made files go."""
        shutil.rmtree(self._home.state("identified") / "work", ignore_errors=True)
        for batch in self._register.unfinished():
            if batch.version is not None:
                try:
                    self._pipeline.resume_registration(batch, terms=self._terms_of(batch))
                except EnclaveError as error:
                    self._log.warning("registration after a restart failed", batch=batch.id, code=error.code)
                continue
            self._material.forget_all(batch.id)
            self._audit.record(
                "intake.deidentify",
                actor=ACTOR,
                role="service",
                outcome="failed",
                reason="interrupted",
                dataset=batch.dataset,
                ticket=batch.id,
                detail={"batch": batch.id, "recipe": batch.recipe},
            )
            self._register.change(
                batch.id, state="failed", message="Interrupted by a restart of intake; nothing was kept. Add it again."
            )

    def _terms_of(self, batch: Batch) -> DraftTerms | None:
        try:
            return read_intake_recipe(batch.recipe, folder=self._settings.recipes_dir).determination
        except EnclaveError as error:
            self._log.warning("recipe gone; no determination drafted", batch=batch.id, code=error.code)
            return None
