"""One file in, one clean file or one reason out, on whatever machine; never raises for a file."""

from __future__ import annotations

import errno
import functools
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileDataset
from pydicom.tag import BaseTag

from enclave.deid import pixels
from enclave.deid.harvest import Harvest, patient_key
from enclave.deid.instance import InstanceCleaner, Tools
from enclave.deid.pixel_data import PIXEL_TAGS, PixelElement, check_pixels, trim
from enclave.deid.profile import OPTIONS, PIXEL_OPTIONS
from enclave.deid.reading import Instance, quiet_parsing, read_instance
from enclave.deid.reasons import Quarantined
from enclave.deid.source import open_source, sha256_of
from enclave.deid.table import table_edition
from enclave.deid.tree import Node, encode_value, raw_elements, text_at
from enclave.deid.writing import Encoded, encode, write_instance

_METHODS = {
    "113100": "Basic Application Confidentiality Profile",
    "113103": "Clean Graphics Option",
    "113104": "Clean Structured Content Option",
    "113105": "Clean Descriptors Option",
    "113106": "Retain Longitudinal Temporal Information Full Dates Option",
    "113107": "Retain Longitudinal Temporal Information Modified Dates Option",
    "113108": "Retain Patient Characteristics Option",
    "113109": "Retain Device Identity Option",
    "113110": "Retain UIDs Option",
    "113111": "Retain Safe Private Option",
    "113112": "Retain Institution Identity Option",
}
OUTPUT_FAULTS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})  # no fault of the file
_OWN_TEXTS = tuple(text[:64].encode() for text in _METHODS.values())


@dataclass(slots=True)
class Outcome:
    """What became of one input file. Holds hashes, pseudonyms and counts only.

    ``staged`` is the file that waits under the staging folder to become ``path``.
    """

    index: int
    fingerprint: str = ""
    reason: str = ""
    path: str = ""
    size: int = 0
    input_sha256: str = ""
    output_sha256: str = ""
    pixel_sha256: str = ""
    actions: dict[str, int] = field(default_factory=dict)
    redactions: list[tuple[str, str]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    has_pixels: bool = False
    fault: str = ""
    staged: str = ""

    def to_json(self) -> dict[str, Any]:
        """For the journal."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a worker needs besides the file: the tools, and a folder of this run where results wait.

    Workers never write under final names: one that outlives its job, or does a task again, disturbs nothing.
    """

    tools: Tools
    staging: Path


@dataclass(frozen=True, slots=True)
class Seen:
    """What the first pass saw of a file: its state, and its SOP instance UID, by which files may collide."""

    fingerprint: str
    sop: str


class Worker:
    """Cleans files of a job; keeps one cleaner per patient."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._cleaners: dict[str, InstanceCleaner] = {}

    def run(self, index: int, path: Path, fingerprint: str) -> Outcome:
        """Cleans one file; ``fingerprint`` is what the first pass saw, so that a change between the two is noticed."""
        outcome = Outcome(index=index, fingerprint=fingerprint)
        try:
            with quiet_parsing(), open_source(path) as source:
                with _timed(outcome, "read"):
                    instance = read_instance(source)
                self._one(outcome, instance)
        except Quarantined as verdict:
            _hold(outcome, verdict.reason)
        except (RecursionError, MemoryError):
            _hold(outcome, "nesting")
        except Exception as error:
            if isinstance(error, OSError) and error.errno in OUTPUT_FAULTS:
                raise
            _hold(outcome, "failed", fault=_place(error))
        if outcome.reason and not outcome.input_sha256:
            outcome.input_sha256 = sha256_of(path)
        return outcome

    def _one(self, outcome: Outcome, instance: Instance) -> None:
        outcome.size = instance.source.size
        if instance.fingerprint != outcome.fingerprint:
            raise Quarantined("changed")
        dataset = instance.dataset
        check_pixels(dataset, instance.pixels)
        elements = trim(dataset, instance.pixels)
        outcome.has_pixels = bool(elements)
        self._screen(outcome, dataset)
        with _timed(outcome, "clean"):
            cleaner = self._cleaner(patient_key(dataset))
            trace = cleaner.clean(dataset)
            self._declare(dataset)
            outcome.path = _target(dataset, cleaner.pseudonym)
        trace.actions["K"] += len(elements)
        if elements != instance.pixels:
            trace.redactions.append((f"{PIXEL_TAGS[0]:08x}", "bytes behind the image"))
        outcome.actions, outcome.redactions = dict(trace.actions), trace.redactions
        with _timed(outcome, "encode"):
            encoded = encode(dataset)
        with _timed(outcome, "sweep"):
            if cleaner.residual_in(foreign_bytes(encoded.head + encoded.tail)):
                raise Quarantined("residual_identifier")
        with _timed(outcome, "write"):
            self._write(outcome, instance, encoded, elements=elements, cleaner=cleaner)

    def _write(
        self,
        outcome: Outcome,
        instance: Instance,
        encoded: Encoded,
        *,
        elements: tuple[PixelElement, ...],
        cleaner: InstanceCleaner,
    ) -> None:
        name = f"{outcome.index:06d}-{secrets.token_hex(4)}.part"
        part = self._plan.staging / name
        try:
            with part.open("xb") as file:
                written = write_instance(file, instance.source, encoded, elements=elements, found=cleaner.residual_in)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        outcome.staged = name
        outcome.input_sha256, outcome.output_sha256 = written.input_sha256, written.output_sha256
        outcome.pixel_sha256 = written.pixel_sha256

    def _cleaner(self, patient: str) -> InstanceCleaner:
        if patient not in self._cleaners:
            if patient not in self._plan.tools.cohort.subjects:
                raise Quarantined("changed")
            self._cleaners[patient] = InstanceCleaner(self._plan.tools, patient=patient)
        return self._cleaners[patient]

    def _screen(self, outcome: Outcome, dataset: FileDataset) -> None:
        if not outcome.has_pixels:
            return
        options = self._plan.tools.profile.options
        if "clean_pixel_data" in options and pixels.may_show_text(dataset):
            raise Quarantined("pixel_text_possible")
        if "clean_recognizable_features" in options and pixels.may_show_face(dataset):
            raise Quarantined("recognizable_features")

    def _declare(self, dataset: FileDataset) -> None:
        """Writes into the instance what really ran. Images held back by their header are no cleaned pixels."""
        implicit, little = (bool(part) for part in dataset.original_encoding)
        for tag, data in self._declared(implicit=implicit, little=little).items():
            key = BaseTag(tag)
            raw_elements(dataset)[key] = RawDataElement(key, dictionary_VR(tag), len(data), data, 0, implicit, little)

    @functools.lru_cache(maxsize=4)  # noqa: B019 - a worker lives as long as its process
    def _declared(self, *, implicit: bool, little: bool) -> dict[int, bytes]:
        options = self._plan.tools.profile.options
        codes = ["113100", *(OPTIONS[option] for option in options if option not in PIXEL_OPTIONS)]
        dates = {"retain_full_dates": "UNMODIFIED", "retain_modified_dates": "MODIFIED"}
        done = next((word for option, word in dates.items() if option in options), "REMOVED")
        values: dict[int, str | list[Node]] = {
            0x00120062: "YES",
            0x00120063: f"PS3.15 Annex E {table_edition()}",
            0x00120064: [_code(code) for code in codes],
            0x00280303: done,
        }
        return {
            tag: encode_value(dictionary_VR(tag), value, implicit=implicit, little=little)
            for tag, value in values.items()
        }


def harvest_file(harvest: Harvest, path: Path, *, evidence: bool = True) -> Seen:
    """First pass over one file: its header only. Raises ``Quarantined``."""
    try:
        with quiet_parsing(), open_source(path) as source:
            instance = read_instance(source)
            harvest.add_dataset(instance.dataset, evidence=evidence)
            return Seen(instance.fingerprint, _uid_part(instance.dataset, 0x00080018))
    except (RecursionError, MemoryError):
        raise Quarantined("nesting") from None
    except Quarantined:
        raise
    except Exception:  # noqa: BLE001 - hostile bytes raise anything; the verdict is the same
        raise Quarantined("unreadable") from None


def _code(value: str) -> Node:
    item = Node(("utf-8",))
    item[0x00080100], item[0x00080102], item[0x00080104] = ("SH", value), ("SH", "DCM"), ("LO", _METHODS[value][:64])
    return item


def _target(dataset: FileDataset, pseudonym: str) -> str:
    """``dicom/<patient>/<study>/<series>/<sop>.dcm``: only characters that a UID has can come into it."""
    parts = [_uid_part(dataset, tag) for tag in (0x0020000D, 0x0020000E, 0x00080018)]
    return "/".join(("dicom", pseudonym, *parts)) + ".dcm"


def _uid_part(dataset: FileDataset, tag: int) -> str:
    text = text_at(dataset, tag)
    return "".join(char for char in text if char.isdigit() or char == ".").strip(".")[:64] or "none"


def foreign_bytes(encoded: bytes) -> bytes:
    """The bytes that came from the input: without the words that we write ourselves."""
    for own in _OWN_TEXTS:
        encoded = encoded.replace(own, b"")
    return encoded


def _hold(outcome: Outcome, reason: str, *, fault: str = "") -> None:
    outcome.reason, outcome.fault = reason, fault
    outcome.path = outcome.staged = outcome.output_sha256 = ""


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}" if trace else "?"
    return f"{type(error).__name__} at {where}"


@contextmanager
def _timed(outcome: Outcome, stage: str) -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    finally:
        outcome.seconds[stage] = outcome.seconds.get(stage, 0.0) + time.perf_counter() - start
