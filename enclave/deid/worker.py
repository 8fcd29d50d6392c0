"""One file in, one clean file or one reason out, in this process or in one of a pool; never raises for a file."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from enclave.deid import pixels
from enclave.deid.harvest import Harvest, patient_key
from enclave.deid.instance import InstanceCleaner, Tools
from enclave.deid.profile import OPTIONS, PIXEL_OPTIONS
from enclave.deid.reading import check_pixels, parse_instance, quiet_parsing, read_bytes
from enclave.deid.reasons import Quarantined
from enclave.deid.table import table_edition

IMPLEMENTATION_UID = UID("2.25.191034567298810355236112345098112387401")
IMPLEMENTATION_NAME = "ENCLAVE"
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
_OWN_TEXTS = tuple(text[:64].encode() for text in _METHODS.values())


@dataclass(slots=True)
class Outcome:
    """What became of one input file. Holds hashes, pseudonyms and counts only."""

    index: int
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

    def to_json(self) -> dict[str, Any]:
        """For the journal."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a worker needs besides the file: the tools, and where results go."""

    tools: Tools
    output: Path


class Worker:
    """Cleans files of a job; keeps one cleaner per patient."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._cleaners: dict[str, InstanceCleaner] = {}

    def run(self, index: int, path: Path, sha256: str) -> Outcome:
        """Cleans one file; ``sha256`` is what the first pass saw, so that a change between the two is noticed."""
        outcome = Outcome(index=index, input_sha256=sha256)
        try:
            with quiet_parsing():
                self._one(outcome, path)
        except Quarantined as verdict:
            outcome.reason, outcome.path = verdict.reason, ""
        except (RecursionError, MemoryError):
            outcome.reason, outcome.path = "nesting", ""
        except Exception as error:  # noqa: BLE001 - one file must not end the job; class and place are kept for the log
            outcome.reason, outcome.path, outcome.fault = "failed", "", _place(error)
        return outcome

    def _one(self, outcome: Outcome, path: Path) -> None:
        with _timed(outcome, "read"):
            data = read_bytes(path)
            outcome.size = len(data)
            read = parse_instance(data)
        if read.sha256 != outcome.input_sha256:
            raise Quarantined("changed")
        dataset = read.dataset
        check_pixels(dataset)
        self._screen(outcome, dataset)
        with _timed(outcome, "clean"):
            cleaner = self._cleaner(patient_key(dataset))
            trace = cleaner.clean(dataset)
            self._declare(dataset)
            target = _target(dataset, cleaner.pseudonym)
        outcome.actions, outcome.redactions = dict(trace.actions), trace.redactions
        with _timed(outcome, "pixels"):
            outcome.pixel_sha256 = pixels.pixel_sha256(dataset)
        with _timed(outcome, "write"):
            encoded = _encode(dataset)
        with _timed(outcome, "sweep"):
            if cleaner.residual_in(foreign_bytes(encoded, dataset)):
                raise Quarantined("residual_identifier")
        with _timed(outcome, "write"):
            outcome.output_sha256 = hashlib.sha256(encoded).hexdigest()
            outcome.path = target
            _place_file(self._plan.output / target, encoded, index=outcome.index)

    def _cleaner(self, patient: str) -> InstanceCleaner:
        if patient not in self._cleaners:
            if patient not in self._plan.tools.cohort.subjects:
                raise Quarantined("changed")
            self._cleaners[patient] = InstanceCleaner(self._plan.tools, patient=patient)
        return self._cleaners[patient]

    def _screen(self, outcome: Outcome, dataset: FileDataset) -> None:
        outcome.has_pixels = pixels.has_pixels(dataset)
        if not outcome.has_pixels:
            return
        options = self._plan.tools.profile.options
        if "clean_pixel_data" in options and pixels.may_show_text(dataset):
            raise Quarantined("pixel_text_possible")
        if "clean_recognizable_features" in options and pixels.may_show_face(dataset):
            raise Quarantined("recognizable_features")

    def _declare(self, dataset: FileDataset) -> None:
        """Writes into the instance what really ran. Images held back by their header are no cleaned pixels."""
        options = self._plan.tools.profile.options
        codes = ["113100", *(OPTIONS[option] for option in options if option not in PIXEL_OPTIONS)]
        dataset.add_new(0x00120062, "CS", "YES")
        dataset.add_new(0x00120063, "LO", f"PS3.15 Annex E {table_edition()}")
        dataset.add_new(0x00120064, "SQ", Sequence([_code(code) for code in codes]))
        dates = {"retain_full_dates": "UNMODIFIED", "retain_modified_dates": "MODIFIED"}
        done = next((word for option, word in dates.items() if option in options), "REMOVED")
        dataset.add_new(0x00280303, "CS", done)


def harvest_file(harvest: Harvest, path: Path, *, evidence: bool = True) -> str:
    """First pass over one file; returns the SHA-256 of its bytes. Raises ``Quarantined``."""
    try:
        with quiet_parsing():
            data = read_bytes(path)
            read = parse_instance(data, headers_only=True)
            harvest.add_dataset(read.dataset, evidence=evidence)
            return read.sha256
    except (RecursionError, MemoryError):
        raise Quarantined("nesting") from None
    except Quarantined:
        raise
    except Exception:  # noqa: BLE001 - hostile bytes raise anything; the verdict is the same
        raise Quarantined("unreadable") from None


def _code(value: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", _METHODS[value][:64]
    return item


def _target(dataset: FileDataset, pseudonym: str) -> str:
    """``dicom/<patient>/<study>/<series>/<sop>.dcm``: only characters that a UID has can come into it."""
    parts = [_uid_part(dataset, tag) for tag in (0x0020000D, 0x0020000E, 0x00080018)]
    return "/".join(("dicom", pseudonym, *parts)) + ".dcm"


def _uid_part(dataset: FileDataset, tag: int) -> str:
    text = str(dataset[tag].value or "") if tag in dataset else ""
    return "".join(char for char in text if char.isdigit() or char == ".").strip(".")[:64] or "none"


def _encode(dataset: FileDataset) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(str(dataset.SOPClassUID))
    meta.MediaStorageSOPInstanceUID = UID(str(dataset.SOPInstanceUID))
    meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    meta.ImplementationClassUID = IMPLEMENTATION_UID
    meta.ImplementationVersionName = IMPLEMENTATION_NAME
    dataset.file_meta = meta
    dataset.preamble = b"\0" * 128
    buffer = BytesIO()
    try:
        pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    except Exception:  # noqa: BLE001 - what hostile bytes left behind may not fit its representation
        raise Quarantined("unwritable") from None
    return buffer.getvalue()


def foreign_bytes(encoded: bytes, dataset: FileDataset) -> bytes:
    """The bytes that came from the input: without pixels, and without the words that we write ourselves."""
    value = dataset[0x7FE00010].value or b"" if 0x7FE00010 in dataset else b""
    at = encoded.find(value) if value else -1
    rest = encoded if at < 0 else encoded[:at] + encoded[at + len(value) :]
    for own in _OWN_TEXTS:
        rest = rest.replace(own, b"")
    return rest


def _place_file(final: Path, data: bytes, *, index: int) -> None:
    """The file under its name, complete, never over another one."""
    final.parent.mkdir(parents=True, exist_ok=True)
    part = final.parent / f".{index:06d}.part"
    part.write_bytes(data)
    try:
        os.link(part, final)  # unlike a rename, a link never replaces
    except FileExistsError:
        same = final.read_bytes() == data
        raise Quarantined("duplicate_identical" if same else "duplicate_sop_uid") from None
    finally:
        part.unlink()


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
