"""Coded strings: whether one is somebody's, and whether it is made of terms that the standard defines. Pure."""

from __future__ import annotations

from collections.abc import Container

from enclave.deid.compounds import is_compound, may_be_dated
from enclave.deid.names import fold
from enclave.deid.table import defined_terms, stems

SHORT_TERM = 4  # letters; a name as short as that is found by the sweep
_MAX_REMEMBERED = 20_000


class Terms:
    """Judges the coded strings of one patient's files; what was judged is remembered, for attributes share terms."""

    def __init__(self, *, evident: frozenset[str], denied: Container[str]) -> None:
        self._evident = evident
        self._denied = denied
        self._known: dict[tuple[str, int], tuple[bool, bool]] = {}

    def judged(self, text: str, *, letters: int) -> tuple[bool, bool]:
        """Whether ``text`` is denied, and whether it is a term: made of defined terms and codes of at most ``letters``
        letters, or shared by many patients."""
        found = self._known.get((text, letters))
        if found is None:
            if len(self._known) >= _MAX_REMEMBERED:
                self._known.clear()
            folded = fold(text)
            found = self._known[text, letters] = self._is_denied(folded), self._is_term(folded, letters)
        return found

    def _is_denied(self, folded: str) -> bool:
        return folded in self._denied or any(word in self._denied for word in folded.split())

    def _is_term(self, folded: str, letters: int) -> bool:
        if folded in self._evident:
            return True
        words = folded.split()
        if may_be_dated(words) and not folded.startswith("iso "):
            return False
        return all(
            len(word) <= (letters if word.isalpha() else SHORT_TERM)
            or word in defined_terms()
            or is_compound(word, stems())
            for word in words
        )
