"""What the airlock does by itself: check what was handed in, pack what was approved, again after a restart."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import replace

from enclave.airlock.checks import Checker
from enclave.airlock.holdings import Holdings
from enclave.airlock.members import Standings
from enclave.airlock.package import make_manifest, manifest_digest, sign_manifest
from enclave.airlock.store import FileRecord, Record
from enclave.airlock.trail import SELF, SERVICE, Deed
from enclave.core.clock import format_time
from enclave.core.errors import DeniedError, EnclaveError
from enclave.disclosure.findings import highest_verdict
from enclave.keys.sign import Signer
from enclave.policy.decide import check, decide
from enclave.policy.model import Facts, Resource
from enclave.runtime.log import Log

END_S = 5.0


class Worker:
    """One thread that brings every request which the airlock owns to its next state.

    The database is its queue, so nothing is lost by a restart: a check that was cut off runs again.
    """

    def __init__(self, holdings: Holdings, *, checker: Checker, signer: Signer, log: Log) -> None:
        self._store = holdings.store
        self._trail = holdings.trail
        self._members = holdings.members
        self._clock = holdings.clock
        self._settings = holdings.settings
        self._checker = checker
        self._signer = signer
        self._log = log
        self._wake = threading.Event()
        self._moved = threading.Condition()
        self._stop = threading.Event()
        self._held: dict[str, str] = {}  # approved requests whose release was refused, and why
        self._thread = threading.Thread(target=self._loop, name="airlock-worker", daemon=True)

    def start(self) -> None:
        """Begins; what waits is done first."""
        self._thread.start()

    def close(self) -> bool:
        """Stops after the file in hand; says whether it ended within ``END_S``. What is cut off runs again."""
        self._stop.set()
        self._wake.set()
        self._thread.join(END_S)
        return not self._thread.is_alive()

    def settle(self, request_id: str) -> Record:
        """The request once its check has ended, or as it stands after ``submit_wait_s``."""
        self._wake.set()
        end = time.monotonic() + self._settings.submit_wait_s
        while True:
            record = self._store.find(request_id)
            left = end - time.monotonic()
            if record.state not in ("submitted", "checking") or left <= 0 or self._stop.is_set():
                return record
            with self._moved:
                self._moved.wait(min(left, 0.2))

    def release(self, request_id: str) -> None:
        """Packs and signs an approved request now; if the ledger is away, the worker does it later."""
        try:
            self._release(request_id)
        except EnclaveError as error:
            self._log.warning("release waits", request=request_id, reason=error.code)
            self._wake.set()

    def _loop(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            for record in self._store.in_states(("submitted", "checking", "approved")):
                if self._stop.is_set():
                    return
                self._one(record)
            self._wake.wait(self._settings.retry_s)

    def _one(self, record: Record) -> None:
        try:
            if record.state == "approved":
                self._release(record.id)
            else:
                self._check(record)
        except EnclaveError as error:
            self._log.warning("request waits", request=record.id, state=record.state, reason=error.code)
        except Exception as error:  # noqa: BLE001 - one request that breaks us must not stop the others
            self._log.error("request failed", error, request=record.id)
        with self._moved:
            self._moved.notify_all()

    def _check(self, record: Record) -> None:
        deed = Deed(
            kind="egress.check",
            actor=SERVICE,
            project=record.project,
            detail={"request": record.id, "round": record.round},
        )
        self._trail.intent(deed)
        if record.state == "submitted":
            with self._store.transaction():
                if self._store.find(record.id) != record:
                    return  # withdrawn meanwhile
                record = self._store.move(record, "start_check", at=self._now())
        files: tuple[FileRecord, ...] = ()
        for file in record.text.files:
            files = (*files, self._checker.check(file))
            if self._stop.is_set():
                return  # the next start checks it again
        verdict = highest_verdict(file.verdict for file in files)
        rules = Counter(str(finding["rule"]) for file in files for finding in file.findings)
        with self._store.transaction():
            if self._store.find(record.id) != record:
                return
            judged = replace(record, verdict=verdict, text=replace(record.text, files=files))
            self._store.move(judged, "block" if verdict == "block" else "pass_check", at=self._now())
            self._trail.done(deed, verdict=verdict, rules=dict(rules))

    def _release(self, request_id: str) -> None:
        """Packs it; refused, it stays approved and is looked at again, for its project may work again later."""
        record = self._store.find(request_id)
        if record.state != "approved":
            self._held.pop(request_id, None)
            return
        self._clock.asked()  # before the facts: they, too, are judged by what the ledger knows
        facts = Standings(self._members).facts(record, self._store.votes(record.id), actor=SERVICE)
        with self._store.transaction():
            if self._store.find(request_id) != record:
                return  # withdrawn meanwhile
            deed = Deed(
                kind="egress.release",
                actor=SERVICE,
                project=record.project,
                detail={"request": record.id, "round": record.round},
            )
            if not self._may_release(record, facts, deed):
                return
            manifest = make_manifest(record, released=self._now(), public_key=self._signer.public_key)
            signed = replace(
                record.text, manifest=manifest.decode("utf-8"), signature=sign_manifest(manifest, self._signer)
            )
            self._store.move(replace(record, text=signed), "release", at=self._now())
            digests = [file.sha256 for file in record.text.files]
            self._trail.done(deed, manifest_sha256=manifest_digest(signed.manifest), sha256=digests)

    def _may_release(self, record: Record, facts: Facts, deed: Deed) -> bool:
        """Whether policy lets it out now; a refusal is told once, however often it is found again."""
        refusal = self._refusal(record, facts)
        if refusal is None:
            self._held.pop(record.id, None)
        elif self._held.get(record.id) != refusal.code:
            try:
                with self._trail.telling(deed):
                    raise refusal
            except DeniedError:
                self._held[record.id] = refusal.code
                raise
        return refusal is None

    def _refusal(self, record: Record, facts: Facts) -> DeniedError | None:
        resource = Resource(project=record.project, id=record.id)
        try:
            check(decide(SELF, "egress.release", resource, facts, self._clock.latest()))
            self._clock.check()
        except DeniedError as error:
            return error
        return None

    def _now(self) -> str:
        return format_time(self._clock.now())
