"""The first pass: what identifies whom, and which words so many patients share that they identify nobody."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from enclave.deid.compounds import names_a_month
from enclave.deid.dates import parse_da
from enclave.deid.decoding import items_of
from enclave.deid.identity import CODED, DESCRIPTIVE, IDENTIFYING, TECHNICAL, identity_kind
from enclave.deid.names import MIN_PIECE, fold, name_initials, name_parts
from enclave.deid.private import PrivateElements
from enclave.deid.recurring import KNOWN_BY_BYTES, Recurring
from enclave.deid.sweep import Subject
from enclave.deid.tree import Field, Node, text_at, texts
from enclave.deid.words import is_technique_number

MIN_PATIENTS = 5
MIN_SHARE = 0.2
_STAFF_GROUPS = frozenset({0x0008, 0x0032, 0x0040, 0x0400, 0x4008})  # PN in these name those who treat
_BIRTH = 0x00100030
_PATIENT_ROOTS = (0x00100020, 0x00100010, _BIRTH)
_CODE_MEANING, _NOTHING = 0x00080104, ("LO", b"")
_LINK_TAGS = (("accession", 0x00080050), ("uid", 0x0020000D), ("uid", 0x0020000E))
_LOOKED_AT = frozenset({_BIRTH, *IDENTIFYING, *TECHNICAL, *DESCRIPTIVE})
_LOOKED_AT_VRS = frozenset({"PN", "AE", "CS", "SQ"})
_MAX_TAKEN_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Cohort:
    """What the second pass needs to know of all files: the subjects, and the words that may or must not stay.

    ``links``: the patient behind an accession number or a study's or series' UID, keyed by ``link_key``.
    """

    subjects: Mapping[str, Subject]
    denied: frozenset[str] = frozenset()
    evident_values: frozenset[str] = frozenset()
    evident_words: frozenset[str] = frozenset()
    links: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Harvest:
    """Collects over files and tables; the result does not depend on their order.

    ``retained``: the attributes that an option keeps. What they hold is wanted in the output, so it is not denied.
    """

    vocabulary: frozenset[str]
    subjects: defaultdict[str, Subject] = field(default_factory=lambda: defaultdict(Subject))
    private: PrivateElements | None = None
    retained: frozenset[int] = frozenset()
    _values: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _words: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _whole: set[str] = field(default_factory=set)
    _links: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _taken: Recurring[bool] = field(default_factory=lambda: Recurring(max_bytes=_MAX_TAKEN_BYTES))
    _patient: str = ""

    def add_tree(self, tree: Node, *, evidence: bool = True, unread: Iterable[tuple[int, str]] = ()) -> str:
        """Takes the identities of one file, and its words as evidence; returns the key of its patient.

        ``unread`` are private elements that were too long to be read.
        """
        patient = patient_key(tree)
        if patient != self._patient or patient not in self.subjects:
            self._taken.clear()
            self._patient = patient
        self._link(tree, patient)
        if evidence and self.private is not None:
            self.private.add(tree, patient, unread=unread)
        self._add_node(tree, self.subjects[patient], evidence=evidence)
        return patient

    def forget(self) -> None:
        """Drops what serves only to add more files sooner."""
        self._taken.clear()
        if self.private is not None:
            self.private.forget()

    def _add_node(self, node: Node, subject: Subject, *, evidence: bool) -> None:
        taken = self._taken.within((evidence, node.encodings, node.little))
        for key in node.items():
            tag, value = key
            vr = value[0]
            if vr not in _LOOKED_AT_VRS and tag not in _LOOKED_AT:
                continue
            recurring = isinstance(value[1], KNOWN_BY_BYTES)
            if recurring and key in taken:
                continue  # the same bytes say the same about the same patient
            if vr == "SQ":
                for item in items_of(value) or ():
                    self._add_node(item, subject, evidence=evidence)
                    if tag in CODED and tag not in self.retained:
                        meaning = item.get(_CODE_MEANING, _NOTHING)
                        self._take(subject, kind=CODED[tag], tag=tag, texts=texts(meaning, node=item))
            else:
                self._add_field(node, tag, value, subject, evidence=evidence)
            if recurring:
                self._taken.add(taken, key, True)  # noqa: FBT003 - the value of a mapping

    def _add_field(self, node: Node, tag: int, value: Field, subject: Subject, *, evidence: bool) -> None:
        vr = value[0]
        kind = identity_kind(tag, vr=vr) if tag not in self.retained else None
        found = texts(value, node=node)
        if kind is not None:
            self._take(subject, kind=kind, tag=tag, texts=found)
        elif tag == _BIRTH:
            subject.births |= {birth for birth in map(parse_da, found) if birth}
        elif evidence and (tag in TECHNICAL or vr == "CS"):
            for text in found:
                self._values[fold(text)].add(self._patient)
        if evidence and tag in DESCRIPTIVE:
            for text in found:
                for word in fold(text).split():
                    self._words[word].add(self._patient)

    def add_identity(self, patient: str, *, texts: Iterable[str]) -> None:
        """Takes values of a table's direct identifier columns: each may be a name, a number or a place."""
        subject = self.subjects[patient]
        for text in texts:
            if any(char.isdigit() for char in text):
                subject.numbers.add(text)
                subject.places.add(text)
                self._whole.add(fold(text))
            else:
                self._take(subject, kind="name", tag=0x00100010, texts=[text])

    def merge(self, other: Harvest) -> None:
        """Takes over what another part of the first pass found."""
        for patient, subject in other.subjects.items():
            self.subjects[patient].merge(subject)
        for mine, theirs in (
            (self._values, other._values),
            (self._words, other._words),
            (self._links, other._links),
        ):
            for text, patients in theirs.items():
                mine[text] |= patients
        self._whole |= other._whole
        if self.private is not None and other.private is not None:
            self.private.merge(other.private)

    def finish(self) -> Cohort:
        """The cohort. With fewer than five patients nothing is evident: only the vocabulary counts."""
        denied = self._denied()
        patients = len(self.subjects)
        least = max(MIN_PATIENTS, MIN_SHARE * patients)
        values = {text for text, seen in self._values.items() if text and len(seen) >= least}
        words = {text for text, seen in self._words.items() if len(seen) >= least and not text.isdigit()}
        words -= self._initials() - self.vocabulary
        return Cohort(
            subjects=dict(self.subjects),
            denied=denied,
            evident_values=frozenset(v for v in values if v not in denied and _may_be_evident(v.split(), denied)),
            evident_words=frozenset(words - denied),
            links=self.links(),
        )

    def links(self) -> dict[str, str]:
        """The patient behind each accession number and UID; one that two patients share says nothing."""
        return {key: next(iter(patients)) for key, patients in self._links.items() if len(patients) == 1}

    def _link(self, tree: Node, patient: str) -> None:
        for role, tag in _LINK_TAGS:
            if number := text_at(tree, tag):
                self._links[link_key(role, number)].add(patient)

    def _initials(self) -> frozenset[str]:
        """What people and institutions of the cohort sign with; frequent, for those who do the work sign it all."""
        people = {name for subject in self.subjects.values() for name in (*subject.names, *subject.staff)}
        places = {place for subject in self.subjects.values() for place in subject.places}
        found = {form for name in people for form in name_initials(name)}
        return frozenset(found | {"".join(word[0] for word in fold(place).split()) for place in places})

    def _denied(self) -> frozenset[str]:
        parts = {
            part
            for subject in self.subjects.values()
            for text in (*subject.names, *subject.staff, *subject.places, *subject.numbers)
            for part in name_parts(text)
            if not part.isdigit() or len(part) > MIN_PIECE
            if part == fold(text) or not is_technique_number(part)  # "MR 3T" is the name of many a station
        }
        whole = {text for text in self._whole if not text.isdigit() or len(text) >= MIN_PIECE}  # a study id may be "1"
        return frozenset((parts | whole) - self.vocabulary)

    def _take(self, subject: Subject, *, kind: str, tag: int, texts: Iterable[str]) -> None:
        for text in texts:
            self._whole.add(fold(text))
            if kind == "number":
                subject.numbers.add(text)
            elif kind == "place":
                subject.places.add(text)
            elif tag >> 16 in _STAFF_GROUPS:
                subject.staff.add(text)
            else:
                subject.names.add(text)


def _may_be_evident(words: list[str], denied: frozenset[str]) -> bool:
    return denied.isdisjoint(words) and not names_a_month(words)


def link_key(role: str, number: str) -> str:
    """The key of an accession number or UID in ``Cohort.links``."""
    return f"{role}\0{number}"


def patient_key(tree: Node) -> str:
    """What tells patients apart: the patient id, else name and birth date, else the study."""
    number, name, birth = (text_at(tree, tag) for tag in _PATIENT_ROOTS)
    if number:
        return number
    if name:
        return f"{name}\0{birth}"
    return "\0study\0" + (text_at(tree, 0x0020000D) or text_at(tree, 0x00080018))
