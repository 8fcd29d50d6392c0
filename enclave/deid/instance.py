"""De-identifies one dataset in place: every element at every depth gets its rule, then the sweep looks again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence

from enclave.deid import dates
from enclave.deid.actions import BINARY_VRS, NUMBER_VRS, TEXT_VRS, Action, dummy
from enclave.deid.codes import CODE_TAGS, clean_code
from enclave.deid.elements import element_at, texts_of, values_of
from enclave.deid.harvest import Cohort
from enclave.deid.identity import DESCRIPTIVE, TECHNICAL
from enclave.deid.keyring import Keyring
from enclave.deid.names import fold
from enclave.deid.pixel_data import PIXEL_TAGS
from enclave.deid.profile import Profile
from enclave.deid.reading import MAX_DEPTH
from enclave.deid.reasons import Quarantined
from enclave.deid.recipe import Recipe
from enclave.deid.sweep import Sweeper
from enclave.deid.table import PrivateElement, defined_terms, safe_private, table_rows, vocabulary
from enclave.deid.uids import may_be_uid
from enclave.deid.words import Words

_CS = re.compile(r"[A-Z0-9 _]{0,16}")
_SEX = frozenset({"M", "F", "O"})
_DECIMAL = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*")
_INTEGER = re.compile(r"\s*[+-]?\d{1,12}\s*")
_NAME, _ID, _ACCESSION, _SEX_TAG = 0x00100010, 0x00100020, 0x00080050, 0x00100040
_CHARSET, _TIMEZONE = 0x00080005, 0x00080201
_ZONE = re.compile(r"[+-]\d{4}")
_OWN_WORDS = frozenset({0x00120062, 0x00120063, 0x00120064, 0x00280303})  # set anew from what really ran
_NOT_SWEPT = frozenset({_NAME, _ID, _ACCESSION, 0x00080060, 0x00280004, _CHARSET})  # ours, or closed sets of terms
# Bulk data of the image itself, without which it cannot be shown; no text fits into their meaning.
_KEPT_BINARY = frozenset(
    {*PIXEL_TAGS, 0x00281201, 0x00281202, 0x00281203, 0x00283006, 0x00281221, 0x00281222, 0x00281223, 0x54001010}
)
_SHORT_TERM = 4  # letters; a name as short as that is found by the sweep


@dataclass(frozen=True, slots=True)
class Tools:
    """What every instance of a job is cleaned with."""

    profile: Profile
    keyring: Keyring
    cohort: Cohort
    vocabulary: frozenset[str]
    private: frozenset[PrivateElement]
    max_shift_days: int


def make_tools(recipe: Recipe, *, keyring: Keyring, cohort: Cohort) -> Tools:
    """The tools of a job by this recipe."""
    profile = Profile(table_rows(), options=recipe.options)
    safe = safe_private() if "retain_safe_private" in profile.options else frozenset()
    return Tools(
        profile=profile,
        keyring=keyring,
        cohort=cohort,
        vocabulary=vocabulary(),
        private=safe | recipe.allowed_private(),
        max_shift_days=recipe.dates.max_shift_days,
    )


@dataclass(slots=True)
class Trace:
    """What was done with one instance: counts per action, and each redaction as tag and reason."""

    actions: Counter[str] = field(default_factory=Counter)
    redactions: list[tuple[str, str]] = field(default_factory=list)


class InstanceCleaner:
    """Cleans the instances of one patient."""

    def __init__(self, tools: Tools, *, patient: str) -> None:
        self._tools = tools
        self._profile = tools.profile
        self._patient = patient
        self.pseudonym = tools.keyring.patient_id(patient)
        self._days = tools.keyring.offset_days(patient, max_shift_days=tools.max_shift_days)
        subject = tools.cohort.subjects[patient]
        self._sweeper = Sweeper(subject, vocabulary=tools.vocabulary)
        own = frozenset(part for name in subject.names for part in fold(name).split() if len(part) > 2)
        denied = tools.cohort.denied | own
        self._strict = Words(tools.vocabulary, denied=denied)
        self._descriptive = Words(tools.vocabulary, evident=tools.cohort.evident_words, denied=denied)
        self._trace = Trace()
        self._by_action: dict[Action, Callable[[Dataset, DataElement], None]] = {
            Action.DUMMY: self._dummy,
            Action.ZERO: self._zero,
            Action.REMOVE: self._remove,
            Action.KEEP: self._keep,
            Action.CLEAN: self._clean,
            Action.UID: self._uid,
        }

    def clean(self, dataset: FileDataset) -> Trace:
        """Cleans ``dataset`` in place; raises ``Quarantined`` for what cannot be made clean."""
        self._trace = Trace()
        self._items(dataset, depth=0)
        self._sweep(dataset)
        dataset.add_new(_CHARSET, "CS", "ISO_IR 192")
        dataset.add_new(_NAME, "PN", self.pseudonym)
        dataset.add_new(_ID, "LO", self.pseudonym)
        return self._trace

    def residual_in(self, data: bytes) -> bool:
        """Whether an identifier of this patient still stands in raw bytes."""
        return self._sweeper.found_in_bytes(data)

    # ── every element ───────────────────────────────────────────────────────

    def _items(self, dataset: Dataset, *, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise Quarantined("nesting")
        overlays = {tag.group for tag in dataset.keys() if tag.group & 0xFF01 == 0x6000}  # noqa: SIM118 - keys are tags
        for tag in list(dataset.keys()):
            number = int(tag)
            if tag.group % 2:
                self._private(dataset, tag=number)
            elif tag.group < 8 or tag.group in overlays or number in _OWN_WORDS or number == _CHARSET:
                self._drop(dataset, tag=number, why="")
            else:
                self._standard(dataset, tag=number, depth=depth)
        self._drop_empty_blocks(dataset)

    def _standard(self, dataset: Dataset, *, tag: int, depth: int) -> None:
        element = element_at(dataset, tag=tag)
        if element is None:
            self._drop(dataset, tag=tag, why="not decodable")
            return
        if tag in _KEPT_BINARY and element.VR in BINARY_VRS:
            self._count(Action.KEEP)
            return
        rule = self._profile.rule(tag, vr=element.VR)
        action = rule.action
        if element.VR == "SQ" and action not in (Action.REMOVE, Action.ZERO):
            self._sequence(element, depth=depth)
            return
        self._count(action)
        if action is Action.KEEP and self._profile.listed(tag) is None:
            self._keep_unlisted(dataset, element)
        else:
            self._by_action[action](dataset, element)

    def _sequence(self, element: DataElement, *, depth: int) -> None:
        self._count(Action.CLEAN)
        for item in element.value or ():
            self._items(item, depth=depth + 1)

    def _private(self, dataset: Dataset, *, tag: int) -> None:
        if tag & 0xFFFF in range(0x10, 0x100):
            return  # creators: judged after their blocks
        element = element_at(dataset, tag=tag)
        known = element is not None and self._may_keep_private(dataset, tag=tag)
        if element is None or not known or element.VR in BINARY_VRS or element.VR in ("SQ", "PN", "AE", "UR"):
            self._drop(dataset, tag=tag, why="")
            return
        self._count(Action.CLEAN)
        if element.VR in TEXT_VRS:
            self._texts(element, words=self._strict, whole=True)
        elif element.VR == "UI":
            self._uid(dataset, element)
        elif element.VR in ("DA", "DT", "TM", "AS"):
            self._clean(dataset, element)
        else:
            self._keep_unlisted(dataset, element)

    def _may_keep_private(self, dataset: Dataset, *, tag: int) -> bool:
        group, element = tag >> 16, tag & 0xFFFF
        creator = element_at(dataset, tag=group << 16 | element >> 8)
        if creator is None or element < 0x1000:
            return False
        return PrivateElement(str(creator.value).strip(), group, element & 0xFF) in self._tools.private

    def _drop_empty_blocks(self, dataset: Dataset) -> None:
        tags = [int(tag) for tag in dataset.keys() if tag.group % 2]  # noqa: SIM118 - keys are tags
        for tag in tags:
            element = tag & 0xFFFF
            if element < 0x1000 and not any(other >> 8 == (tag >> 16 << 8 | element) for other in tags):
                del dataset[tag]
                self._count(Action.REMOVE)

    # ── actions ─────────────────────────────────────────────────────────────

    def _dummy(self, dataset: Dataset, element: DataElement) -> None:
        if int(element.tag) in (_ID, _NAME, _ACCESSION):
            self._zero(dataset, element)
        elif element.VR == "UI":
            self._uid(dataset, element)
        elif values_of(element):
            element.value = dummy(element.VR)

    def _zero(self, dataset: Dataset, element: DataElement) -> None:
        del dataset
        tag = int(element.tag)
        found = texts_of(element)
        if tag in (_ID, _NAME):
            element.value = self.pseudonym
        elif tag == _ACCESSION and found:
            element.value = self._tools.keyring.number_id(found[0].strip(), kind="accession")
        else:
            _empty(element)

    def _remove(self, dataset: Dataset, element: DataElement) -> None:
        del dataset[element.tag]

    def _keep(self, dataset: Dataset, element: DataElement) -> None:
        """K of an option: the value stays as far as its form is right."""
        if int(element.tag) == _SEX_TAG and not _SEX.issuperset(texts_of(element)):
            _empty(element)
        elif element.VR == "TM":
            element.value = _one_or_many([dates.keep_tm(text) for text in texts_of(element)])
        elif element.VR == "CS" or element.VR in NUMBER_VRS:
            self._keep_unlisted(dataset, element)

    def _uid(self, dataset: Dataset, element: DataElement) -> None:
        del dataset
        element.value = _one_or_many([self._tools.keyring.uid_of(text) for text in texts_of(element)])

    def _clean(self, dataset: Dataset, element: DataElement) -> None:
        tag, vr, found = int(element.tag), element.VR, texts_of(element)
        if vr in TEXT_VRS and tag != _TIMEZONE:
            self._clean_text(dataset, element)
        elif tag == _TIMEZONE:
            element.value = _one_or_many([text for text in found if _ZONE.fullmatch(text)])
        elif vr == "DA":
            element.value = _one_or_many([dates.shift_da(text, days=self._days) for text in found])
        elif vr == "DT":
            element.value = _one_or_many([dates.shift_dt(text, days=self._days) for text in found])
        elif vr == "TM":
            element.value = _one_or_many([dates.keep_tm(text) for text in found])
        elif vr == "AS":
            element.value = _one_or_many([dates.top_code_as(text) for text in found])
        elif vr == "CS":
            self._keep_unlisted(dataset, element)
        else:
            self._drop(dataset, tag=tag, why="cannot be cleaned")

    def _clean_text(self, dataset: Dataset, element: DataElement) -> None:
        tag = int(element.tag)
        if tag in CODE_TAGS:
            element.value = clean_code(dataset, tag=tag, words=self._strict, evident=self._tools.cohort.evident_values)
        else:
            words = self._descriptive if tag in DESCRIPTIVE else self._strict
            self._texts(element, words=words, whole=tag in TECHNICAL)

    def _texts(self, element: DataElement, *, words: Words, whole: bool) -> None:
        evident = self._tools.cohort.evident_values if whole else frozenset()
        found = texts_of(element)
        cleaned = [text if fold(text) in evident else words.keep(text) for text in found]
        if cleaned != found:
            self._trace.redactions.append((f"{int(element.tag):08x}", "vocabulary"))
        element.value = _one_or_many(cleaned)

    def _keep_unlisted(self, dataset: Dataset, element: DataElement) -> None:
        tag, vr, found = int(element.tag), element.VR, texts_of(element)
        right = {"CS": _CS, "DS": _DECIMAL, "IS": _INTEGER}.get(vr)
        if right is not None and not all(map(right.fullmatch, found)):
            if vr == "CS":
                self._texts(element, words=self._strict, whole=False)
                self._fit_codes(element)
            else:
                self._drop(dataset, tag=tag, why="no number")
        elif vr == "CS" and tag not in _NOT_SWEPT and any(self._is_denied(text) for text in found):
            self._drop(dataset, tag=tag, why="identity of the cohort")
        elif vr == "CS" and not all(map(self._is_term, found)):
            self._trace.redactions.append((f"{tag:08x}", "unknown term"))
            kept = [text if self._is_term(text) else "REMOVED" for text in found]
            element.value = kept if len(kept) > 1 else None

    def _is_term(self, text: str) -> bool:
        """Whether a coded string is made of defined terms and short codes, or shared by many patients."""
        folded = fold(text)
        if folded in self._tools.cohort.evident_values:
            return True
        return all(len(word) <= _SHORT_TERM or word in defined_terms() for word in folded.split())

    def _is_denied(self, text: str) -> bool:
        denied = self._tools.cohort.denied
        folded = fold(text)
        return folded in denied or not denied.isdisjoint(folded.split())

    def _fit_codes(self, element: DataElement) -> None:
        fitting = [text.upper() for text in texts_of(element) if _CS.fullmatch(text.upper())]
        element.value = _one_or_many(fitting)

    # ── the sweep ───────────────────────────────────────────────────────────

    def _sweep(self, dataset: Dataset) -> None:
        for tag in list(dataset.keys()):
            element = element_at(dataset, tag=tag)
            if element is None or int(tag) in _NOT_SWEPT or int(tag) in PIXEL_TAGS:
                continue
            if element.VR == "SQ":
                for item in element.value or ():
                    self._sweep(item)
            elif self._found(element):
                self._trace.redactions.append((f"{int(tag):08x}", "identifier_sweep"))
                if tag.is_private or element.VR in BINARY_VRS:
                    del dataset[tag]
                else:
                    _empty(element)

    def _found(self, element: DataElement) -> bool:
        vr = element.VR
        if vr in ("DA", "DT", "TM", "UI", "AS"):
            return vr == "UI" and any(not may_be_uid(text) for text in texts_of(element))
        if vr in BINARY_VRS:
            data = element.value
            return isinstance(data, bytes) and self._sweeper.found_in_bytes(data)
        search = self._sweeper.found_in_number if vr in NUMBER_VRS else self._sweeper.found_in_text
        return any(search(text) for text in texts_of(element))

    # ── bookkeeping ─────────────────────────────────────────────────────────

    def _drop(self, dataset: Dataset, *, tag: int, why: str) -> None:
        del dataset[tag]
        self._count(Action.REMOVE)
        if why:
            self._trace.redactions.append((f"{tag:08x}", why))

    def _count(self, action: Action) -> None:
        self._trace.actions[action.value] += 1


def _empty(element: DataElement) -> None:
    element.value = Sequence([]) if element.VR == "SQ" else None


def _one_or_many(values: list[str]) -> Any:
    if not any(values):
        return None
    return values[0] if len(values) == 1 else values
