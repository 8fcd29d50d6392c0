"""One file in, one clean file or one reason out, on whatever machine; never raises for a file."""

from __future__ import annotations

import errno
import functools
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from enclave.deid import pixels
from enclave.deid.codestreams import Blank
from enclave.deid.comments import WRITTEN_OVER, check_behind, words_beside
from enclave.deid.documents import DOCUMENT, cleaned_pdf, put
from enclave.deid.faces.image_facts import ImageFacts, image_facts, may_matter
from enclave.deid.faces.order import ALL_BUT_BRAIN, FACE, NOT_RECOGNISABLE, FaceOrder
from enclave.deid.harvest import Harvest, patient_key
from enclave.deid.instance import InstanceCleaner
from enclave.deid.looking import Looked, frames_of, is_slice, look_at
from enclave.deid.pixel_data import PIXEL_TAGS, PixelElement, check_pixels, pixel_sha256, trim
from enclave.deid.profile import OPTIONS, PIXEL_OPTIONS
from enclave.deid.reading import Instance, read_instance
from enclave.deid.reasons import Quarantined
from enclave.deid.redaction import Redaction, redact
from enclave.deid.source import digest_of, open_source, sha256_of
from enclave.deid.table import table_edition
from enclave.deid.templates import Layout, Template, device_of, with_lines
from enclave.deid.tools import Tools
from enclave.deid.trace import REVIEW, Trace
from enclave.deid.tree import Field, Node, text_at
from enclave.deid.writing import Encoded, encode, write_instance

_METHODS = {
    "113100": "Basic Application Confidentiality Profile",
    "113101": "Clean Pixel Data Option",
    "113102": "Clean Recognizable Visual Features Option",
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
_MAX_CLEANERS = 200  # each knows up to a megabyte of what recurs
_NOT_OF_UID = re.compile(r"[^0-9.]+")
BURNED_IN = "burned-in text"  # a redaction's reason
SPARED = "blanked by the template of its device, without detection"
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
    ``thorough``: the series in whose sample there was text; each of their slices is looked at as single images are.
    ``faces``: what is done about faces, by the index of the file; an image without an order is judged by its header.
    ``templates``: where devices burn in text. ``layouts``: what was found in the images that were looked at before.
    """

    tools: Tools
    staging: Path
    thorough: frozenset[str] = frozenset()
    faces: Mapping[int, FaceOrder] = field(default_factory=dict)
    templates: Mapping[str, Template] = field(default_factory=dict)
    layouts: Mapping[int, Layout] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Change:
    """What becomes of pixel data: boxes blank in native ones, or words written over in compressed ones, or nothing.

    ``spared``: the network was spared because all images of the device look the same.
    """

    redaction: Redaction | None = None
    spared: bool = False
    words: tuple[Blank, ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """What the first pass saw of a file: its state, and its SOP instance UID, by which files may collide.

    ``series``: of a slice the UID of its series, which is sampled for text; else empty. ``image``: what decides about
    faces, None where there can be none. ``device``: by which single images have a template.
    """

    fingerprint: str
    sop: str
    series: str = ""
    image: ImageFacts | None = None
    device: str = ""


class Worker:
    """Cleans files of a job; keeps the cleaners of the patients seen last."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._cleaners: dict[str, InstanceCleaner] = {}

    def run(self, index: int, path: Path, fingerprint: str) -> Outcome:
        """Cleans one file; ``fingerprint`` is what the first pass saw, so that a change between the two is noticed."""
        outcome = Outcome(index=index, fingerprint=fingerprint)
        try:
            with open_source(path) as source:
                with _timed(outcome, "read"):
                    instance = read_instance(source)
                self._one(outcome, instance)
        except Quarantined as verdict:
            _hold(outcome, verdict.reason, fault=outcome.fault)
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
        tree = instance.tree
        check_pixels(tree, instance.pixels, syntax=instance.syntax)
        elements = trim(tree, instance.pixels)
        outcome.has_pixels = bool(elements)
        order = self._screen(outcome, tree)
        cleaner = self._cleaner(patient_key(tree))
        with _timed(outcome, "pixels"):
            known = self._known(outcome, instance, elements)
            instance, faceless = _without_face(instance, order)
            change = self._change(known, instance, elements, cleaner)
            redaction = change.redaction
        with _timed(outcome, "clean"):
            cleaned, trace = self._cleaned(tree, cleaner)
            cleaned.update(self._declared)
            if self._cleans_pixels and elements:
                cleaned.update(self._declared_of_pixels)
            if faceless:
                _declare_faceless(cleaned)
            outcome.path = _target(cleaned, cleaner.pseudonym)
        _note_pixels(trace, elements, change, order if outcome.has_pixels else None)
        _note_left_out(trace, instance, elements)
        outcome.actions, outcome.redactions = dict(trace.actions), trace.redactions
        with _timed(outcome, "encode"):
            if redaction is not None:
                redaction.change_header(cleaned)
            encoded = encode(cleaned, syntax=redaction.syntax if redaction else instance.syntax)
        with _timed(outcome, "sweep"):
            if cleaner.residual_in(foreign_bytes(encoded.head + encoded.tail)):
                raise Quarantined("residual_identifier")
        with _timed(outcome, "write"):
            self._write(outcome, instance, encoded, elements=elements, cleaner=cleaner, change=change)
        if faceless:  # what was copied is not what stands in the file
            outcome.input_sha256 = digest_of(instance.source.file_pieces())

    def _cleaned(self, tree: Node, cleaner: InstanceCleaner) -> tuple[Node, Trace]:
        """The cleaned object; a document in it is taken out before, and a new one put into its place."""
        field = tree.pop(DOCUMENT, None)
        if field is None:
            return cleaner.clean(tree)
        if "clean_descriptors" not in self._plan.tools.profile.options:
            raise Quarantined("encapsulated_document")  # no option lets free text stay
        document = cleaned_pdf(field, clean=cleaner.clean_block)
        cleaned, trace = cleaner.clean(tree)
        put(cleaned, document)
        trace.letters.append("C")
        trace.redactions.append((f"{DOCUMENT:08x}", REVIEW))
        return cleaned, trace

    def layout(self, index: int, path: Path, fingerprint: str) -> Layout | None:
        """What text one image shows; None when it cannot be looked at."""
        try:
            with open_source(path) as source:
                instance = read_instance(source)
                check_pixels(instance.tree, instance.pixels, syntax=instance.syntax)
                elements = trim(instance.tree, instance.pixels)
                cleaner = self._cleaner(patient_key(instance.tree))
                _, looked = look_at(instance, elements, identifies=cleaner.identifies, thoroughly=True)
                state, seen = instance.fingerprint, pixel_sha256(source, elements)
        except Exception:  # noqa: BLE001 - the second pass says what is wrong with it
            return None
        if state != fingerprint:
            return None
        return Layout(index, device_of(instance.tree), fingerprint, seen, looked.boxes, looked.kept)

    def _known(self, outcome: Outcome, instance: Instance, elements: tuple[PixelElement, ...]) -> Layout | None:
        """What was found before in just these pixels; the same header, size and time do not say that they are."""
        known = self._plan.layouts.get(outcome.index)
        if known is None or not elements or known.fingerprint != outcome.fingerprint:
            return None
        return known if known.pixels == pixel_sha256(instance.source, elements) else None

    def _change(
        self, known: Layout | None, instance: Instance, elements: tuple[PixelElement, ...], cleaner: InstanceCleaner
    ) -> _Change:
        redaction, spared = self._redaction(known, instance, elements, cleaner)
        if redaction is not None:
            return _Change(redaction, spared)
        words = words_beside(instance.source, instance.tree, elements, syntax=instance.syntax)
        check_behind(instance.source, elements, found=cleaner.residual_in)
        return _Change(None, spared, words)

    def _redaction(
        self, known: Layout | None, instance: Instance, elements: tuple[PixelElement, ...], cleaner: InstanceCleaner
    ) -> tuple[Redaction | None, bool]:
        """What to write in place of the pixels, None when no text is in them or they are not to be cleaned; and whether
        the network was spared because all images of the device look the same."""
        if not self._cleans_pixels or not elements:
            return None, False
        template = self._plan.templates.get(device_of(instance.tree))
        if known is not None:
            frames, looked = frames_of(instance, elements), Looked(known.boxes)
        else:
            frames, looked = look_at(
                instance,
                elements,
                identifies=cleaner.identifies,
                thoroughly=_uid_part(instance.tree, 0x0020000E) in self._plan.thorough,
                only=template.lines if template is not None and template.spares else (),
            )
        boxes = with_lines(looked.boxes, template)
        return redact(frames, instance.tree, boxes) if boxes else None, looked.spared

    def _write(
        self,
        outcome: Outcome,
        instance: Instance,
        encoded: Encoded,
        *,
        elements: tuple[PixelElement, ...],
        cleaner: InstanceCleaner,
        change: _Change,
    ) -> None:
        name = f"{outcome.index:06d}-{secrets.token_hex(4)}.part"
        part = self._plan.staging / name
        found = functools.partial(cleaner.residual_in, pixels=True)
        try:
            with part.open("xb") as file:
                written = write_instance(
                    file,
                    instance.source,
                    encoded,
                    elements=elements,
                    found=found,
                    redaction=change.redaction,
                    blanks=change.words,
                )
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        outcome.staged = name
        outcome.input_sha256, outcome.output_sha256 = written.input_sha256, written.output_sha256
        outcome.pixel_sha256 = written.pixel_sha256

    def _cleaner(self, patient: str) -> InstanceCleaner:
        """That of ``patient``; the one that was not needed for longest goes when there are many."""
        found = self._cleaners.pop(patient, None)
        if found is None:
            if patient not in self._plan.tools.cohort.subjects:
                raise Quarantined("changed")
            if len(self._cleaners) >= _MAX_CLEANERS:
                del self._cleaners[next(iter(self._cleaners))]
            found = InstanceCleaner(self._plan.tools, patient=patient)
        self._cleaners[patient] = found
        return found

    def _screen(self, outcome: Outcome, tree: Node) -> FaceOrder | None:
        """The order about the face; raises ``Quarantined`` when a person must look."""
        if not outcome.has_pixels or "clean_recognizable_features" not in self._plan.tools.profile.options:
            return None
        order = self._plan.faces.get(outcome.index)
        if order is None and pixels.may_show_face(tree):
            raise Quarantined("recognizable_features")
        if order is not None and order.held:
            outcome.fault = f"face: {order.held}"
            raise Quarantined("recognizable_features")
        return order

    @property
    def _cleans_pixels(self) -> bool:
        return "clean_pixel_data" in self._plan.tools.profile.options

    @functools.cached_property
    def _declared_of_pixels(self) -> dict[int, Field]:
        """What an image says whose pixels were looked at."""
        codes = self._declared[0x00120064][1]
        return {0x00120064: ("SQ", [codes[0], _code("113101"), *codes[1:]]), 0x00280301: ("CS", "NO")}

    @functools.cached_property
    def _declared(self) -> dict[int, Field]:
        """What each instance says of what really ran. Heads held back by their header are no cleaned features."""
        options = self._plan.tools.profile.options
        not_run = {*PIXEL_OPTIONS, "" if self._plan.tools.profile.minimum is None else "retain_safe_private"}
        codes = ["113100", *(OPTIONS[option] for option in options if option not in not_run)]
        dates = {"retain_full_dates": "UNMODIFIED", "retain_modified_dates": "MODIFIED"}
        done = next((word for option, word in dates.items() if option in options), "REMOVED")
        return {
            0x00120062: ("CS", "YES"),
            0x00120063: ("LO", f"PS3.15 Annex E {table_edition()}"),
            0x00120064: ("SQ", [_code(code) for code in codes]),
            0x00280303: ("CS", done),
        }


def harvest_file(harvest: Harvest, path: Path, *, evidence: bool = True, images: bool = True) -> Seen:
    """First pass over one file: its header only. Raises ``Quarantined``.

    Without ``images`` it is not noted what decides about pixels.
    """
    try:
        with open_source(path) as source:
            instance = read_instance(source)
            harvest.add_tree(instance.tree, evidence=evidence, unread=instance.unread)
            images = images and bool(instance.pixels)
            series = _uid_part(instance.tree, 0x0020000E) if images and is_slice(instance.tree) else ""
            image = image_facts(instance.tree) if images and may_matter(instance.tree) else None
            device = device_of(instance.tree) if images else ""
            return Seen(instance.fingerprint, _uid_part(instance.tree, 0x00080018), series, image, device)
    except (RecursionError, MemoryError):
        raise Quarantined("nesting") from None
    except Quarantined:
        raise
    except Exception:  # noqa: BLE001 - hostile bytes raise anything; the verdict is the same
        raise Quarantined("unreadable") from None


def pixels_of(path: Path) -> str:
    """SHA-256 of the pixels in the file at ``path``, as ``Worker.layout`` takes it; empty when nobody can tell."""
    try:
        with open_source(path) as source:
            instance = read_instance(source)
            check_pixels(instance.tree, instance.pixels, syntax=instance.syntax)
            return pixel_sha256(source, trim(instance.tree, instance.pixels))
    except Exception:  # noqa: BLE001 - the second pass says what is wrong with it
        return ""


def _without_face(instance: Instance, order: FaceOrder | None) -> tuple[Instance, bool]:
    """The instance without its face and True; the instance itself where no face is to be taken out."""
    if order is None or not order.planes:
        return instance, False
    from enclave.deid.faces.apply import without_face  # numpy and scipy: most files need neither

    changed, _ = without_face(instance, image_facts(instance.tree), order.planes)
    return changed, True


def _declare_faceless(cleaned: Node) -> None:
    vr, codes = cleaned[0x00120064]
    at = 1 + sum(text_at(item, 0x00080100) == "113101" for item in codes)
    cleaned[0x00120064] = (vr, [*codes[:at], _code("113102"), *codes[at:]])
    cleaned[0x00280302] = ("CS", "NO")


def _note_pixels(trace: Trace, elements: tuple[PixelElement, ...], change: _Change, order: FaceOrder | None) -> None:
    faceless = order is not None and bool(order.planes)
    redaction, words = change.redaction, change.words
    trace.letters += ("C" if redaction or faceless or words else "K") * len(elements)
    reasons = {SPARED: change.spared, WRITTEN_OVER: bool(words)}
    trace.redactions += [(f"{elements[0].tag:08x}", reason) for reason, holds in reasons.items() if holds]
    for box in redaction.boxes if redaction else ():
        place = ",".join(str(edge) for edge in box)
        trace.redactions.append((f"{elements[0].tag:08x}[{place}]", BURNED_IN))
    if order is not None and order.planes:
        trace.redactions.append((f"{elements[0].tag:08x}{{{order.place}}}", ALL_BUT_BRAIN if order.stripped else FACE))
    elif order is not None and order.is_unrecognisable_head:
        trace.redactions.append((f"{elements[0].tag:08x}", NOT_RECOGNISABLE))


def _note_left_out(trace: Trace, instance: Instance, elements: tuple[PixelElement, ...]) -> None:
    if any(one.end != other.end for one, other in zip(elements, instance.pixels, strict=True)):
        trace.redactions.append((f"{PIXEL_TAGS[0]:08x}", "bytes behind the image"))
    trace.letters += "X" * len(instance.unread)
    trace.redactions += [(f"{tag:08x}", "private value too long to be read") for tag, _ in instance.unread]


def _code(value: str) -> Node:
    item = Node(("utf-8",))
    item[0x00080100], item[0x00080102], item[0x00080104] = ("SH", value), ("SH", "DCM"), ("LO", _METHODS[value][:64])
    return item


def _target(tree: Node, pseudonym: str) -> str:
    """``dicom/<patient>/<study>/<series>/<sop>.dcm``: only characters that a UID has can come into it."""
    parts = [_uid_part(tree, tag) for tag in (0x0020000D, 0x0020000E, 0x00080018)]
    return "/".join(("dicom", pseudonym, *parts)) + ".dcm"


def _uid_part(tree: Node, tag: int) -> str:
    return _NOT_OF_UID.sub("", text_at(tree, tag)).strip(".")[:64] or "none"


def foreign_bytes(encoded: bytes) -> bytes:
    """The bytes that came from the input: in the place of each word that we write ourselves is one that parts words."""
    for own in _OWN_TEXTS:
        encoded = encoded.replace(own, b"\0")
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
