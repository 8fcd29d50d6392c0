"""Words that look like names and are not: eponyms and technique, as shipped."""

from __future__ import annotations

import functools
import re
from importlib.resources import files

from enclave.detectors.words import fold_word

# L5-S1, T12, C3/4, 3T, 1.5 mm, 120 kV, 3+4, b1000: levels, doses, sizes.
_ORDINAL = re.compile(r"\d{1,2}(?:st|nd|rd|th)")
_TECHNIQUE = re.compile(r"[clts]?\d{1,3}(?:mm|cm|ml|mg|kv|kvp|hu|mas|ma|ms|t|x|d|mbq)?|b\d{1,4}", re.IGNORECASE)


@functools.cache
def harmless_words() -> frozenset[str]:
    """The shipped words, folded."""
    return _words("harmless.txt")


@functools.cache
def common_words() -> frozenset[str]:
    """Words of everyday English that may begin a sentence, folded."""
    return _words("common.txt")


def _words(name: str) -> frozenset[str]:
    text = files("enclave.detectors").joinpath(name).read_text("utf-8")
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return frozenset(fold_word(word) for line in lines for word in line.split())


def is_ordinal(word: str) -> bool:
    """Whether a folded word is a number such as ``3rd``."""
    return _ORDINAL.fullmatch(word) is not None


def is_technique(word: str) -> bool:
    """Whether ``word`` is a level, a size or a dose: at most three digits in a row."""
    return _TECHNIQUE.fullmatch(word) is not None
