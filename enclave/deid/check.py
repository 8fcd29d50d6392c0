"""The gate after a job: compares what came out with what went in, and searches for what remains."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.dataset import FileDataset

from enclave.core.errors import NotFoundError
from enclave.deid import canaries, tables
from enclave.deid.check_dates import Dates, Moments
from enclave.deid.check_pixels import differs_as_recorded, recorded_boxes, recorded_faces
from enclave.deid.check_tables import check_table, moved_otherwise, new_keys
from enclave.deid.check_texts import SHOWN_AS, TEXTS, recorded_texts
from enclave.deid.comments import words_beside
from enclave.deid.decoding import walk as walk_tree
from enclave.deid.elements import texts_of, walk
from enclave.deid.harvest import Cohort, Harvest, patient_key
from enclave.deid.inputs import list_inputs, table_entries
from enclave.deid.keyring import Keyring
from enclave.deid.pixel_data import PIXEL_TAGS, check_pixels, pixel_sha256, trim
from enclave.deid.places import Places
from enclave.deid.private import is_kept
from enclave.deid.profile import Profile
from enclave.deid.pydicom_tree import read_tree
from enclave.deid.quiet import quiet_parsing, rare_collection
from enclave.deid.reading import Instance, read_dataset, read_instance
from enclave.deid.reasons import Quarantined
from enclave.deid.recipe import Recipe, TableSpec
from enclave.deid.source import open_source
from enclave.deid.sweep import Sweeper
from enclave.deid.table import table_rows, vocabulary
from enclave.deid.table_files import RawTable, read_table
from enclave.deid.tools import make_tools
from enclave.deid.tree import Node, text_at, texts
from enclave.deid.uids import STANDARD_ROOT
from enclave.deid.validity import Mandatory, mandatory_values
from enclave.deid.worker import foreign_bytes, harvest_file
from enclave.deid.writing import IMPLEMENTATION_UID, header_bytes

REVIEW_SAMPLE = 20
_WHAT = {
    "injectivity": "distinct patients stay distinct",
    "uid_closure": "each UID is the image of one in the input",
    "intervals": "each date of a patient, in sequences and tables too, moved by that patient's offset; times stayed",
    "pixels": "pixel bytes are those of the input without comments, or differ in recorded boxes and faces only, which"
    " are blank",
    "nested_pixels": "no pixel data inside a sequence, where nobody looks at them",
    "type_1": "attributes of type 1 in the IOD, in sequences too, that had a value still have one",
    "residual": "no identifier of a patient in bytes or names",
    "origin": "each file that left comes from one in the input",
    "unreadable": "each file that left can be read",
}
_DECLARED = {"references": "objects that are referred to and did not leave with the others: declared, no fault"}
_SOP_INSTANCE, _SOP_REFERENCE = 0x00080018, 0x00081155

_NONE = Mandatory(Counter(), Counter())


@dataclass(slots=True)
class _Origin:
    """What is known of one input instance."""

    patient: str
    pixels: str
    path: Path = Path()
    dates: Moments = ()
    mandatory: Mandatory = _NONE


@dataclass(slots=True)
class _Inputs:
    cohort: Cohort
    origins: dict[str, list[_Origin]]
    uids: set[str]
    places: Places
    dates: Dates
    tables: dict[str, Path] = field(default_factory=dict)
    shapes: dict[bytes, Mandatory] = field(default_factory=dict)

    def shared(self, found: Mandatory) -> Mandatory:
        """The same counts, held once for all objects that have them."""
        key = hashlib.sha256(repr((sorted(found.values.items()), sorted(found.items.items()))).encode()).digest()
        return self.shapes.setdefault(key, found)


def check_output(output: Path, *, against: list[Path], keyring: Keyring, recipe: Recipe) -> dict[str, Any]:
    """``ok, checks, residual_hits, canaries, review_sample``; raises ``NotFoundError`` when there is no output."""
    if not output.is_dir():
        raise NotFoundError("deid check: wanted the output folder of a run, got none there")
    with tempfile.TemporaryDirectory(prefix="canaries-") as folder:  # the output may be one that is only read
        planted = canaries.plant(recipe.canaries.count, folder=Path(folder) / "canaries", keyring=keyring)
        inputs = _read_inputs(against, keyring=keyring, recipe=recipe, planted=planted)
        survived = canaries.search(planted, tools=make_tools(recipe, keyring=keyring, cohort=inputs.cohort))
    findings: Counter[str] = Counter()
    checker = _Checker(inputs, keyring, recipe, findings, account=output / "provenance.parquet")
    with quiet_parsing(), rare_collection():
        left = sorted(path for path in output.rglob("*") if path.is_file() and "quarantine" not in path.parts)
        for path in left:
            checker.take(path, relative=path.relative_to(output).as_posix())
    pseudonyms = {keyring.patient_id(patient) for patient in inputs.cohort.subjects}
    findings["injectivity"] += len(inputs.cohort.subjects) - len(pseudonyms)
    checks = [
        {"id": name, "what": what, "ok": findings[name] == 0, "count": findings[name]} for name, what in _WHAT.items()
    ] + [{"id": name, "what": what, "ok": True, "count": checker.missing} for name, what in _DECLARED.items()]
    return {
        "ok": all(check["ok"] for check in checks) and not survived["found"],
        "checks": checks,
        "residual_hits": findings["residual"],
        "canaries": survived,
        "review_sample": checker.sample(),
    }


class _Checker:
    def __init__(
        self,
        inputs: _Inputs,
        keyring: Keyring,
        recipe: Recipe,
        findings: Counter[str],
        *,
        account: Path,
    ) -> None:
        self._boxes, self._faces = recorded_boxes(account), recorded_faces(account)
        self._flagged = recorded_texts(account)
        self._told: list[str] = []
        self._inputs = inputs
        self._keyring = keyring
        self._recipe = recipe
        self._findings = findings
        self._sweepers = {
            keyring.patient_id(patient): Sweeper(subject, vocabulary=vocabulary())
            for patient, subject in inputs.cohort.subjects.items()
        }
        self._keys = new_keys(inputs.cohort, keyring=keyring)
        self._images: list[str] = []
        self._texts: list[str] = []
        self._left: set[int] = set()  # SOP instance UIDs, hashed: of what left, and of what that refers to
        self._referred: set[int] = set()

    @property
    def missing(self) -> int:
        """How many different objects are referred to and did not leave."""
        return len(self._referred - self._left)

    def sample(self) -> list[str]:
        """Images for a person to look at, up to half of them with blanked boxes; then texts to read."""
        redacted = [image for image in self._images if self._boxes.get(image)]
        chosen = dict.fromkeys((*_spread(redacted, REVIEW_SAMPLE // 2), *_spread(self._images, REVIEW_SAMPLE)))
        told = [f"{one}#{SHOWN_AS}" for one in _spread(self._told, TEXTS)]
        return [*list(chosen)[:REVIEW_SAMPLE], *self._texts, *told]

    def take(self, path: Path, *, relative: str) -> None:
        """Checks one file of the output."""
        self._check_name(relative)
        try:
            if relative.startswith("tables/"):
                self._check_table(path, relative=relative)
            if not relative.endswith(".dcm"):
                return
            with open_source(path) as source:
                self._check_instance(read_instance(source), relative=relative)
        except Quarantined:
            self._findings["unreadable"] += 1

    def _check_instance(self, instance: Instance, *, relative: str) -> None:
        dataset = read_dataset(instance.source)
        sop = str(dataset.SOPInstanceUID)
        origins = self._inputs.origins.get(sop, [])
        digest = pixel_sha256(instance.source, instance.pixels)
        matching = [
            origin for origin in origins if origin.pixels == digest or self._redacted(origin, instance, relative)
        ]
        if not origins:
            self._findings["origin"] += 1
            return
        if not matching:
            self._findings["pixels"] += 1
        self._findings += self._compared(dataset, instance.tree, matching or origins)
        self._findings["nested_pixels"] += sum(tag in PIXEL_TAGS for _, tag, _ in walk_tree(instance.tree))
        self._check_uids(dataset)
        self._left.add(hash(sop))
        sweeper = self._sweepers.get(str(dataset.PatientID))
        if sweeper is None or sweeper.found_in_bytes(foreign_bytes(header_bytes(instance))):
            self._findings["residual"] += 1
        if digest:
            self._images.append(relative)
        if relative in self._flagged:
            self._told.append(relative)

    def _redacted(self, origin: _Origin, instance: Instance, relative: str) -> bool:
        boxes = self._boxes.get(relative, ())
        planes = self._faces.get(relative, ())
        return bool(boxes or planes) and differs_as_recorded(origin.path, instance, boxes=boxes, planes=planes)

    def _check_table(self, path: Path, *, relative: str) -> None:
        spec = self._recipe.tables.get(path.stem)
        if spec is None:
            self._findings["origin"] += 1
            return
        table = read_table(path)
        self._findings["intervals"] += self._rows_moved_otherwise(table, spec)
        cells = check_table(table, spec=spec, sweepers=self._sweepers, keys=self._keys, findings=self._findings)
        self._texts += [f"{relative}#{cell}" for cell in cells]

    def _rows_moved_otherwise(self, table: RawTable, spec: TableSpec) -> int:
        if "retain_modified_dates" not in self._recipe.options or not spec.of_role("date"):
            return 0
        origin = self._inputs.tables.get(table.name)
        if origin is None:
            self._findings["origin"] += 1
            return 0
        before = read_table(origin)
        patients = tables.row_patients(before, spec=spec, links=self._inputs.cohort.links)
        times = self._recipe.dates.times
        return moved_otherwise(before, table, spec=spec, patients=patients, days=self._days, times=times)

    def _days(self, patient: str) -> int:
        return self._keyring.offset_days(patient, max_shift_days=self._recipe.dates.max_shift_days)

    def _check_name(self, relative: str) -> None:
        if any(sweeper.found_in_bytes(relative.encode()) for sweeper in self._sweepers.values()):
            self._findings["residual"] += 1

    def _compared(self, dataset: FileDataset, tree: Node, origins: list[_Origin]) -> Counter[str]:
        """What differs from the origin; of several with one SOP instance UID only one left, the one that fits best."""
        name = str(dataset.PatientID)
        own = [origin for origin in origins if self._keyring.patient_id(origin.patient) == name] or origins
        found = [
            Counter(intervals=self._moved_otherwise(tree, origin), type_1=self._emptied(dataset, origin))
            for origin in own
        ]
        return min(found, key=Counter.total)

    def _moved_otherwise(self, tree: Node, origin: _Origin) -> int:
        """How many dates, at any depth, did not move by the offset of the patient."""
        if "retain_modified_dates" not in self._recipe.options:
            return 0
        dates = self._inputs.dates
        return dates.wrong(origin.dates, dates.of(tree), days=self._days(origin.patient))

    def _emptied(self, dataset: FileDataset, origin: _Origin) -> int:
        """What the input had filled must not have become empty; what it lacked is not ours to invent."""
        after = mandatory_values(read_tree(dataset), places=self._inputs.places)
        return origin.mandatory.lost(after)

    def _check_uids(self, dataset: FileDataset) -> None:
        found = {
            (element.tag == _SOP_REFERENCE, text)
            for _, element in walk(dataset)
            if element.VR == "UI"
            for text in texts_of(element)
            if not text.startswith(STANDARD_ROOT) and text != IMPLEMENTATION_UID
        }
        self._referred |= {hash(text) for is_reference, text in found if is_reference}
        if "retain_uids" in self._recipe.options:
            return
        foreign = {text for _, text in found} - self._inputs.uids
        self._findings["uid_closure"] += len(foreign)


def _spread(images: list[str], count: int) -> list[str]:
    """So many of ``images``, spread over them by their new names."""
    return images[:: max(1, len(images) // count)][:count]


def _read_inputs(against: list[Path], *, keyring: Keyring, recipe: Recipe, planted: canaries.Canaries) -> _Inputs:
    profile = Profile(table_rows(), options=recipe.options, minimum=recipe.needed())
    harvest = Harvest(vocabulary(), retained=profile.retained)
    places = Places(profile)
    dates = Dates(places, functools.partial(is_kept, kept=recipe.kept_private()), recipe.dates.times)
    found = _Inputs(Cohort({}), {}, set(), places, dates)
    entries = list_inputs(against)
    known, _ = table_entries(entries, recipe=recipe)
    with quiet_parsing():
        for entry in entries:
            if not entry.is_table:
                _take_input(entry.path, found, harvest, keyring)
    for entry in known:
        with contextlib.suppress(Quarantined):
            raw = read_table(entry.path)
            tables.check_columns(raw, spec=recipe.tables[raw.name])
            tables.harvest_table(raw, spec=recipe.tables[raw.name], harvest=harvest)
            found.tables[raw.name] = entry.path
    for path in planted.files:
        harvest_file(harvest, path, evidence=False)
    found.cohort = harvest.finish()
    return found


def _take_input(path: Path, found: _Inputs, harvest: Harvest, keyring: Keyring) -> None:
    try:
        with open_source(path) as source:
            instance = read_instance(source)
            tree = instance.tree
            harvest.add_tree(tree)
            check_pixels(tree, instance.pixels, syntax=instance.syntax)
            elements = trim(tree, instance.pixels)
            words = words_beside(source, tree, elements, syntax=instance.syntax)
            digest = pixel_sha256(source, elements, blanks=words)
            uids = set(_uids_in(tree))
            with contextlib.suppress(
                Quarantined
            ):  # another reader may read a broken file in another way, or not at all
                uids |= set(_uids_of(read_dataset(source)))
        origin = _Origin(patient_key(tree), digest, path)
        origin.dates = found.dates.of(tree)
        origin.mandatory = found.shared(mandatory_values(tree, places=found.places))
        sop = text_at(tree, _SOP_INSTANCE)
    except Exception:  # noqa: BLE001 - hostile bytes raise anything; such a file was held back by the job, too
        return
    found.uids.update(keyring.uid_of(form) for uid in uids for form in (uid, f"0.{uid}"))
    for name in (keyring.uid_of(sop), sop):
        found.origins.setdefault(name, []).append(origin)


def _uids_in(tree: Node) -> Iterable[str]:
    return {text for node, _, field in walk_tree(tree) if field[0] == "UI" for text in texts(field, node=node)}


def _uids_of(dataset: FileDataset) -> Iterable[str]:
    return {text for _, element in walk(dataset) if element.VR == "UI" for text in texts_of(element)}
