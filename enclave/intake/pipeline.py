"""From an identified folder to a sealed candidate: de-identify, check, measure, keep the key back, seal, register.

Identified bytes are read in place and never copied; what stands in ``HOME/identified/<batch>`` meanwhile is already
de-identified, readable by this process only, and removed at the end, however it ends. What a reviewer has to see stays,
sealed, until it is judged.
"""

from __future__ import annotations

import itertools
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from enclave.audit.client import AuditClient
from enclave.core.clock import Clock
from enclave.core.errors import ConflictError, EnclaveError, IntegrityError, InvalidError, UnavailableError
from enclave.deid.check import check_output
from enclave.deid.check_texts import recorded_texts
from enclave.deid.job import JobResult, JobSpec, run_job
from enclave.deid.keyring import Keyring, open_keyring
from enclave.deid.tables import CleanTable
from enclave.determination.account import ACCOUNT
from enclave.determination.replay import MEASURED_BEFORE
from enclave.intake.account import intake_account
from enclave.intake.batches import BatchRegister
from enclave.intake.documents import Documents, collect_documents
from enclave.intake.drafting import DraftTerms, draft_text
from enclave.intake.material import ReviewMaterial
from enclave.intake.recipe import INDEXES, IntakeRecipe
from enclave.intake.review import MAX_HEADS, frontal_of, sample_of, standing
from enclave.intake.series import Collected, collect_series
from enclave.intake.summary import evidence
from enclave.intake.withheld import Withheld, withheld_values, without_withheld
from enclave.keys.files import new_symmetric
from enclave.keys.uri import file_uri
from enclave.keys.wrap import open_wrapper
from enclave.risk.engine import Anonymised, anonymise, blinded
from enclave.runtime.home import Home, ensure_private_dir
from enclave.runtime.log import Log
from enclave.sealed.store import SealedStore
from enclave.sealed.writer import PlainObject, SealedVersion, seal_version
from enclave.wire.client import WireClient
from enclave.wire.messages.intake import Batch
from enclave.wire.messages.registry import NoteSample, ProposeDetermination, RegisterCandidate
from enclave.wire.messages.vault import StoreMap

ACTOR = "service:intake"
_PAUSES_S = (0.5, 1.0, 2.0, 4.0)  # a registry that restarts is back by then; asking twice is harmless
_LOOK_SHARE, _CLEAN_SHARE = 0.45, 0.2  # of the progress of a batch
_MAP_ROWS = 500  # per message, far below a frame's limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """The steps of one batch; each act stands in the ledger before and after it."""

    home: Home
    register: BatchRegister
    audit: AuditClient
    vault: WireClient
    registry: WireClient
    clock: Clock
    notes: Log
    material: ReviewMaterial
    jobs: int = 1

    def run(self, batch: Batch, recipe: IntakeRecipe, directory: Path) -> None:
        """Takes one batch to its end: sealed and registered, or failed with nothing left behind."""
        work = self.work_dir(batch.id)
        try:
            ensure_private_dir(work.parent)
            self._steps(batch, recipe, directory, work)
        except EnclaveError as error:
            self._fail(batch, error.message)
        except Exception as error:  # noqa: BLE001 - the batch fails, the daemon goes on; the text may hold data
            self.notes.error("batch failed", error, batch=batch.id)
            self._fail(batch, "Intake failed while doing this; its log says where.")
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def work_dir(self, batch_id: str) -> Path:
        """Where the de-identified files of one batch stand until they are sealed."""
        return self.home.state("identified") / "work" / batch_id

    def resume_registration(self, batch: Batch, *, terms: DraftTerms | None) -> None:
        """A batch that was sealed when the process died: registers what stands in its record, and drafts."""
        self._register(batch)
        message = " ".join(filter(None, ("Registered after a restart.", self._draft(batch, terms))))
        self.register.change(batch.id, state="sealed", progress=1.0, message=message)

    def _fail(self, batch: Batch, message: str) -> None:
        if self.register.get(batch.id).version is None:
            self.material.forget_all(batch.id)
            self.register.change(batch.id, state="failed", message=message)
        else:
            self.register.change(batch.id, message=f"Sealed, but not registered yet: {message} The next start does it.")
        self.notes.warning("batch did not reach the store", batch=batch.id)

    def _steps(self, batch: Batch, recipe: IntakeRecipe, directory: Path, work: Path) -> None:
        keyring = self._keyring(batch.dataset, project=batch.project)
        job, quality = self._deidentify(batch, recipe, directory, work, keyring)
        kept = self.material.keep(batch.id, sample=quality["review_sample"], work=work, job=job)
        quality["review_sample"], review = kept, sample_of(kept)
        self.register.change(batch.id, state="measuring", progress=0.7, review=review)
        measured, tables = self._measure(batch, recipe, job)
        self._keep_key_back(batch, job)
        self.register.change(batch.id, state="sealing", progress=0.8)
        suppressed = _suppressed(job, recipe, measured)
        series = collect_series(work / "dicom", without=suppressed)
        withheld = _withheld(job, recipe, measured)
        documents = _documents(work, suppressed, withheld)
        told = [without_withheld(clean, withheld=withheld) for clean in tables]
        tables, collected = [clean for clean, _ in told], (series, documents)
        summary = evidence(batch, recipe, job, quality=quality, measured=measured, collected=collected, tables=tables)
        summary["counts"]["texts_withheld"] = _texts_withheld(documents, told)
        objects = [*_table_objects(tables, *collected), *series.objects, *documents.objects]
        objects += [_as_it_was_measured(job, recipe), _account(job, summary)]
        sealed = self._seal(batch, objects, summary)
        shutil.rmtree(work, ignore_errors=True)  # before anybody is told that it is sealed
        done = self.register.get(batch.id)
        self._register(done)
        self.register.change(batch.id, state="sealed", progress=1.0, message=self._draft(done, recipe.determination))
        self.notes.info("batch sealed", batch=batch.id, dataset=batch.dataset, version=sealed.version)

    # ── de-identify ─────────────────────────────────────────────────────────

    def _keyring(self, dataset: str, *, project: str) -> Keyring:
        path = self.home.key_file(f"pseudonym-{dataset}")
        if not path.exists():
            try:
                new_symmetric(path)
            except ConflictError:
                self.notes.info("pseudonym key exists", dataset=dataset)
        return open_keyring(path, project=project)

    def _deidentify(
        self, batch: Batch, recipe: IntakeRecipe, directory: Path, work: Path, keyring: Keyring
    ) -> tuple[JobResult, dict[str, Any]]:
        detail = {"batch": batch.id, "recipe": recipe.name}
        with self._act("intake.deidentify", batch, detail) as done:
            job = run_job(
                JobSpec(
                    inputs=[directory],
                    output=work,
                    recipe=recipe.deid,
                    keyring=keyring,
                    jobs=self.jobs,
                    looking=self._progress(batch.id, after=0.0, share=_LOOK_SHARE),
                    progress=self._progress(batch.id, after=_LOOK_SHARE, share=_CLEAN_SHARE),
                )
            )
            quality = check_output(work, against=[directory], keyring=keyring, recipe=recipe.deid)
            _check_gate(job, quality)
            heads = sorted(job.faces)
            quality["review_sample"] += [frontal_of(folder) for folder in heads[:: -(-len(heads) // MAX_HEADS) or 1]]
            done.update({name: job.report[name] for name in ("files_in", "files_out", "quarantined", "table_edition")})
            done["patients"] = len(job.patients)
        return job, quality

    def _progress(self, batch_id: str, *, after: float, share: float) -> Callable[[int, int], None]:
        def tell(done: int, total: int) -> None:
            self.register.note_progress(batch_id, after + share * done / max(1, total))

        return tell

    # ── measure ─────────────────────────────────────────────────────────────

    def _measure(self, batch: Batch, recipe: IntakeRecipe, job: JobResult) -> tuple[Anonymised, list[CleanTable]]:
        detail: dict[str, Any] = {"batch": batch.id}
        with self._act("intake.measure", batch, detail) as done:
            table = next((clean for clean in job.tables if clean.name == recipe.risk_table), None)
            if table is None:
                raise InvalidError(
                    f"intake batch: wanted the table {recipe.risk_table}, got none; its risk cannot be measured",
                    code="risk_table_missing",
                )
            measured = anonymise(table.table, recipe.risk)
            after = measured.assessment_after.k or 0
            if after < recipe.risk.model.k:
                raise InvalidError(
                    f"intake batch: wanted k of at least {recipe.risk.model.k}, got {after}", code="k_not_reached"
                )
            done.update(k_before=measured.assessment_before.k or 0, k_after=after, suppressed=int(measured.suppressed))
        gone = _suppressed(job, recipe, measured)
        return measured, [_lowered(clean, recipe, measured, gone) for clean in job.tables]

    # ── key back, seal, register ────────────────────────────────────────────

    def _keep_key_back(self, batch: Batch, job: JobResult) -> None:
        rows = [
            {"pseudonym": pseudonym, "original_ids": [original], "offset_days": days}
            for original, (pseudonym, days) in sorted(job.patients.items())
        ]
        for at in range(0, len(rows), _MAP_ROWS):
            part = tuple(rows[at : at + _MAP_ROWS])
            message = StoreMap(dataset=batch.dataset, batch=batch.id, rows=part, project=batch.project)
            self.vault.call(message, timeout_s=60)

    def _seal(self, batch: Batch, objects: list[PlainObject], summary: dict[str, Any]) -> SealedVersion:
        with self._act("intake.seal", batch, {"batch": batch.id}) as done:
            sealed = seal_version(
                SealedStore(self.home.state("sealed")),
                dataset=batch.dataset,
                objects=objects,
                wrapper=open_wrapper(file_uri(self.home.root / "keys" / "kek.pub")),
                at=self.clock.now(),
            )
            summary["content_root"] = sealed.content_root  # remembered first: a restart then registers what is sealed
            self.register.change(batch.id, version=sealed.version, summary=summary, progress=0.95)
            done.update(objects=sealed.objects, bytes=sealed.bytes, content_root=sealed.content_root)
        return sealed

    def _register(self, batch: Batch) -> None:
        """Tells the registry of the candidate; the batch's record holds its version and content root."""
        review = batch.summary["quality"]["review"]
        self._tell_registry(
            RegisterCandidate(
                dataset=batch.dataset,
                version=batch.version or 0,
                content_root=batch.summary["content_root"],
                summary=batch.summary,
                steward=batch.submitted_by,
                review="required" if review["required"] else "optional",
                sample=len(batch.review),
                only_for=batch.project,
            )
        )

    def tell_review(self, batch: Batch) -> None:
        """Tells the registry where the review of a registered version stands; telling twice is harmless."""
        counts = standing(batch.review)
        self._tell_registry(
            NoteSample(
                dataset=batch.dataset,
                version=batch.version or 0,
                waiting=counts["waiting"],
                unclean=counts["unclean"],
            )
        )

    def _draft(self, batch: Batch, terms: DraftTerms | None) -> str:
        """Proposes the determination and returns what went wrong; a candidate without one is still a candidate."""
        if terms is None:
            return ""
        root, version = batch.summary["content_root"], batch.version or 0
        try:
            text = draft_text(terms, batch, content_root=root, version=version, at=self.clock.now())
            self._tell_registry(ProposeDetermination(text=text))
        except EnclaveError as error:
            if isinstance(error, ConflictError) and error.code == error.family:
                return ""  # proposed already, before a restart or a lost answer
            self.notes.warning("determination not drafted", batch=batch.id, code=error.code)
            return f"The determination was not drafted: {error.message}. Use `enclave determination draft`."
        return ""

    def _tell_registry(self, message: Any) -> None:
        for pause_s in (*_PAUSES_S, None):
            try:
                self.registry.call(message, timeout_s=30)
            except UnavailableError:
                if pause_s is None:
                    raise
                time.sleep(pause_s)
            else:
                return

    @contextmanager
    def _act(self, kind: str, batch: Batch, detail: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Intent before, outcome after. What the block puts into the dict goes into the outcome's detail."""
        fields: dict[str, Any] = {"actor": ACTOR, "role": "service", "dataset": batch.dataset, "ticket": batch.id}
        fields["project"] = batch.project or None
        self.audit.record(kind, outcome="intent", detail=detail, **fields)
        done: dict[str, Any] = dict(detail)
        try:
            yield done
        except BaseException as error:
            reason = error.code if isinstance(error, EnclaveError) else "unexpected"
            self.audit.record(kind, outcome="failed", reason=reason, detail=detail, **fields)
            raise
        self.audit.record(kind, outcome="ok", detail=done, **fields)


def _check_gate(job: JobResult, quality: dict[str, Any]) -> None:
    if job.report.get("pixels_not_cleaned"):
        raise InvalidError("intake batch: wanted pixel checks, got a run without them", code="pixels_not_cleaned")
    failed = [check["id"] for check in quality["checks"] if not check["ok"]]
    if failed:
        raise IntegrityError(
            f"intake batch: wanted every check to pass, got findings in {', '.join(failed)}; nothing was sealed",
            code="quality_gate",
        )
    if job.report["canaries"]["found"]:
        raise IntegrityError(
            "intake batch: wanted no canary to survive, got some; nothing was sealed", code="canary_survived"
        )
    if not job.report["files_out"]:
        raise InvalidError("intake batch: wanted files that could be cleaned, got none", code="nothing_left")


def _suppressed(job: JobResult, recipe: IntakeRecipe, measured: Anonymised) -> frozenset[str]:
    """The pseudonyms that are in the measured table before and not after: their data leave with them."""
    link = recipe.deid.tables[recipe.risk_table].of_role("link")[0]
    before = next(clean.table for clean in job.tables if clean.name == recipe.risk_table)
    return frozenset(before.column(link).to_pylist()) - frozenset(measured.table.column(link).to_pylist())


def _lowered(clean: CleanTable, recipe: IntakeRecipe, measured: Anonymised, gone: frozenset[str]) -> CleanTable:
    if clean.name == recipe.risk_table:
        owners = tuple(measured.table.column(recipe.deid.tables[clean.name].of_role("link")[0]).to_pylist())
        return replace(clean, table=measured.table, redactions=(), owners=owners)
    keep = [owner not in gone for owner in clean.owners]
    owners = tuple(itertools.compress(clean.owners, keep))
    return replace(clean, table=clean.table.filter(pa.array(keep, pa.bool_())), redactions=(), owners=owners)


def _withheld(job: JobResult, recipe: IntakeRecipe, measured: Anonymised) -> dict[str, Withheld]:
    """By pseudonym, what the measured table no longer tells of each patient that it is left with."""
    spec = recipe.deid.tables[recipe.risk_table]
    before = next(clean for clean in job.tables if clean.name == recipe.risk_table)
    return withheld_values(before, measured, link=spec.of_role("link")[0], ages=spec.of_role("age"))


def _texts_withheld(documents: Documents, tables: list[tuple[CleanTable, dict[str, int]]]) -> dict[str, Any]:
    """How many documents, and how many cells of which columns, do not tell what the measured table no longer does."""
    return {"documents": len(documents.changed), "tables": {clean.name: changed for clean, changed in tables}}


def _documents(work: Path, suppressed: frozenset[str], withheld: dict[str, Withheld]) -> Documents:
    """The documents of the measured patients, without what the measured table no longer tells of each."""
    flagged = recorded_texts(work / "provenance.parquet")
    return collect_documents(work / "dicom", without=suppressed, flagged=flagged, withheld=withheld)


def _table_objects(tables: list[CleanTable], series: Collected, documents: Documents) -> list[PlainObject]:
    named = {clean.name: clean.table for clean in tables}
    indexes = dict(zip(INDEXES, (series.index, documents.index), strict=True))
    named |= {name: pa.Table.from_pylist(rows) for name, rows in indexes.items() if rows}
    return [
        PlainObject(
            name=f"tables/{name}",
            kind="table",
            header={"rows": table.num_rows, "columns": table.column_names},
            chunks=_arrow_file(table),
        )
        for name, table in named.items()
    ]


def _as_it_was_measured(job: JobResult, recipe: IntakeRecipe) -> PlainObject:
    """The table before it was generalised, blinded: a replay measures it again, and nobody reads a value in it."""
    before = next(clean.table for clean in job.tables if clean.name == recipe.risk_table)
    table = blinded(before, recipe.risk, key=secrets.token_bytes(32)).to_arrow()
    return PlainObject(
        name=MEASURED_BEFORE, kind="review", header={"rows": table.num_rows}, chunks=_arrow_file(table, bare=False)
    )


def _account(job: JobResult, summary: dict[str, Any]) -> PlainObject:
    """What became of each file, so that what the certificate says of them can be held against it."""
    table = intake_account(job, summary)
    return PlainObject(
        name=ACCOUNT, kind="review", header={"rows": table.num_rows}, chunks=_arrow_file(table, bare=False)
    )


def _arrow_file(table: pa.Table, *, bare: bool = True) -> bytes:
    sink = pa.BufferOutputStream()
    plain = (table.replace_schema_metadata(None) if bare else table).combine_chunks()
    with pa.ipc.new_file(sink, plain.schema) as writer:
        writer.write_table(plain)
    return bytes(sink.getvalue())
