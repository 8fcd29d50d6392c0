"""One de-identification job: read all headers, then clean each file, then the tables, then the account of it."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import multiprocessing
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from enclave.core.errors import ConflictError, InvalidError, UnavailableError
from enclave.deid import canaries, tables
from enclave.deid.harvest import Cohort, Harvest
from enclave.deid.inputs import Entry, list_inputs, table_entries
from enclave.deid.instance import Tools, make_tools
from enclave.deid.journal import Journal, job_digest
from enclave.deid.keyring import Keyring
from enclave.deid.profile import Profile
from enclave.deid.provenance import write_provenance
from enclave.deid.reasons import REASONS, Quarantined
from enclave.deid.recipe import Recipe
from enclave.deid.table import table_edition, table_rows, vocabulary
from enclave.deid.worker import Outcome, Plan, Worker, harvest_file

Progress = Callable[[int, int], None]
_CHUNK = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What to do. ``progress`` is told how many of how many files are done."""

    inputs: list[Path]
    output: Path
    recipe: Recipe
    keyring: Keyring
    jobs: int = 1
    resume: bool = False
    quarantine_copies: bool = False
    progress: Progress | None = None


@dataclass(slots=True)
class JobResult:
    """What was done; ``patients`` maps originals to pseudonyms and offsets: the key back, for the vault only."""

    report: dict[str, Any]
    outcomes: list[Outcome]
    tables: list[tables.CleanTable]
    patients: dict[str, tuple[str, int]] = field(default_factory=dict, repr=False)


def run_job(spec: JobSpec) -> JobResult:
    """Runs a job to its end.

    Raises ``ConflictError`` when the output folder is in use, ``InvalidError`` for tables that do not fit the
    recipe, before anything was written. A single bad file never raises: it is quarantined.
    """
    return _Job(spec).run()


class _Job:
    def __init__(self, spec: JobSpec) -> None:
        self._spec = spec
        self._recipe = spec.recipe
        self._profile = Profile(table_rows(), options=spec.recipe.options)
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._outcomes: list[Outcome] = []
        self._hashes: dict[int, str] = {}

    def run(self) -> JobResult:
        started = time.perf_counter()
        entries = list_inputs(self._spec.inputs)
        known, unknown = table_entries(entries, recipe=self._recipe)
        raw = self._read_tables(known)
        self._open_output()
        with contextlib.ExitStack() as stack:
            planted = canaries.plant(self._recipe.canaries.count, stack=stack)
            cohort = self._harvest(entries, raw, planted=planted)
            tools = make_tools(self._recipe, keyring=self._spec.keyring, cohort=cohort)
            journal = self._open_journal()
            stack.callback(journal.close)
            for entry in unknown:
                self._outcomes.append(Outcome(index=entry.index, reason="table_without_roles"))
            self._clean_all([e for e in entries if not e.is_table], tools, journal)
            found = canaries.search(planted, tools=tools)
        cleaned = self._clean_tables(raw, cohort)
        self._write_account(entries)
        report = self._report(entries, cleaned, seconds=time.perf_counter() - started)
        report["canaries"] = found
        return JobResult(report, self._outcomes, cleaned, self._key_back(cohort, planted))

    # ── before ──────────────────────────────────────────────────────────────

    def _open_output(self) -> None:
        output = self._spec.output
        if output.exists() and any(output.iterdir()) and not self._spec.resume:
            raise ConflictError("deid: wanted an empty output folder, got one in use; choose another or add --resume")
        output.mkdir(parents=True, exist_ok=True)
        for given in self._spec.inputs:
            if output.resolve().is_relative_to(given.resolve()):
                raise InvalidError("deid: wanted an output folder outside of the input, got one inside of it")

    def _open_journal(self) -> Journal:
        output = self._spec.output
        check = hmac.new(self._spec.keyring.patient, b"check", hashlib.sha256).hexdigest()
        journal = Journal(output, digest=job_digest(self._recipe, key_check=check), resume=self._spec.resume)
        if self._spec.resume:
            kept = journal.outputs()
            for path in (output / "dicom").rglob("*"):  # finished, but killed before it was remembered: done again
                if path.is_file() and path.relative_to(output).as_posix() not in kept:
                    path.unlink()
        return journal

    def _read_tables(self, known: list[Entry]) -> list[tuple[Entry, tables.RawTable]]:
        found = []
        for entry in known:
            try:
                raw = tables.read_table(entry.path)
            except Quarantined as verdict:
                self._outcomes.append(Outcome(index=entry.index, reason=verdict.reason))
                continue
            tables.check_columns(raw, spec=self._recipe.tables[raw.name])
            found.append((entry, raw))
        return found

    def _harvest(
        self, entries: list[Entry], raw: list[tuple[Entry, tables.RawTable]], *, planted: canaries.Canaries
    ) -> Cohort:
        harvest = Harvest(vocabulary())
        with self._stage("harvest"):
            for _, table in raw:
                tables.harvest_table(table, spec=self._recipe.tables[table.name], harvest=harvest)
            files = [entry for entry in entries if not entry.is_table]
            for part, hashes, refused in self._harvest_parts(files):
                harvest.merge(part)
                self._hashes.update(hashes)
                self._outcomes.extend(Outcome(index=index, reason=reason) for index, reason in refused)
            for path in planted.files:
                harvest_file(harvest, path, evidence=False)
            return harvest.finish()

    def _harvest_parts(self, files: list[Entry]) -> Iterator[HarvestPart]:
        chunks = [files[at : at + _CHUNK] for at in range(0, len(files), _CHUNK)]
        if self._spec.jobs == 1:
            yield from map(_harvest_chunk, chunks)
            return
        with _pool(self._spec.jobs) as pool:
            yield from pool.map(_harvest_chunk, chunks)

    # ── the work ────────────────────────────────────────────────────────────

    def _clean_all(self, files: list[Entry], tools: Tools, journal: Journal) -> None:
        todo: list[tuple[int, Path, str]] = []
        for entry in files:
            sha256 = self._hashes.get(entry.index)
            if sha256 is None:
                continue  # refused in the first pass, with its reason
            before = journal.done(entry.index, sha256)
            if before is not None:
                self._outcomes.append(before)
            else:
                todo.append((entry.index, entry.path, sha256))
        done = len(files) - len(todo)
        for outcome in self._results(todo, Plan(tools, self._spec.output)):
            journal.add(outcome)
            self._outcomes.append(outcome)
            for stage, seconds in outcome.seconds.items():
                self._seconds[stage] += seconds
            done += 1
            if self._spec.progress is not None:
                self._spec.progress(done, len(files))

    def _results(self, todo: list[tuple[int, Path, str]], plan: Plan) -> Iterator[Outcome]:
        if self._spec.jobs == 1 or len(todo) < 2:
            worker = Worker(plan)
            yield from (worker.run(index, path, sha256) for index, path, sha256 in todo)
            return
        with _pool(self._spec.jobs, plan) as pool:
            yield from pool.map(_run_in_pool, todo, chunksize=4)

    def _clean_tables(self, raw: list[tuple[Entry, tables.RawTable]], cohort: Cohort) -> list[tables.CleanTable]:
        cleaned = []
        folder = self._spec.output / "tables"
        with self._stage("tables"):
            for entry, table in raw:
                clean = tables.clean_table(
                    table,
                    spec=self._recipe.tables[table.name],
                    keyring=self._spec.keyring,
                    cohort=cohort,
                    vocabulary=vocabulary(),
                    max_shift_days=self._recipe.dates.max_shift_days,
                )
                folder.mkdir(exist_ok=True)
                written = tables.write_clean(clean, folder=folder, suffix=entry.path.suffix.lower())
                self._outcomes.append(_table_outcome(entry, written, self._spec.output, clean))
                cleaned.append(clean)
        return cleaned

    # ── after ───────────────────────────────────────────────────────────────

    def _write_account(self, entries: list[Entry]) -> None:
        output = self._spec.output
        left = [outcome for outcome in self._outcomes if outcome.path]
        write_provenance(output / "provenance.parquet", outcomes=left, options=self._profile.options)
        paths = {entry.index: entry.path for entry in entries}
        held = [outcome for outcome in self._outcomes if outcome.reason]
        if held:
            (output / "quarantine").mkdir(exist_ok=True)
        for outcome in held:
            _write_verdict(output / "quarantine" / f"{outcome.index:06d}.json", outcome)
            source = paths[outcome.index]
            if self._spec.quarantine_copies and source.is_file() and not source.is_symlink():
                shutil.copyfile(source, output / "quarantine" / f"{outcome.index:06d}.original")

    def _report(self, entries: list[Entry], cleaned: list[tables.CleanTable], *, seconds: float) -> dict[str, Any]:
        actions: Counter[str] = Counter()
        for outcome in self._outcomes:
            actions.update(outcome.actions)
        out = [outcome for outcome in self._outcomes if outcome.path]
        images = sum(1 for outcome in out if outcome.has_pixels)
        reasons = Counter(outcome.reason for outcome in self._outcomes if outcome.reason)
        report = {
            "files_in": len(entries),
            "files_out": len(out),
            "quarantined": len(entries) - len(out),
            "reasons": dict(reasons),
            "actions": dict(actions),
            "options": list(self._profile.options),
            "table_edition": table_edition(),
            "seconds": round(seconds, 3),
            "stage_seconds": {name: round(value, 3) for name, value in self._seconds.items()},
            "images_per_second": round(images / seconds, 1) if seconds else 0.0,
            "redacted_boxes": 0,
            "redactions": dict(Counter(reason for outcome in out for _, reason in outcome.redactions)),
            "tables": {clean.name: dict(clean.counts) for clean in cleaned},
        }
        if not self._recipe.pixels_cleaned:
            report["pixels_not_cleaned"] = images
        return report

    def _key_back(self, cohort: Cohort, planted: canaries.Canaries) -> dict[str, tuple[str, int]]:
        keys, longest = self._spec.keyring, self._recipe.dates.max_shift_days
        return {
            patient: (keys.patient_id(patient), keys.offset_days(patient, max_shift_days=longest))
            for patient in cohort.subjects
            if patient not in planted.patients
        }

    @contextlib.contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] += time.perf_counter() - start


HarvestPart = tuple[Harvest, dict[int, str], list[tuple[int, str]]]


@contextlib.contextmanager
def _pool(jobs: int, plan: Plan | None = None) -> Iterator[ProcessPoolExecutor]:
    """Worker processes that begin without our threads and their locks (intaked has several).

    Raises ``UnavailableError`` when one of them is killed; what is finished is in the journal.
    """
    fresh = multiprocessing.get_context("forkserver")
    pool = ProcessPoolExecutor(jobs, mp_context=fresh, initializer=_start_worker, initargs=(plan,))
    try:
        yield pool
    except BrokenProcessPool:
        raise UnavailableError(
            "deid: wanted all worker processes to live, got one that was ended; add --resume to go on",
            code="worker_lost",
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _harvest_chunk(chunk: list[Entry]) -> HarvestPart:
    part = Harvest(vocabulary())
    hashes: dict[int, str] = {}
    refused: list[tuple[int, str]] = []
    for entry in chunk:
        try:
            hashes[entry.index] = harvest_file(part, entry.path)
        except Quarantined as verdict:
            refused.append((entry.index, verdict.reason))
    return part, hashes, refused


_worker: list[Worker] = []


def _start_worker(plan: Plan | None) -> None:
    _worker[:] = [Worker(plan)] if plan is not None else []


def _run_in_pool(task: tuple[int, Path, str]) -> Outcome:
    return _worker[0].run(*task)


def _table_outcome(entry: Entry, written: Path, output: Path, clean: tables.CleanTable) -> Outcome:
    return Outcome(
        index=entry.index,
        path=written.relative_to(output).as_posix(),
        input_sha256=hashlib.sha256(entry.path.read_bytes()).hexdigest(),
        output_sha256=hashlib.sha256(written.read_bytes()).hexdigest(),
        actions={f"table_{name}": count for name, count in clean.counts.items()},
    )


def _write_verdict(path: Path, outcome: Outcome) -> None:
    verdict = {
        "reason": outcome.reason,
        "explanation": REASONS[outcome.reason],
        "input_sha256": outcome.input_sha256,
        "at": outcome.fault,
    }
    part = Path(tempfile.mkstemp(dir=path.parent, prefix=".")[1])
    part.write_text(json.dumps(verdict, sort_keys=True) + "\n", "utf-8")
    part.chmod(0o644)
    part.replace(path)
