"""Running text: the study's own identifiers first, then forms that identify, then a language model; then a human.

The order of power: an identifier of the study goes wherever it stands; what has an identifying form goes, too;
what only the model points at stays when every word of it is an eponym or technique.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from enclave.detectors.harmless import harmless_words, is_technique
from enclave.detectors.model import Analyzer
from enclave.detectors.patterns import pattern_spans
from enclave.detectors.words import Deny, Span, words_of

MARK = "[REMOVED]"
MAX_CHARS = 20_000
_TRIMMED = frozenset({"ner_location", "ner_organization"})
_SMALL = frozenset({"for", "of", "and", "the", "at", "in", "with", "or", "to", "by"})
_REAL_DATE = re.compile(r"\d{4}|\d[/.-]\d", re.ASCII)


@dataclass(frozen=True, slots=True)
class Cleaned:
    """``text`` without the ``spans`` (places in the input, merged, in order); ``flagged``: a human must look."""

    text: str
    spans: tuple[Span, ...]
    flagged: bool


def clean_long_text(
    text: str, *, deny: Deny, analyzer: Analyzer | None, harmless: Collection[str] = frozenset()
) -> Cleaned:
    """``text`` with every identifier replaced by a mark; what is longer than 20,000 characters is cut off.

    ``harmless``: more folded words that the model must not take for names; never stronger than ``deny``. Anything
    that is left is flagged: recall below one is certain, so a cleaned text is never sure. Without an analyzer
    only identifiers and forms are found.
    """
    text = text[:MAX_CHARS]
    found = [*deny.spans(text), *pattern_spans(text)]
    if analyzer is not None:
        found += [part for span in analyzer.spans(text) if (part := _counted(span, text, harmless))]
    spans = _merged(found)
    kept: list[str] = []
    at = 0
    for span in spans:
        kept += [text[at : span.start], MARK]
        at = span.end
    cleaned = "".join([*kept, text[at:]])
    return Cleaned(cleaned, spans, bool(words_of(cleaned.replace(MARK, ""))))


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
