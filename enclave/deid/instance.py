"""De-identifies one dataset in place: every element at every depth gets its rule, then the sweep looks again."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable

from enclave.deid import dates
from enclave.deid.actions import BINARY_VRS, NUMBER_VRS, TEXT_VRS, Action, dummy
from enclave.deid.arrays import KEPT_ARRAYS, fits
from enclave.deid.codes import CODE_TAGS, clean_code
from enclave.deid.decoding import items_of
from enclave.deid.element_search import OURS, ElementSearch
from enclave.deid.encoding import Form, encode_items
from enclave.deid.identity import DESCRIPTIVE, TECHNICAL
from enclave.deid.long_text import LONG_VRS, LongText
from enclave.deid.multiplicity import NUMBER_SIZES, has_too_many
from enclave.deid.names import fold, own_parts
from enclave.deid.pixel_data import PIXEL_TAGS
from enclave.deid.places import Place
from enclave.deid.plain_pdf import has_other_script
from enclave.deid.private import is_kept
from enclave.deid.reasons import Quarantined
from enclave.deid.recurring import KNOWN_BY_BYTES, Key, Recurring
from enclave.deid.sweep import Sweeper
from enclave.deid.table import coded_terms, stems, technical_words
from enclave.deid.terms import SHORT_TERM, Terms
from enclave.deid.tools import Tools
from enclave.deid.trace import REVIEW, Trace
from enclave.deid.tree import BROKEN, Field, Node, texts
from enclave.deid.values import as_utf_8, empty, joined
from enclave.deid.words import Either, Words

_CS = re.compile(r"[A-Z0-9 _]{0,16}")
_SEX = frozenset({"M", "F", "O"})
_DECIMAL = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*")
_INTEGER = re.compile(r"\s*[+-]?\d{1,12}\s*")
_NAME, _ID, _ACCESSION, _SEX_TAG = 0x00100010, 0x00100020, 0x00080050, 0x00100040
_CHARSET, _TIMEZONE, _SOP_CLASS = 0x00080005, 0x00080201, 0x00080016
_ZONE = re.compile(r"[+-]\d{4}")
_FORMS = {"CS": _CS, "DS": _DECIMAL, "IS": _INTEGER}
_PRIVATE_NEVER = frozenset({BROKEN, "SQ", "PN", "AE", "UR"})
_UTF_8 = ("utf-8",)
_MAX_REMEMBERED = 20_000
_MAX_RECURRING_BYTES = 1 << 20
_OWN_WORDS = frozenset({0x00120062, 0x00120063, 0x00120064, 0x00280303})  # set anew from what really ran
_DROPPED = _OWN_WORDS | {_CHARSET}
_NOT_SWEPT = frozenset({_NAME, _ID, _ACCESSION, 0x00080060, 0x00280004, _CHARSET})  # ours, or closed sets of terms
_BY_NEIGHBOURS = CODE_TAGS | KEPT_ARRAYS  # what becomes of them depends on others in the same item
_DATE_VRS = frozenset({"DA", "DT", "TM", "AS"})
NESTED_PIXELS = "pixel data inside a sequence"
TOO_MANY_VALUES = "more numbers than the attribute has"
_CHARACTERISTICS = frozenset({0x00102160, 0x00102162})  # ethnic groups: kept as far as they are one
_IMAGE_GROUPS = frozenset({0x0008, 0x0018, 0x0020, 0x0028, 0x0054})  # makers have short codes of their own there
_INITIALS = 3


_Cleaned = tuple[Field, str, tuple[tuple[str, str], ...]]  # what stays; letters of actions and redactions it took


class InstanceCleaner:
    """Cleans the instances of one patient."""

    def __init__(self, tools: Tools, *, patient: str) -> None:
        self._tools = tools
        self.pseudonym = tools.keyring.patient_id(patient)
        self._days = tools.keyring.offset_days(patient, max_shift_days=tools.max_shift_days)
        self._time = functools.partial(dates.keep_tm, times=tools.times)
        subject = tools.cohort.subjects[patient]
        self._sweeper = Sweeper(subject, vocabulary=tools.vocabulary)
        self._search = ElementSearch(self._sweeper)
        own = frozenset(part for name in subject.names for part in own_parts(name))
        denied = Either(tools.cohort.denied, own)
        denied_terms = Either(tools.cohort.denied, own - coded_terms())
        self._terms = Terms(evident=tools.cohort.evident_values, denied=denied_terms)
        self._strict = Words(tools.vocabulary, denied=denied, stems=stems())
        self._descriptive = dataclasses.replace(self._strict, evident=tools.cohort.evident_words)
        self._long = LongText(subject, cohort=tools.cohort, vocabulary=tools.vocabulary) if tools.detectors else None
        self._technical = dataclasses.replace(self._strict, vocabulary=technical_words(), codes=True)
        self._trace = Trace()
        self._form: Form = (False, True)
        self._recurring: Recurring[_Cleaned] = Recurring(max_bytes=_MAX_RECURRING_BYTES)
        self._kept: dict[tuple[int, str], str] = {}
        self._by_action: dict[Action, _Handler] = {
            Action.DUMMY: self._dummy,
            Action.ZERO: self._zero,
            Action.REMOVE: self._remove,
            Action.KEEP: self._keep,
            Action.CLEAN: self._clean,
            Action.UID: self._uid,
        }

    def clean(self, tree: Node) -> tuple[Node, Trace]:
        """The cleaned tree, to be encoded as ``tree`` was; raises ``Quarantined`` for what cannot be made clean."""
        self._trace = Trace()
        self._form = (tree.implicit, tree.little)
        cleaned = self._node(tree, self._tools.places.top("".join(texts(tree[_SOP_CLASS], node=tree))))
        cleaned[_CHARSET] = ("CS", b"ISO_IR 192")
        cleaned[_NAME] = ("PN", self.pseudonym.encode())
        cleaned[_ID] = ("LO", self.pseudonym.encode())
        return cleaned, self._trace

    def identifies(self, text: str) -> bool:
        """Whether ``text`` holds an identifier of the patient or a name of the cohort."""
        return self._sweeper.found_in_text(text) or any(word in self._strict.denied for word in fold(text).split())

    def clean_block(self, text: str) -> str:
        """Some lines of a document, cleaned as running text is; lines that are no sentences keep known words only.

        The detectors know no other script: a block with words in one is judged as one line, and keeps known words only.
        """
        if has_other_script(text):
            lines = [self._words_of(" ".join(text.split()), words=self._strict)]
        elif self._long is not None and self._long.takes(text):
            lines = self._long.keep(text).split("\n")
        else:
            lines = [self._words_of(line, words=self._strict) for line in text.split("\n")]
        if self._search.found_in_text("\n".join(lines)):
            lines = [self._sweeper.without(line) for line in lines]
        return "" if self._search.found_in_text(left := "\n".join(lines)) else left

    def residual_in(self, data: bytes, *, pixels: bool = False) -> bool:
        """Whether an identifier of this patient still stands in raw bytes, or in those of compressed pixels."""
        return (self._sweeper.found_in_stream if pixels else self._sweeper.found_in_bytes)(data)

    # ── every element ───────────────────────────────────────────────────────

    def _node(self, node: Node, place: Place) -> Node:
        kept = Node(_UTF_8, little=node.little, implicit=node.implicit)
        recurring = self._recurring.within((place.name, self._form, node.encodings, node.little))
        letters, redactions = self._trace.letters, self._trace.redactions
        for key in node.items():
            tag, field = key
            group = tag >> 16
            if group & 1:
                cleaned = self._private(node, tag, field)
            elif group < 8 or group >> 8 == 0x60 or tag in _DROPPED:
                cleaned = self._drop(tag, why="")
            elif known := recurring.get(key) if isinstance(field[1], KNOWN_BY_BYTES) else None:
                cleaned = known[0]
                letters.append(known[1])
                redactions += known[2]
            else:
                cleaned = self._remembered(node, key, place, recurring)
            if cleaned is not None:
                kept[tag] = cleaned
        self._drop_empty_blocks(kept)
        return kept

    def _remembered(self, node: Node, key: Key, place: Place, recurring: dict[Key, _Cleaned]) -> Field | None:
        """What becomes of a field, remembered for those with the same bytes; what just goes is found out as fast."""
        letters, redactions = self._trace.letters, self._trace.redactions
        before = len(letters), len(redactions)
        tag, field = key
        cleaned = self._standard(node, tag, field, place)
        if cleaned is not None and tag not in _BY_NEIGHBOURS and isinstance(field[1], KNOWN_BY_BYTES):
            took = "".join(letters[before[0] :]), tuple(redactions[before[1] :])
            self._recurring.add(recurring, key, (cleaned, *took))
        return cleaned

    def _standard(self, node: Node, tag: int, field: Field, place: Place) -> Field | None:
        vr = field[0]
        items = items_of(field) if vr == "SQ" else None
        if vr == BROKEN or (vr == "SQ" and items is None):
            return self._drop(tag, why="not decodable")
        if tag in PIXEL_TAGS:  # those of the object itself are in no tree: nobody looked at these
            return self._drop(tag, why=NESTED_PIXELS)
        rule = place[tag, vr]
        if rule.bulk or (tag in KEPT_ARRAYS and (vr in BINARY_VRS or vr in NUMBER_SIZES)):
            return self._array(node, tag, field, needed=rule.needed)
        action = rule.action
        if items is not None and action not in (Action.REMOVE, Action.ZERO):
            self._trace.count(Action.CLEAN)
            inside = place.within(tag)
            return vr, encode_items([self._node(item, inside) for item in items], form=self._form)
        self._trace.count(action)
        if action is Action.KEEP and not rule.listed:
            cleaned = self._keep_unlisted(node, tag, field)
        else:
            cleaned = self._by_action[action](node, tag, field)
        swept = None if cleaned is None else self._swept(tag, cleaned, little=node.little)
        if rule.needed and not (swept and swept[1]):
            return self._filled(node, tag, field, cleaned=cleaned, swept=swept)
        return swept

    def _array(self, node: Node, tag: int, field: Field, *, needed: bool) -> Field | None:
        """Bulk data of the size that the header promises, and no text; the file is held when the IOD wants others."""
        if tag in KEPT_ARRAYS and not fits(tag, node):
            kept = self._drop(tag, why="another size than the header promises")
        else:
            self._trace.count(Action.KEEP)
            why = self._search.reason_in_array(field[1])
            if why:
                self._trace.redact(tag, why)
            kept = None if why else field
        if kept is None and needed:
            raise Quarantined("identifier_in_mandatory")
        return kept

    def _filled(
        self, node: Node, tag: int, field: Field, *, cleaned: Field | None, swept: Field | None
    ) -> Field | None:
        """A dummy for a value that the IOD wants and that did not survive; one that was never there is not invented.

        A number has no dummy: with an identifier or others behind it, it can neither stay nor go. The file is held.
        """
        vr = field[0]
        if vr in NUMBER_VRS and (has_too_many(tag, field) if cleaned is None else cleaned[1]):
            raise Quarantined("identifier_in_mandatory")
        if vr in NUMBER_VRS or vr in BINARY_VRS or not texts(field, node=node):
            return swept
        return self._uid(node, tag, field) if vr == "UI" else (vr, str(dummy(vr)).encode())

    def _private(self, node: Node, tag: int, field: Field) -> Field | None:
        if 0x10 <= tag & 0xFFFF < 0x100:
            return field  # creators: judged after their blocks
        vr = field[0]
        if not is_kept(node, tag, self._tools.private) or vr in _PRIVATE_NEVER or vr in BINARY_VRS:
            return self._drop(tag, why="")
        self._trace.count(Action.CLEAN)
        if vr in TEXT_VRS:
            cleaned = self._texts(node, tag, field, words=self._strict, whole=True)
        elif vr == "UI":
            cleaned = self._uid(node, tag, field)
        elif vr in _DATE_VRS:
            cleaned = self._clean(node, tag, field)
        else:
            cleaned = self._keep_unlisted(node, tag, field)
        return None if cleaned is None else self._swept(tag, cleaned, little=node.little)

    def _drop_empty_blocks(self, node: Node) -> None:
        private = [tag for tag in node if tag >> 16 & 1]
        blocks = {tag >> 16 << 8 | tag >> 8 & 0xFF for tag in private if tag & 0xFFFF >= 0x1000}
        for tag in private:
            if tag & 0xFFFF < 0x1000 and (tag >> 16 << 8 | tag & 0xFF) not in blocks:
                del node[tag]
                self._trace.count(Action.REMOVE)

    # ── actions ─────────────────────────────────────────────────────────────

    def _dummy(self, node: Node, tag: int, field: Field) -> Field | None:
        vr = field[0]
        if tag in (_ID, _NAME, _ACCESSION):
            return self._zero(node, tag, field)
        if vr == "UI":
            return self._uid(node, tag, field)
        if vr in NUMBER_SIZES:
            return vr, bytes(NUMBER_SIZES[vr])
        filled = dummy(vr) if vr in BINARY_VRS or texts(field, node=node) else ""
        return vr, filled if isinstance(filled, bytes) else str(filled).encode()

    def _zero(self, node: Node, tag: int, field: Field) -> Field | None:
        if tag in (_ID, _NAME):
            return field[0], self.pseudonym.encode()
        found = texts(field, node=node) if tag == _ACCESSION else []
        if found:
            return field[0], self._tools.keyring.number_id(found[0], kind="accession").encode()
        return empty(field)

    def _remove(self, _node: Node, _tag: int, _field: Field) -> Field | None:
        return None

    def _keep(self, node: Node, tag: int, field: Field) -> Field | None:
        """K of an option: the value stays as far as its form is right."""
        vr = field[0]
        if tag == _SEX_TAG and not _SEX.issuperset(texts(field, node=node)):
            return empty(field)
        if vr == "TM":
            return self._each(node, field, self._time)
        if vr == "AS":
            return self._each(node, field, dates.top_code_as)
        if vr == "CS" or vr in NUMBER_VRS:
            return self._keep_unlisted(node, tag, field)
        if tag in _CHARACTERISTICS:
            return self._texts(node, tag, field, words=self._strict, whole=False)
        return as_utf_8(node, field)

    def _uid(self, node: Node, _tag: int, field: Field) -> Field | None:
        return self._each(node, field, self._new_uid)

    def _new_uid(self, text: str) -> str:
        """One of the standard stays, unless a number of the patient was put behind its root."""
        return self._tools.keyring.uid_of(f"0.{text}" if self._search.is_false_standard(text) else text)

    def _clean(self, node: Node, tag: int, field: Field) -> Field | None:
        vr = field[0]
        if tag == _TIMEZONE:
            return self._each(node, field, lambda text: text if _ZONE.fullmatch(text) else "")
        if vr in TEXT_VRS:
            return self._clean_text(node, tag, field)
        if vr == "DA":
            return self._each(node, field, lambda text: dates.shift_da(text, days=self._days))
        if vr == "DT":
            return self._each(node, field, lambda text: dates.shift_dt(text, days=self._days, times=self._tools.times))
        if vr == "TM":
            return self._each(node, field, self._time)
        if vr == "AS":
            return self._each(node, field, dates.top_code_as)
        if vr == "CS":
            return self._keep_unlisted(node, tag, field)
        return self._drop(tag, why="cannot be cleaned")

    def _clean_text(self, node: Node, tag: int, field: Field) -> Field | None:
        if tag in CODE_TAGS:
            evident = self._tools.cohort.evident_values
            return field[0], clean_code(node, tag=tag, words=self._strict, evident=evident) or ""
        words = self._descriptive if tag in DESCRIPTIVE else self._technical if tag in TECHNICAL else self._strict
        return self._texts(node, tag, field, words=words, whole=tag in TECHNICAL)

    def _texts(self, node: Node, tag: int, field: Field, *, words: Words, whole: bool) -> Field | None:
        evident = self._tools.cohort.evident_values if whole else frozenset()
        found = texts(field, node=node)
        if self._long is not None and field[0] in LONG_VRS and any(map(self._long.takes, found)):
            self._trace.redact(tag, REVIEW)
            return field[0], joined([self._long.keep(text) for text in found])
        cleaned = [text if fold(text) in evident else self._words_of(text, words=words) for text in found]
        if cleaned == found:
            return as_utf_8(node, field)
        self._trace.redact(tag, "vocabulary")
        return field[0], joined(cleaned)

    def _words_of(self, text: str, *, words: Words) -> str:
        """``words.keep``, remembered: a patient's files say the same over and over."""
        kept = self._kept.get((id(words), text))
        if kept is None:
            if len(self._kept) > _MAX_REMEMBERED:
                self._kept.clear()
            kept = self._kept[id(words), text] = words.keep(text)
        return kept

    def _each(self, node: Node, field: Field, change: Callable[[str], str]) -> Field | None:
        if field[0] in NUMBER_SIZES or field[0] in BINARY_VRS:
            return None  # a text by the standard, something else in the file
        return field[0], joined([change(text) for text in texts(field, node=node)])

    def _keep_unlisted(self, node: Node, tag: int, field: Field) -> Field | None:
        vr = field[0]
        if vr in NUMBER_SIZES:
            if len(field[1]) % NUMBER_SIZES[vr]:
                return self._drop(tag, why="no number")
            return self._drop(tag, why=TOO_MANY_VALUES) if has_too_many(tag, field) else field
        found = texts(field, node=node)
        right = _FORMS.get(vr)
        if right is not None and not all(map(right.fullmatch, found)):
            if vr != "CS":
                return self._drop(tag, why="no number")
            cleaned = self._texts(node, tag, field, words=self._strict, whole=False)
            return cleaned and (vr, _fitting(texts(cleaned, node=node)))
        if vr != "CS":
            return field
        letters = SHORT_TERM if tag >> 16 & 1 or tag >> 16 in _IMAGE_GROUPS else _INITIALS - 1
        judged = [self._terms.judged(text, letters=letters) for text in found]
        if tag not in _NOT_SWEPT and any(denied for denied, _ in judged):
            return self._drop(tag, why="identity of the cohort")
        terms = [term for _, term in judged]
        if all(terms):
            return field
        self._trace.redact(tag, "unknown term")
        kept = [text if term else "REMOVED" for text, term in zip(found, terms, strict=True)]
        return vr, joined(kept) if len(kept) > 1 else b""

    # ── the sweep ───────────────────────────────────────────────────────────

    def _swept(self, tag: int, field: Field, *, little: bool) -> Field | None:
        """``field`` when no identifier stands in it; else it becomes empty, or goes when it is private or binary."""
        vr, value = field
        if tag in _NOT_SWEPT or vr in _DATE_VRS or not value or vr == "SQ":
            return field
        why = self._search.reason(tag, field, little=little)
        if not why:
            return field
        self._trace.redact(tag, why)
        if vr in TEXT_VRS:
            return vr, joined([self._sweeper.without(text) for text in texts(field, node=OURS)])
        return None if tag >> 16 & 1 or vr in BINARY_VRS else empty(field)

    # ── bookkeeping ─────────────────────────────────────────────────────────

    def _drop(self, tag: int, *, why: str) -> Field | None:
        """Counts a removal; what it returns stands for an element that is gone."""
        self._trace.count(Action.REMOVE)
        if why:
            self._trace.redact(tag, why)
        return None


_Handler = Callable[[Node, int, Field], Field | None]


def _fitting(found: list[str]) -> bytes:
    return joined([upper for text in found if _CS.fullmatch(upper := text.upper())])
