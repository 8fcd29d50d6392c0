"""Running text of one patient's files when the recipe asks for it: detectors instead of the vocabulary alone.

What the detectors let pass has met the deny-list of the whole cohort here and meets the identifier sweep after it.
"""

from __future__ import annotations

import functools

from enclave.deid.harvest import Cohort
from enclave.deid.names import fold
from enclave.deid.sweep import Subject
from enclave.detectors.long_text import MARK, clean_long_text
from enclave.detectors.model import check_model, model_folder, open_analyzer
from enclave.detectors.words import Deny, make_deny

LONG_VRS = frozenset({"LT", "ST", "UT", "UC"})
MIN_CHARS = 65  # what is shorter is a label, not running text: an LO holds 64


class LongText:
    """Cleans running text of one patient; the model is loaded at the first one."""

    def __init__(self, subject: Subject, *, cohort: Cohort, vocabulary: frozenset[str]) -> None:
        self._subject = subject
        self._denied = cohort.denied
        self._vocabulary = vocabulary
        self._deny: Deny | None = None

    def keep(self, text: str) -> str:
        """``text`` without what identifies; '' when nothing but marks is left."""
        if self._deny is None:
            self._deny = _joined(_of_cohort(self._denied), _of_subject(self._subject))
        found = clean_long_text(text, deny=self._deny, analyzer=open_analyzer(), harmless=self._vocabulary)
        return found.text.replace(MARK, "REMOVED") if found.flagged else ""


def is_long(vr: str, text: str) -> bool:
    """Whether this is running text rather than a label."""
    return vr in LONG_VRS and len(text) >= MIN_CHARS


def check_detectors() -> None:
    """Raises before a job begins when the model is absent (``UnavailableError``) or changed (``IntegrityError``)."""
    check_model(model_folder())


@functools.lru_cache(maxsize=2)
def _of_cohort(denied: frozenset[str]) -> Deny:
    return make_deny(phrases=denied, numbers=[word for word in denied if any(map(str.isdigit, word))])


def _of_subject(subject: Subject) -> Deny:
    names = [part for name in subject.names for part in fold(name).split() if len(part) > 1]
    return make_deny(phrases=[*names, *subject.names, *subject.staff, *subject.places], numbers=subject.numbers)


def _joined(one: Deny, other: Deny) -> Deny:
    lengths = tuple(sorted({*one.lengths, *other.lengths}))
    return Deny(one.phrases | other.phrases, one.numbers | other.numbers, lengths)
