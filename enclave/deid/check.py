"""The gate after a job: compares what came out with what went in, and searches for what remains."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.dataset import FileDataset

from enclave.core.errors import NotFoundError
from enclave.deid import canaries, tables
from enclave.deid.dates import parse_da
from enclave.deid.elements import texts_of, walk
from enclave.deid.harvest import Cohort, Harvest, patient_key
from enclave.deid.inputs import list_inputs, table_entries
from enclave.deid.instance import make_tools
from enclave.deid.keyring import Keyring
from enclave.deid.pixel_data import check_pixels, pixel_sha256, trim
from enclave.deid.reading import Instance, quiet_parsing, read_instance
from enclave.deid.reasons import Quarantined
from enclave.deid.recipe import Recipe
from enclave.deid.source import open_source
from enclave.deid.sweep import Sweeper
from enclave.deid.table import vocabulary
from enclave.deid.uids import STANDARD_ROOT
from enclave.deid.worker import foreign_bytes, harvest_file
from enclave.deid.writing import IMPLEMENTATION_UID, header_bytes

REVIEW_SAMPLE = 20
_DATES = (0x00080020, 0x00080021, 0x00080022, 0x00080023)
_TYPE_1 = (0x00080016, 0x00080018, 0x0020000D, 0x0020000E, 0x00080060)
_IMAGE_TYPE_1 = (0x00280002, 0x00280004, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102, 0x00280103)
_WHAT = {
    "injectivity": "distinct patients stay distinct",
    "uid_closure": "each UID is the image of one in the input",
    "intervals": "all dates of a patient moved by that patient's offset",
    "pixels": "pixel bytes are those of the input",
    "type_1": "attributes that may not be empty did not become so",
    "residual": "no identifier of a patient in bytes or names",
    "origin": "each file that left comes from one in the input",
    "unreadable": "each file that left can be read",
}


@dataclass(slots=True)
class _Origin:
    """What is known of one input instance."""

    patient: str
    pixels: str
    dates: dict[int, str] = field(default_factory=dict)
    filled: frozenset[int] = frozenset()


@dataclass(slots=True)
class _Inputs:
    cohort: Cohort
    origins: dict[str, list[_Origin]]
    uids: set[str]


def check_output(output: Path, *, against: list[Path], keyring: Keyring, recipe: Recipe) -> dict[str, Any]:
    """``ok, checks, residual_hits, canaries, review_sample``; raises ``NotFoundError`` when there is no output."""
    if not output.is_dir():
        raise NotFoundError("deid check: wanted the output folder of a run, got none there")
    with contextlib.ExitStack() as stack:
        planted = canaries.plant(recipe.canaries.count, stack=stack, keyring=keyring)
        inputs = _read_inputs(against, keyring=keyring, recipe=recipe, planted=planted)
        survived = canaries.search(planted, tools=make_tools(recipe, keyring=keyring, cohort=inputs.cohort))
    findings: Counter[str] = Counter()
    checker = _Checker(inputs, keyring, recipe, findings)
    with quiet_parsing():
        left = sorted(path for path in output.rglob("*") if path.is_file() and "quarantine" not in path.parts)
        for path in left:
            checker.take(path, relative=path.relative_to(output).as_posix())
    pseudonyms = {keyring.patient_id(patient) for patient in inputs.cohort.subjects}
    findings["injectivity"] += len(inputs.cohort.subjects) - len(pseudonyms)
    checks = [
        {"id": name, "what": what, "ok": findings[name] == 0, "count": findings[name]} for name, what in _WHAT.items()
    ]
    return {
        "ok": all(check["ok"] for check in checks) and not survived["found"],
        "checks": checks,
        "residual_hits": findings["residual"],
        "canaries": survived,
        "review_sample": checker.sample(),
    }


class _Checker:
    def __init__(self, inputs: _Inputs, keyring: Keyring, recipe: Recipe, findings: Counter[str]) -> None:
        self._inputs = inputs
        self._keyring = keyring
        self._recipe = recipe
        self._findings = findings
        self._sweepers = {
            keyring.patient_id(patient): Sweeper(subject, vocabulary=vocabulary())
            for patient, subject in inputs.cohort.subjects.items()
        }
        self._images: list[str] = []

    def sample(self) -> list[str]:
        """Images for a person to look at, spread over the output by their new names."""
        step = max(1, len(self._images) // REVIEW_SAMPLE)
        return self._images[::step][:REVIEW_SAMPLE]

    def take(self, path: Path, *, relative: str) -> None:
        """Checks one file of the output."""
        self._check_name(relative)
        if not relative.endswith(".dcm"):
            return
        try:
            with open_source(path) as source:
                self._check_instance(read_instance(source), relative=relative)
        except Quarantined:
            self._findings["unreadable"] += 1

    def _check_instance(self, instance: Instance, *, relative: str) -> None:
        dataset = instance.dataset
        sop = str(dataset.SOPInstanceUID)
        origins = self._inputs.origins.get(sop, [])
        digest = pixel_sha256(instance.source, instance.pixels)
        matching = [origin for origin in origins if origin.pixels == digest]
        if not origins:
            self._findings["origin"] += 1
            return
        if not matching:
            self._findings["pixels"] += 1
        self._check_dates(dataset, (matching or origins)[0])
        self._check_types(dataset, (matching or origins)[0])
        self._check_uids(dataset)
        sweeper = self._sweepers.get(str(dataset.PatientID))
        if sweeper is None or sweeper.found_in_bytes(foreign_bytes(header_bytes(instance))):
            self._findings["residual"] += 1
        if digest:
            self._images.append(relative)

    def _check_name(self, relative: str) -> None:
        if any(sweeper.found_in_bytes(relative.encode()) for sweeper in self._sweepers.values()):
            self._findings["residual"] += 1

    def _check_dates(self, dataset: FileDataset, origin: _Origin) -> None:
        if "retain_modified_dates" not in self._recipe.options:
            return
        days = self._keyring.offset_days(origin.patient, max_shift_days=self._recipe.dates.max_shift_days)
        for tag, before in origin.dates.items():
            old = parse_da(before)
            new = parse_da(str(dataset[tag].value or "")) if tag in dataset else None
            if old and (new is None or (new - old).days != days):
                self._findings["intervals"] += 1

    def _check_types(self, dataset: FileDataset, origin: _Origin) -> None:
        """What the input had filled must not have become empty; what it lacked is not ours to invent."""
        if not origin.filled <= _filled(dataset):
            self._findings["type_1"] += 1

    def _check_uids(self, dataset: FileDataset) -> None:
        if "retain_uids" in self._recipe.options:
            return
        foreign = {
            text
            for _, element in walk(dataset)
            if element.VR == "UI"
            for text in texts_of(element)
            if not text.startswith(STANDARD_ROOT) and text != IMPLEMENTATION_UID
        } - self._inputs.uids
        self._findings["uid_closure"] += len(foreign)


def _read_inputs(against: list[Path], *, keyring: Keyring, recipe: Recipe, planted: canaries.Canaries) -> _Inputs:
    harvest = Harvest(vocabulary())
    found = _Inputs(Cohort({}), {}, set())
    entries = list_inputs(against)
    known, _ = table_entries(entries, recipe=recipe)
    for entry in known:
        try:
            raw = tables.read_table(entry.path)
        except Quarantined:
            continue
        tables.check_columns(raw, spec=recipe.tables[raw.name])
        tables.harvest_table(raw, spec=recipe.tables[raw.name], harvest=harvest)
    with quiet_parsing():
        for entry in entries:
            if not entry.is_table:
                _take_input(entry.path, found, harvest, keyring)
    for path in planted.files:
        harvest_file(harvest, path, evidence=False)
    found.cohort = harvest.finish()
    return found


def _take_input(path: Path, found: _Inputs, harvest: Harvest, keyring: Keyring) -> None:
    try:
        with open_source(path) as source:
            instance = read_instance(source)
            dataset = instance.dataset
            harvest.add_dataset(dataset)
            check_pixels(dataset, instance.pixels)
            digest = pixel_sha256(source, trim(dataset, instance.pixels))
        origin = _Origin(patient_key(dataset), digest)
        origin.dates = {tag: str(dataset[tag].value or "") for tag in _DATES if tag in dataset}
        origin.filled = _filled(dataset)
        uids = _uids_of(dataset)
    except Exception:  # noqa: BLE001 - hostile bytes raise anything; such a file was held back by the job, too
        return
    found.uids.update(keyring.uid_of(uid) for uid in uids)
    sop = str(dataset.SOPInstanceUID).strip()
    for name in (keyring.uid_of(sop), sop):
        found.origins.setdefault(name, []).append(origin)


def _filled(dataset: FileDataset) -> frozenset[int]:
    wanted = (*_TYPE_1, *_IMAGE_TYPE_1)
    return frozenset(tag for tag in wanted if tag in dataset and dataset[tag].value not in (None, ""))


def _uids_of(dataset: FileDataset) -> Iterable[str]:
    return {text for _, element in walk(dataset) if element.VR == "UI" for text in texts_of(element)}
