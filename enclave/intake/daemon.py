"""`enclave-intaked`: takes batches in, works on one after the other, says where each stands."""

from __future__ import annotations

import os
import queue
import secrets
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from enclave.audit.client import AuditClient
from enclave.core.clock import Clock, format_time
from enclave.core.errors import DeniedError, EnclaveError, InvalidError
from enclave.core.ids import check_name
from enclave.intake import review
from enclave.intake.batches import BatchRegister
from enclave.intake.drafting import DraftTerms
from enclave.intake.pipeline import ACTOR, Pipeline
from enclave.intake.recipe import IntakeRecipe, read_intake_recipe
from enclave.intake.settings import IntakeSettings
from enclave.policy.decide import check, decide
from enclave.policy.model import NO_FACTS, Actor, Facts, Resource, ReviewFacts
from enclave.runtime.clock import SystemClock
from enclave.runtime.home import Home, PeerSettings, ensure_private_dir
from enclave.runtime.log import Log
from enclave.wire.client import WireClient
from enclave.wire.messages.intake import AddBatch, Batch, BatchList, ListBatches, ReviewImage, ShowBatch
from enclave.wire.peer import Call, WireServer

_UNKNOWN = Actor("unknown", frozenset())
_INBOXES = ("demo", "inbox")  # the only folders of the home that may be handed in
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
        self._register = BatchRegister(folder / "batches")
        self._pipeline = Pipeline(
            home=home,
            register=self._register,
            audit=self._audit,
            vault=WireClient(home.socket("vaultd")),
            registry=WireClient(home.socket("registryd")),
            clock=self._clock,
            notes=log,
            jobs=self._settings.jobs,
        )
        self._tasks: queue.Queue[_Task | None] = queue.Queue()
        self._reviewing = threading.Lock()
        self._worker = threading.Thread(target=self._work, name="intake", daemon=True)
        uids = frozenset({os.getuid(), *home.settings(PeerSettings, section="peers").uids})
        self._server = WireServer(
            home.socket("intaked"),
            {AddBatch: self._add, ListBatches: self._list, ShowBatch: self._show, ReviewImage: self._review},
            log=log,
            allowed_uids=uids,
            mode=0o600 if len(uids) == 1 else 0o666,
        )

    def start(self) -> None:
        """Settles what a former process left behind, then listens."""
        self._settle()
        self._worker.start()
        self._server.start()

    def close(self) -> None:
        """Stops listening and gives the running batch a moment; if it is longer, the next start settles it."""
        self._server.close()
        self._tasks.put(None)
        self._worker.join(timeout=5.0)
        self._audit.close()

    # ── people ──────────────────────────────────────────────────────────────

    def _add(self, message: AddBatch, _call: Call) -> Batch:
        actor, role = self._allowed(message.token, "intake.add", dataset=message.dataset)
        check_name(message.dataset, what="dataset")
        recipe = read_intake_recipe(message.recipe, folder=self._settings.recipes_dir)
        directory = self._check_directory(message.directory)
        batch = Batch(
            id=secrets.token_hex(16),
            dataset=message.dataset,
            recipe=recipe.name,
            state="received",
            submitted_by=actor.name,
            received=format_time(self._clock.now()),
            progress=0.0,
            summary={},
        )
        self._audit.record(
            "intake.add",
            actor=actor.name,
            role=role,
            dataset=batch.dataset,
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
        self._allowed(message.token, "intake.list")
        return self._register.get(message.id)

    def _review(self, message: ReviewImage, _call: Call) -> Batch:
        with self._reviewing:
            batch = self._register.get(message.id)
            facts = ReviewFacts(
                batch=batch.id, submitted_by=batch.submitted_by, waiting=review.waits(batch, message.image)
            )
            actor, role = self._allowed(
                message.token, "intake.review", dataset=batch.dataset, batch_id=batch.id, facts=Facts(review=facts)
            )
            at = format_time(self._clock.now())
            after = review.judged(batch, image=message.image, clean=message.clean, by=actor.name, at=at)
            counts = review.standing(after.review)
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
            )
            return self._register.change(batch.id, review=after.review, summary=summary)

    def _allowed(
        self, token: str, action: str, *, dataset: str = "", batch_id: str = "", facts: Facts = NO_FACTS
    ) -> tuple[Actor, str]:
        """The actor and the role that allows the act; a refusal is in the ledger before it is answered."""
        actor = _UNKNOWN
        try:
            actor = self._resolve(token)
            decision = decide(actor, action, Resource(dataset=dataset, id=batch_id), facts, self._clock.now())
            check(decision)
        except DeniedError as error:
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
