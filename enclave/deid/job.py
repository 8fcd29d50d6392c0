"""One de-identification job: read all headers, look at some images, clean each file and table, account for all."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from enclave.core.canonical import digest_hex
from enclave.core.errors import ConflictError, InvalidError, UnavailableError
from enclave.deid import canaries, tables
from enclave.deid.commit import STAGING, Committer, clear_staging
from enclave.deid.faces.order import FaceOrder, account
from enclave.deid.harvest import Cohort, Harvest
from enclave.deid.inputs import Entry, list_inputs, table_entries
from enclave.deid.journal import Journal, job_digest, software_digest
from enclave.deid.keyring import Keyring
from enclave.deid.long_text import DETECTORS, settle
from enclave.deid.pixel_form import Array
from enclave.deid.pools import FirstPass, Here, Pool, Processes, Task
from enclave.deid.private import PrivateElements, private_key
from enclave.deid.profile import PIXEL_OPTIONS, Profile
from enclave.deid.provenance import write_provenance
from enclave.deid.quarantine import write_quarantine
from enclave.deid.quiet import quiet_parsing, rare_collection
from enclave.deid.reasons import Quarantined
from enclave.deid.recipe import Recipe
from enclave.deid.source import sha256_of
from enclave.deid.table import table_edition, table_rows, vocabulary
from enclave.deid.table_files import RawTable, read_table
from enclave.deid.templates import Layout, evidence_of, learn
from enclave.deid.tools import Tools, tools_of
from enclave.deid.worker import BURNED_IN, OUTPUT_FAULTS, SPARED, Outcome, Plan, Seen, harvest_file

Progress = Callable[[int, int], None]
_CHUNK = 64
_SAMPLE_STEP = 32  # slices of a series for each that the network looks at in any case


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What to do. ``reading``, ``looking`` and ``progress`` are told how many of how many files each pass has done.

    Only some images are looked at before all are cleaned.
    """

    inputs: list[Path]
    output: Path
    recipe: Recipe
    keyring: Keyring
    jobs: int = 1
    scheduler: str = ""
    resume: bool = False
    quarantine_copies: bool = False
    reading: Progress | None = None
    looking: Progress | None = None
    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class SeenHead:
    """A head whose face went, from the front (uint8 by distance); ``before`` shows who it is. ``numbers``: as measured
    on its series, shares of one and cm³."""

    before: Array
    after: Array
    numbers: dict[str, float]


@dataclass(slots=True)
class JobResult:
    """What was done; ``patients`` maps originals to pseudonyms and offsets: the key back, for the vault only.

    ``sources``: the input of each file that left. ``faces``: by the folder of a series whose face went.
    """

    report: dict[str, Any]
    outcomes: list[Outcome]
    tables: list[tables.CleanTable]
    sources: dict[str, Path] = field(default_factory=dict, repr=False)
    patients: dict[str, tuple[str, int]] = field(default_factory=dict, repr=False)
    faces: dict[str, SeenHead] = field(default_factory=dict, repr=False)


def run_job(spec: JobSpec) -> JobResult:
    """Runs a job to its end.

    Raises ``ConflictError`` when the output folder is in use, ``InvalidError`` for tables that do not fit the
    recipe, before anything was written, ``UnavailableError`` when the disk is full or a worker is lost: what is done
    is kept. A single bad file never raises: it is quarantined.
    """
    try:
        with rare_collection():
            return _Job(spec).run()
    except OSError as error:
        if error.errno not in OUTPUT_FAULTS:
            raise
        raise UnavailableError(
            f"deid: wanted to write the output, got: {os.strerror(error.errno or 0)}; make room and add --resume",
            code="output_full",
        ) from None


class _Job:
    def __init__(self, spec: JobSpec) -> None:
        self._spec = spec
        self._recipe = settle(spec.recipe)
        self._profile = Profile(table_rows(), options=spec.recipe.options, minimum=spec.recipe.needed())
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._outcomes: list[Outcome] = []
        self._seen: dict[int, Seen] = {}
        self._done: dict[int, Outcome] = {}
        self._faces = account({}, {})
        self._heads: list[tuple[tuple[int, ...], SeenHead]] = []
        self._templates: dict[str, int] = {}
        self._private = PrivateElements(private_key(spec.keyring))

    def run(self) -> JobResult:
        started = time.perf_counter()
        entries = list_inputs(self._spec.inputs)
        known, unknown = table_entries(entries, recipe=self._recipe)
        raw = self._read_tables(known)
        with contextlib.ExitStack() as stack:
            pool = stack.enter_context(_pool(self._spec, self._recipe))
            self._open_output()
            journal = stack.enter_context(contextlib.closing(Journal(self._spec.output)))
            staging = self._open_staging(stack)
            count, folder = self._recipe.canaries.count, staging / "canaries"
            planted = canaries.plant(count, folder=folder, keyring=self._spec.keyring)
            cohort = self._harvest(entries, raw, planted=planted, pool=pool)
            tools = tools_of(self._recipe, keyring=self._spec.keyring, cohort=cohort)
            self._begin(journal, raw, entries)
            self._outcomes += [_refused(entry, "table_without_roles") for entry in unknown]
            files = [entry for entry in entries if not entry.is_table]
            plan = Plan(tools, staging)
            plan = replace(plan, faces=self._order_faces(files))
            plan = self._look(files, plan, journal=journal, pool=pool)
            self._clean_all(files, plan, journal=journal, pool=pool)
            found = canaries.search(planted, tools=tools)
            cleaned = self._clean_tables(raw, tools)
            self._write_account(entries)
        report = self._report(entries, cleaned, seconds=time.perf_counter() - started)
        report["canaries"] = found
        report["private_removed"] = self._private.account(kept=tools.private)
        paths = {entry.index: entry.path for entry in entries}
        sources = {outcome.path: paths[outcome.index] for outcome in self._outcomes if outcome.path}
        return JobResult(report, self._outcomes, cleaned, sources, self._key_back(cohort, planted), self._seen_faces())

    # ── before ──────────────────────────────────────────────────────────────

    def _open_output(self) -> None:
        output = self._spec.output
        for given in self._spec.inputs:
            if output.resolve().is_relative_to(given.resolve()):
                raise InvalidError("deid: wanted an output folder outside of the input, got one inside of it")
        try:
            output.mkdir(parents=True, exist_ok=True)
            used = any(output.iterdir())
        except FileExistsError:
            raise ConflictError("deid: wanted an output folder, got a file of that name; choose another") from None
        except OSError as error:
            raise InvalidError(
                f"deid: wanted an output folder, got: {os.strerror(error.errno or 0)}; choose another"
            ) from None
        if used and not self._spec.resume:
            raise ConflictError("deid: wanted an empty output folder, got one in use; choose another or add --resume")

    def _open_staging(self, stack: contextlib.ExitStack) -> Path:
        """A folder of this run alone: what a run that was killed left behind, and may still write to, is not ours."""
        output = self._spec.output.absolute()
        clear_staging(output)
        staging = output / STAGING / secrets.token_hex(8)
        staging.mkdir(parents=True)
        stack.callback(clear_staging, output)
        return staging

    def _begin(self, journal: Journal, raw: list[tuple[Entry, RawTable]], entries: list[Entry]) -> None:
        """Goes on with what the journal remembers; a file that it does not remember just so is made again."""
        output = self._spec.output
        state = [(index, seen.fingerprint.partition(":")[0]) for index, seen in self._seen.items()]
        state += [(outcome.index, outcome.reason) for outcome in self._outcomes]
        state += [(entry.index, sha256_of(entry.path)) for entry, _ in raw]
        check = hmac.new(self._spec.keyring.patient, b"check", hashlib.sha256).hexdigest()
        inputs = digest_hex([[index, value] for index, value in sorted(state)])
        digest = job_digest(self._recipe, key_check=check, inputs=inputs)
        journal.begin(digest, software=software_digest(self._recipe))
        for entry in entries:
            seen = self._seen.get(entry.index)
            outcome = journal.done(entry.index, seen.fingerprint, path=entry.path) if seen is not None else None
            if outcome is not None:
                self._done[entry.index] = outcome
        kept = {outcome.path for outcome in self._done.values() if outcome.path}
        for path in (output / "dicom").rglob("*"):
            if (path.is_file() or path.is_symlink()) and path.relative_to(output).as_posix() not in kept:
                path.unlink()

    def _read_tables(self, known: list[Entry]) -> list[tuple[Entry, RawTable]]:
        found = []
        for entry in known:
            try:
                raw = read_table(entry.path)
            except Quarantined as verdict:
                self._outcomes.append(_refused(entry, verdict.reason))
                continue
            tables.check_columns(raw, spec=self._recipe.tables[raw.name])
            found.append((entry, raw))
        return found

    def _harvest(
        self,
        entries: list[Entry],
        raw: list[tuple[Entry, RawTable]],
        *,
        planted: canaries.Canaries,
        pool: Pool,
    ) -> Cohort:
        retained = self._profile.retained
        harvest = Harvest(vocabulary(), private=self._private, retained=retained)
        with self._stage("harvest"):
            files = [entry for entry in entries if not entry.is_table]
            chunks = [files[at : at + _CHUNK] for at in range(0, len(files), _CHUNK)]
            done = 0
            images = not set(PIXEL_OPTIONS).isdisjoint(self._profile.options)
            how = FirstPass(key=self._private.key, retained=retained, images=images)
            for part, seen, refused in pool.harvest(chunks, how):
                harvest.merge(part)
                self._seen.update(seen)
                self._outcomes += refused
                done += len(seen) + len(refused)
                _tell(self._spec.reading, done, len(files))
            for _, table in raw:  # after the files, which say whose an accession number is
                tables.harvest_table(table, spec=self._recipe.tables[table.name], harvest=harvest)
            for path in planted.files:
                harvest_file(harvest, path, evidence=False)
            return harvest.finish()

    # ── the work ────────────────────────────────────────────────────────────

    def _order_faces(self, files: list[Entry]) -> dict[int, FaceOrder]:
        """What is done about faces; heads that are recognisable are put together and looked at here."""
        if "clean_recognizable_features" not in self._profile.options:
            return {}
        images = {index: seen.image for index, seen in self._seen.items() if seen.image is not None}
        if not images:
            return {}
        from enclave.deid.faces.study import order_faces  # scipy: most jobs have no head

        paths = {entry.index: entry.path.absolute() for entry in files}
        with self._stage("faces"), quiet_parsing():
            done = order_faces(images, paths=paths, strip=self._recipe.faces.removal == "skull")
        self._faces = account(done.orders, images)
        self._heads = [
            (those, SeenHead(before, after, dict(done.orders[those[0]].numbers))) for those, before, after in done.views
        ]
        return done.orders

    def _look(self, files: list[Entry], plan: Plan, *, journal: Journal, pool: Pool) -> Plan:
        """The plan with what a look at some images tells about the others, so that no order of files matters.

        A sample of each series: where the network sees text in it, the gate alone is not enough for the others. And
        single images of each device, which have lines of text in common.
        """
        if "clean_pixel_data" not in self._profile.options:
            return plan
        paths = {entry.index: entry.path.absolute() for entry in files if entry.index in self._seen}
        sample = self._sample(paths)
        evidence = evidence_of({index: self._seen[index].device for index in paths})
        with self._stage("look"):
            layouts = self._look_at({index: paths[index] for index in (*sample, *evidence)}, plan, journal, pool)
        unseen = {self._seen[index].device for index in evidence if index not in layouts}
        templates = learn((layouts[index] for index in evidence if index in layouts), unseen=unseen)
        self._templates = {
            "devices": len(templates),
            "lines": sum(len(template.lines) for template in templates.values()),
            "sparing": sum(template.spares for template in templates.values()),
            "evidence": sum(index in layouts for index in evidence),
        }
        thorough = {name for index, name in sample.items() if index not in layouts or layouts[index].shows_text}
        return replace(plan, templates=templates, layouts=layouts, thorough=frozenset(thorough))

    def _sample(self, paths: dict[int, Path]) -> dict[int, str]:
        """The slices by which series are sampled, with their series."""
        slices: defaultdict[str, list[int]] = defaultdict(list)
        for index in paths:
            if self._seen[index].series:
                slices[self._seen[index].series].append(index)
        return {index: name for name, indices in slices.items() for index in sampled(indices)}

    def _look_at(self, images: dict[int, Path], plan: Plan, journal: Journal, pool: Pool) -> dict[int, Layout]:
        """What was found in each image that can be looked at; only what the journal does not know is looked at."""
        tasks = [(index, path, self._seen[index].fingerprint) for index, path in sorted(images.items())]
        known = {index: journal.looked(index, fingerprint, path=path) for index, path, fingerprint in tasks}
        found = {index: layout for index, layout in known.items() if layout is not None}
        done = len(found)
        for layout in pool.look([task for task in tasks if task[0] not in found], plan):
            if layout is not None:
                journal.add_look(layout)
                found[layout.index] = layout
            done += 1
            _tell(self._spec.looking, done, len(tasks))
        return found

    def _clean_all(self, files: list[Entry], plan: Plan, *, journal: Journal, pool: Pool) -> None:
        todo: list[Task] = []
        for entry in files:
            seen = self._seen.get(entry.index)
            if seen is None:
                continue  # refused in the first pass, with its reason
            before = self._done.get(entry.index)
            if before is not None:
                self._outcomes.append(before)
            else:
                todo.append((entry.index, entry.path.absolute(), seen.fingerprint))
        keys = {index: self._seen[index].sop for index, _, _ in todo}
        named = [before.path for before in self._outcomes]
        committer = Committer(self._spec.output, staging=plan.staging, keys=keys, named=named)
        done = len(files) - len(todo)
        for result in pool.clean(todo, plan):
            for outcome in committer.take(result):
                journal.add(outcome)
                self._outcomes.append(outcome)
                for stage, seconds in outcome.seconds.items():
                    self._seconds[stage] += seconds
                done += 1
                _tell(self._spec.progress, done, len(files))

    def _clean_tables(self, raw: list[tuple[Entry, RawTable]], tools: Tools) -> list[tables.CleanTable]:
        cleaned = []
        folder = self._spec.output / "tables"
        with self._stage("tables"):
            for entry, table in raw:
                clean = tables.clean_table(table, spec=self._recipe.tables[table.name], tools=tools)
                folder.mkdir(exist_ok=True)
                written = tables.write_clean(clean, folder=folder, suffix=entry.path.suffix.lower())
                self._outcomes.append(_table_outcome(entry, written, self._spec.output, clean))
                cleaned.append(clean)
        return cleaned

    # ── after ───────────────────────────────────────────────────────────────

    def _write_account(self, entries: list[Entry]) -> None:
        self._outcomes.sort(key=lambda outcome: outcome.index)
        output = self._spec.output
        left = [outcome for outcome in self._outcomes if outcome.path]
        options, how = self._profile.options, self._recipe.long_text
        write_provenance(output / "provenance.parquet", outcomes=left, options=options, long_text=how)
        held = [outcome for outcome in self._outcomes if outcome.reason]
        sources = {entry.index: entry.path for entry in entries} if self._spec.quarantine_copies else {}
        write_quarantine(output / "quarantine", held=held, originals=sources)

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
            "redacted_boxes": _with_reason(out, BURNED_IN),
            "faces": self._faces,
            "templates": {**self._templates, "spared": _with_reason(out, SPARED)},
            "long_text": {"by": self._recipe.long_text, "asked": self._spec.recipe.long_text},
            "redactions": dict(Counter(reason for outcome in out for _, reason in outcome.redactions)),
            "tables": {clean.name: {**clean.counts, "review_columns": list(clean.review)} for clean in cleaned},
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

    def _seen_faces(self) -> dict[str, SeenHead]:
        """The heads by the folder that their series left as."""
        folders = {outcome.index: outcome.path.rpartition("/")[0] for outcome in self._outcomes if outcome.path}
        found = {}
        for images, head in self._heads:
            folder = next((folders[index] for index in images if index in folders), "")
            if folder:
                found[folder] = head
        return found

    @contextlib.contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] += time.perf_counter() - start


def _with_reason(outcomes: list[Outcome], wanted: str) -> int:
    return sum(reason == wanted for outcome in outcomes for _, reason in outcome.redactions)


def sampled(slices: list[int]) -> list[int]:
    """Every 32nd slice of a series, from the middle outwards: one of a short series."""
    return slices[(len(slices) // 2) % _SAMPLE_STEP :: _SAMPLE_STEP]


def _pool(spec: JobSpec, recipe: Recipe) -> contextlib.AbstractContextManager[Pool]:
    if spec.scheduler:
        from enclave.deid.cluster import open_cluster  # an extra: most machines do without

        return open_cluster(spec.scheduler)
    if spec.jobs <= 1:
        return contextlib.nullcontext(Here())
    models = ["enclave.deid.preload_text"] if recipe.long_text == DETECTORS else []
    models += ["enclave.deid.preload_pixels"] if "clean_pixel_data" in recipe.options else []
    return contextlib.nullcontext(Processes(spec.jobs, models=models))


def _tell(listener: Progress | None, done: int, total: int) -> None:
    if listener is not None:
        listener(done, total)


def _refused(entry: Entry, reason: str) -> Outcome:
    return Outcome(index=entry.index, reason=reason, input_sha256=sha256_of(entry.path))


def _table_outcome(entry: Entry, written: Path, output: Path, clean: tables.CleanTable) -> Outcome:
    return Outcome(
        index=entry.index,
        path=written.relative_to(output).as_posix(),
        input_sha256=hashlib.sha256(entry.path.read_bytes()).hexdigest(),
        output_sha256=hashlib.sha256(written.read_bytes()).hexdigest(),
        actions={f"table_{name}": count for name, count in clean.counts.items()},
        redactions=list(clean.redactions),
    )
