"""Running text: the study's own identifiers first, then forms that identify, then a language model; then a human.

The order of power: an identifier of the study goes wherever it stands; what has an identifying form goes, too;
what only the model points at stays when every word of it is an eponym or technique. Of the rest a word that is written
as names are, with a capital or in a script without small letters, stays only when it is known: no model is complete.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from enclave.detectors.harmless import common_words, harmless_words, is_ordinal, is_technique
from enclave.detectors.model import Analyzer
from enclave.detectors.patterns import pattern_spans
from enclave.detectors.words import Deny, Span, words_of

MARK = "[REMOVED]"
MAX_CHARS = 20_000
_TRIMMED = frozenset({"ner_location", "ner_organization"})
_SMALL = frozenset({"for", "of", "and", "the", "at", "in", "with", "or", "to", "by"})
_LONG_NUMBER = 5  # digits
_LEAST_FAMILIAR, _FAMILIAR_SHARE = 6, 0.5
_REAL_DATE = re.compile(r"\d{4}|\d[/.-]\d", re.ASCII)


@dataclass(frozen=True, slots=True)
class Cleaned:
    """``text`` without the ``spans`` (places in the input, merged, in order); ``flagged``: a human must look."""

    text: str
    spans: tuple[Span, ...]
    flagged: bool


def clean_long_text(
    text: str,
    *,
    deny: Deny,
    analyzer: Analyzer | None,
    harmless: Collection[str] = frozenset(),
    only_known: bool = False,
) -> Cleaned:
    """``text`` with every identifier replaced by a mark; what is longer than 20,000 characters is cut off.

    ``harmless``: more folded words that the model must not take for names; never stronger than ``deny``. Anything
    that is left is flagged: recall below one is certain, so a cleaned text is never sure. Without an analyzer
    only identifiers and forms are found. ``only_known``: words written as names are go, too, unless they are in
    ``harmless`` or shipped as eponyms, technique or everyday English.
    """
    text = text[:MAX_CHARS]
    found = [*deny.spans(text), *pattern_spans(text)]
    if analyzer is not None:
        found += [part for span in analyzer.spans(text) if (part := _counted(span, text, harmless))]
    spans = _merged(found)
    if only_known:
        spans = _merged([*spans, *_unknown(text, spans, harmless)])
    kept: list[str] = []
    at = 0
    for span in spans:
        kept += [text[at : span.start], MARK]
        at = span.end
    cleaned = "".join([*kept, text[at:]])
    return Cleaned(cleaned, spans, bool(words_of(cleaned.replace(MARK, ""))))


def is_running(text: str, *, known: Collection[str]) -> bool:
    """Whether most words of ``text`` are words of a language rather than names and numbers, as in a list of them.

    On a list no model of a language sees anything, and nobody needs to read it.
    """
    words = [word.text for word in words_of(text[:MAX_CHARS]) if word.text.isalpha() and len(word.text) > 1]
    familiar = sum(word in known or word in common_words() or word in harmless_words() for word in words)
    return familiar >= _LEAST_FAMILIAR and familiar >= _FAMILIAR_SHARE * len(words)


def _unknown(text: str, spans: tuple[Span, ...], harmless: Collection[str]) -> list[Span]:
    gone = [(span.start, span.end) for span in spans]
    found, at = [], 0
    for word in words_of(text):
        while at < len(gone) and gone[at][1] <= word.start:
            at += 1
        inside = at < len(gone) and gone[at][0] <= word.start
        if not inside and _is_named(text[word.start : word.end]) and not _is_known(word.text, harmless):
            found.append(Span(word.start, word.end, "unknown"))
    return found


def _is_named(word: str) -> bool:
    """Whether a word is written as a name or a number of something is."""
    return not (word.islower() and word.isalpha()) and not (word.isdigit() and len(word) < _LONG_NUMBER)


def _is_known(word: str, harmless: Collection[str]) -> bool:
    return _stays(word, harmless) or word in common_words() or is_ordinal(word)


def _counted(span: Span, text: str, harmless: Collection[str]) -> Span | None:
    """What goes of what the model points at: not a span of time, not words that are all harmless.

    Harmless words at the ends of a place or an organisation stay; of a person all goes, for *John Hodgkin*.
    """
    part = text[span.start : span.end]
    if span.kind == "ner_date_time":
        return span if _REAL_DATE.search(part) else None
    words = words_of(part)
    sure = [at for at, word in enumerate(words) if not _stays(word.text, harmless)]
    if not sure or span.kind == "ner_nrp":
        return None
    if span.kind not in _TRIMMED:
        return span
    return Span(span.start + words[sure[0]].start, span.start + words[sure[-1]].end, span.kind)


def _stays(word: str, harmless: Collection[str]) -> bool:
    return word in harmless_words() or word in harmless or is_technique(word) or len(word) == 1 or word in _SMALL


def _merged(spans: list[Span]) -> tuple[Span, ...]:
    """Overlapping spans as one; the kind is that of the first, unless the study's own is among them."""
    merged: list[Span] = []
    for span in sorted((s for s in spans if s.end > s.start), key=lambda s: (s.start, -s.end)):
        if merged and span.start < merged[-1].end:
            before = merged[-1]
            kind = "study" if "study" in (before.kind, span.kind) else before.kind
            merged[-1] = Span(before.start, max(before.end, span.end), kind)
        else:
            merged.append(span)
    return tuple(merged)
