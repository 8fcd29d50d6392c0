"""Words of a text with their places, folded so that case, accents and hyphens make no difference. Pure."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

_WORD = re.compile(r"[^\W_]+")
_MIN_NUMBER = 5
_MAX_PHRASE = 6


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a text, ``start`` to ``end`` (exclusive), and why it goes."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True, slots=True)
class Word:
    """One run of letters and digits, folded, and where it stands."""

    text: str
    start: int
    end: int


@functools.lru_cache(maxsize=65_536)
def fold_word(word: str) -> str:
    """Lower case without diacritics."""
    plain = unicodedata.normalize("NFKD", word).casefold()
    return "".join(char for char in plain if not unicodedata.combining(char) and char.isalnum())


def words_of(text: str) -> list[Word]:
    """All words of ``text`` in order. Combining characters do not part a word."""
    if text.isascii():
        return [Word(match.group().lower(), *match.span()) for match in _WORD.finditer(text)]
    found: list[Word] = []
    for match in _WORD.finditer(text):
        start, end = match.span()
        between = text[found[-1].end : start] if found else " "
        if found and between and all(map(unicodedata.combining, between)):
            start = found.pop().start
        found.append(Word(fold_word(text[start:end]), start, end))
    return found


@dataclass(frozen=True, slots=True)
class Deny:
    """What identifies somebody of the study: folded phrases, and numbers squeezed to letters and digits."""

    phrases: frozenset[str]
    numbers: frozenset[str]
    lengths: tuple[int, ...]

    def spans(self, text: str) -> list[Span]:
        """Every place where an identifier stands, however it is written, hyphenated or embedded."""
        words = words_of(text)
        found = [span for at in range(len(words)) for span in self._from(words, at)]
        return found + [span for word in words for span in self._inside(word)]

    def _from(self, words: list[Word], at: int) -> Iterable[Span]:
        phrase = squeezed = ""
        for word in words[at : at + _MAX_PHRASE]:
            phrase = f"{phrase} {word.text}" if phrase else word.text
            squeezed += word.text
            if phrase in self.phrases or squeezed in self.numbers:
                yield Span(words[at].start, word.end, "study")

    def _inside(self, word: Word) -> Iterable[Span]:
        """A number within a longer word: ``mrn0012345x``. Found inside, the whole word goes."""
        if any(char.isdigit() for char in word.text):
            for length in self.lengths:
                pieces = (word.text[at : at + length] for at in range(len(word.text) - length + 1))
                if any(piece in self.numbers for piece in pieces):
                    yield Span(word.start, word.end, "study")
                    return


def make_deny(*, phrases: Iterable[str], numbers: Iterable[str] = ()) -> Deny:
    """The deny-list of ``phrases`` (words or several of them, any spelling) and ``numbers`` (at least five long)."""
    folded = {" ".join(_folded(phrase)) for phrase in phrases}
    squeezed = {"".join(_folded(number)) for number in numbers}
    kept = frozenset(number for number in squeezed if len(number) >= _MIN_NUMBER)
    return Deny(frozenset(folded - {""}), kept, tuple(sorted({len(number) for number in kept})))


def _folded(text: str) -> list[str]:
    """The words of ``text`` without their places: those of a whole cohort are many."""
    return _WORD.findall(text.lower()) if text.isascii() else [word.text for word in words_of(text)]
