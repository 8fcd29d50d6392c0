"""Whether an identifier of one patient stands in a cleaned element, by what its representation makes of its bytes.

Only decides: what becomes of the element is the cleaner's.
"""

from __future__ import annotations

from enclave.deid.actions import BINARY_VRS, NUMBER_VRS
from enclave.deid.identity import TECHNICAL
from enclave.deid.multiplicity import NUMBER_SIZES
from enclave.deid.sweep import Sweeper
from enclave.deid.text_in_bytes import ARRAY_RUN, NUMBERS_RUN, holds_text
from enclave.deid.tree import Field, Node, numbers, texts
from enclave.deid.uids import STANDARD_ROOT, may_be_uid

OURS = Node(("utf-8",))  # cleaned elements are read as those of a node like this
IDENTIFIER = "identifier_sweep"
TEXT_IN_NUMBERS = "text among numbers"
_MAX_REMEMBERED = 20_000
_LEAST_NUMBER = 4  # bytes: what is shorter identifies nobody


class ElementSearch:
    """The search of one patient's elements. The same texts come again and again: they are remembered."""

    def __init__(self, sweeper: Sweeper) -> None:
        self._sweeper = sweeper
        self._found: dict[str, bool] = {}

    def reason(self, tag: int, field: Field, *, little: bool) -> str:
        """Why ``field`` may not stay as it is, as a redaction says it; empty when it may."""
        vr, value = field
        if vr in BINARY_VRS:
            return self.reason_in_array(value)
        if vr in NUMBER_SIZES:
            hit = len(value) >= _LEAST_NUMBER and self._is_telling_number(field, little=little)
        else:
            hit = self._in_texts(tag, field)
        return IDENTIFIER if hit else ""

    def reason_in_array(self, value: object) -> str:
        """As ``reason`` for an array of numbers, whatever its representation."""
        if not isinstance(value, bytes):
            return ""
        if self._sweeper.found_in_bytes(value):
            return IDENTIFIER
        return TEXT_IN_NUMBERS if holds_text(value, run=ARRAY_RUN) else ""

    def found_in_text(self, text: str) -> bool:
        """Whether ``text`` holds an identifier in any spelling."""
        known = self._found.get(text)
        if known is None:
            if len(self._found) > _MAX_REMEMBERED:
                self._found.clear()
            known = self._found[text] = self._sweeper.found_in_text(text)
        return known

    def is_false_standard(self, text: str) -> bool:
        """Whether a number of the patient was put behind the root of the standard's own UIDs."""
        return text.startswith(STANDARD_ROOT) and self.found_in_text(text)

    def _is_telling_number(self, field: Field, *, little: bool) -> bool:
        """Whether binary numbers are an identifier, or the bytes of a text: in implicit VR any element can hold one."""
        if self._sweeper.is_text(field[1]) or holds_text(field[1], run=NUMBERS_RUN):
            return True
        return any(map(self._sweeper.is_number, numbers(field, little=little)))

    def _in_texts(self, tag: int, field: Field) -> bool:
        vr = field[0]
        found = texts(field, node=OURS)
        if vr == "UI":
            return not all(map(may_be_uid, found)) or any(map(self.is_false_standard, found))
        if vr in NUMBER_VRS:
            return any(map(self._sweeper.found_in_number, found))
        if vr == "CS":
            return any(map(self._sweeper.found_in_code, found))
        if tag in TECHNICAL:  # what is no term is gone by now
            return any(map(self._sweeper.found_in_term, found))
        return any(map(self.found_in_text, found))
