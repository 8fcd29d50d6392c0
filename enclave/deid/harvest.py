"""The first pass: what identifies whom, and which words so many patients share that they identify nobody."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pydicom.dataset import Dataset

from enclave.deid.dates import parse_da
from enclave.deid.identity import DESCRIPTIVE, TECHNICAL, identity_kind
from enclave.deid.names import MIN_PIECE, fold, name_parts
from enclave.deid.sweep import Subject
from enclave.deid.tree import read_tree, text_at, texts, walk_tree

MIN_PATIENTS = 5
MIN_SHARE = 0.2
_STAFF_GROUPS = frozenset({0x0008, 0x0032, 0x0040, 0x0400, 0x4008})  # PN in these name those who treat
_BIRTH = 0x00100030
_PATIENT_ROOTS = (0x00100020, 0x00100010, _BIRTH)


@dataclass(frozen=True, slots=True)
class Cohort:
    """What the second pass needs to know of all files: the subjects, and the words that may or must not stay."""

    subjects: Mapping[str, Subject]
    denied: frozenset[str] = frozenset()
    evident_values: frozenset[str] = frozenset()
    evident_words: frozenset[str] = frozenset()


@dataclass(slots=True)
class Harvest:
    """Collects over files and tables; the result does not depend on their order."""

    vocabulary: frozenset[str]
    subjects: defaultdict[str, Subject] = field(default_factory=lambda: defaultdict(Subject))
    _values: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _words: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _whole: set[str] = field(default_factory=set)

    def add_dataset(self, dataset: Dataset, *, evidence: bool = True) -> str:
        """Takes the identities of one file, and its words as evidence; returns the key of its patient."""
        patient = patient_key(dataset)
        subject = self.subjects[patient]
        for node, tag, value in walk_tree(read_tree(dataset)):
            vr = value[0]
            kind = identity_kind(tag, vr=vr)
            if kind is not None:
                self._take(subject, kind=kind, tag=tag, texts=texts(value, node=node))
            elif tag == _BIRTH:
                births = (parse_da(text) for text in texts(value, node=node))
                subject.births |= {birth for birth in births if birth}
            elif evidence and (tag in TECHNICAL or vr == "CS"):
                for text in texts(value, node=node):
                    self._values[fold(text)].add(patient)
            if evidence and tag in DESCRIPTIVE:
                for text in texts(value, node=node):
                    for word in fold(text).split():
                        self._words[word].add(patient)
        return patient

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
        for mine, theirs in ((self._values, other._values), (self._words, other._words)):
            for text, patients in theirs.items():
                mine[text] |= patients
        self._whole |= other._whole

    def finish(self) -> Cohort:
        """The cohort. With fewer than five patients nothing is evident: only the vocabulary counts."""
        denied = self._denied()
        patients = len(self.subjects)
        least = max(MIN_PATIENTS, MIN_SHARE * patients)
        values = {text for text, seen in self._values.items() if text and len(seen) >= least}
        words = {text for text, seen in self._words.items() if len(seen) >= least and not text.isdigit()}
        return Cohort(
            subjects=dict(self.subjects),
            denied=denied,
            evident_values=frozenset(v for v in values if v not in denied and denied.isdisjoint(v.split())),
            evident_words=frozenset(words - denied),
        )

    def _denied(self) -> frozenset[str]:
        parts = {
            part
            for subject in self.subjects.values()
            for text in (*subject.names, *subject.staff, *subject.places, *subject.numbers)
            for part in name_parts(text)
            if not part.isdigit() or len(part) > MIN_PIECE
        }
        return frozenset((parts | self._whole) - self.vocabulary)

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


def patient_key(dataset: Dataset) -> str:
    """What tells patients apart: the patient id, else name and birth date, else the study."""
    number, name, birth = (text_at(dataset, tag) for tag in _PATIENT_ROOTS)
    if number:
        return number
    if name:
        return f"{name}\0{birth}"
    return "\0study\0" + (text_at(dataset, 0x0020000D) or text_at(dataset, 0x00080018))
