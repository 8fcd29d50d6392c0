"""Short text by vocabulary: what is not known to be harmless goes. Deny wins over every other rule. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from enclave.deid.names import fold

_TOKEN = re.compile(r"[^\W_]+(?:[.,/+\-*][^\W_]+)*%?")
_PARTS = re.compile(r"[.,/+\-*]")
# Technique numbers: 5.0, 2.5mm, 120kv, 3t, l5, t12, s1, 64x0.6, b1000. At most three digits in a row, so that no
# date, year, telephone or record number fits; ages ("93y") have no unit here.
_NUMBER = re.compile(
    r"[tlsc]?\d{1,3}(?:[.,]\d{1,3})?(?:mm|cm|ml|mg|mgi|kg|hu|kv|kvp|kev|ma|mas|ms|t|x|d|mbq|msv|mgy|hz|mhz|%)?"
    r"|\d{1,3}x\d{1,3}(?:[.,]\d{1,2})?(?:mm)?|b(?:0|50|[1-9]\d?00)"
)
_PLAIN = re.compile(r"\d+(?:[.,]\d+)*")
_MAX_CHARS = 4096
_SHORT_CODE = re.compile(r"[a-z]{1,4}|[a-z]{1,5}\d{1,3}[a-z]{0,2}")  # ST, FC08, B30f: kernels, plates, software


@dataclass(frozen=True, slots=True)
class Words:
    """What may stay: the vocabulary, words and whole values with evidence, minus what is denied (all folded)."""

    vocabulary: Collection[str]
    evident: Collection[str] = frozenset()
    denied: Collection[str] = frozenset()
    codes: bool = False  # short codes may stay, too: for technical attributes

    def keep(self, text: str) -> str:
        """``text`` with only the words that may stay, one space between them; long text is cut off first."""
        kept: list[str] = []
        plain_before = False
        for found in _TOKEN.finditer(text[:_MAX_CHARS]):
            token = found.group()
            plain = _PLAIN.fullmatch(token) is not None
            beside = bool(kept) and _PLAIN.fullmatch(kept[-1]) is not None
            if plain and (plain_before or beside):
                if beside:
                    kept.pop()  # two plain numbers side by side may be halves of one identifier
                plain_before = True
                continue
            plain_before = plain
            kept.extend(self._allowed(token))
        return " ".join(kept)

    def may_stay(self, word: str) -> bool:
        """Whether one word may stay."""
        folded = fold(word)
        if folded in self.denied:
            return False
        if folded in self.vocabulary or folded in self.evident or _NUMBER.fullmatch(word.lower()) is not None:
            return True
        return self.codes and _SHORT_CODE.fullmatch(folded) is not None

    def _allowed(self, token: str) -> list[str]:
        if self.may_stay(token):
            return [token]
        parts = _PARTS.split(token.rstrip("%"))
        if len(parts) == 1:
            return []
        if all(map(self.may_stay, parts)) and not all(map(_PLAIN.fullmatch, parts)):
            return [token]
        return [part for part in parts if self.may_stay(part) and not _PLAIN.fullmatch(part)]
