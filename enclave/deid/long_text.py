"""Running text of one patient's files: by detectors where they are installed, else by the vocabulary alone.

What the detectors let pass has met the deny-list of the whole cohort here and meets the identifier sweep after it.
"""

from __future__ import annotations

import functools
from dataclasses import replace

from enclave.core.errors import UnavailableError
from enclave.deid.harvest import Cohort
from enclave.deid.names import fold
from enclave.deid.recipe import Recipe
from enclave.deid.sweep import Subject
from enclave.detectors.long_text import MARK, clean_long_text, is_running
from enclave.detectors.model import check_engine, check_model, model_folder, open_analyzer
from enclave.detectors.words import Deny, Span, make_deny

LONG_VRS = frozenset({"LT", "ST", "UT", "UC"})
MIN_CHARS = 65  # what is shorter is a label, not running text: an LO holds 64
DETECTORS, VOCABULARY, AUTO = "detectors", "vocabulary", "auto"


class LongText:
    """Cleans running text of one patient; the model is loaded at the first one."""

    def __init__(self, subject: Subject, *, cohort: Cohort, vocabulary: frozenset[str]) -> None:
        self._subject = subject
        self._denied = cohort.denied
        self._vocabulary = vocabulary
        self._deny: Deny | None = None

    def takes(self, text: str) -> bool:
        """Whether this is running text; labels, and lists of names and numbers, are for the vocabulary."""
        return len(text) >= MIN_CHARS and is_running(text, known=self._vocabulary)

    def keep(self, text: str) -> str:
        """``text`` without what identifies; '' when nothing but marks is left."""
        if self._deny is None:
            self._deny = _joined(_of_cohort(self._denied), _of_subject(self._subject))
        found = clean_long_text(text, deny=self._deny, analyzer=_Unbroken(), harmless=self._vocabulary, only_known=True)
        return found.text.replace(MARK, "REMOVED") if found.flagged else ""


class _Unbroken:
    """The analyzer over text as if it were one line: a model of sentences is misled by the ends of lines."""

    def spans(self, text: str) -> list[Span]:
        """As ``Analyzer.spans``."""
        return open_analyzer().spans(text.replace("\n", " "))


def settle(recipe: Recipe) -> Recipe:
    """``recipe`` with ``long_text`` decided: ``auto`` means detectors where they are installed, else the vocabulary.

    Raises ``UnavailableError`` when the recipe wants detectors and they are absent, and ``IntegrityError`` whenever the
    model is there and changed: neither is passed over.
    """
    if recipe.long_text == VOCABULARY:
        return recipe
    try:
        check_engine()
        check_model(model_folder())
    except UnavailableError:
        if recipe.long_text == DETECTORS:
            raise
        return replace(recipe, long_text=VOCABULARY)
    return replace(recipe, long_text=DETECTORS)


@functools.lru_cache(maxsize=2)
def _of_cohort(denied: frozenset[str]) -> Deny:
    return make_deny(phrases=denied, numbers=[word for word in denied if any(map(str.isdigit, word))])


def _of_subject(subject: Subject) -> Deny:
    names = [part for name in subject.names for part in fold(name).split() if len(part) > 1]
    return make_deny(phrases=[*names, *subject.names, *subject.staff, *subject.places], numbers=subject.numbers)


def _joined(one: Deny, other: Deny) -> Deny:
    lengths = tuple(sorted({*one.lengths, *other.lengths}))
    return Deny(one.phrases | other.phrases, one.numbers | other.numbers, lengths)
