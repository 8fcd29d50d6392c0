"""Which burned-in text may stay: nothing but sides, positions and projections, read with certainty."""

from __future__ import annotations

import functools
import re
from importlib.resources import files

_CERTAIN = 0.95
_LONGEST = 24  # characters
_TOKEN = re.compile(r"[A-Z]+")


def may_stay(text: str, *, score: float) -> bool:
    """Whether a line read as ``text`` tells technique only; anything unread, odd or long may not."""
    if score < _CERTAIN or len(text) > _LONGEST or not text.isascii():
        return False
    words = text.split()
    return bool(words) and all(_TOKEN.fullmatch(word) and word in technique() for word in words)


@functools.cache
def technique() -> frozenset[str]:
    """The words, as shipped."""
    text = files("enclave.detectors.pixel_text").joinpath("technique.txt").read_text("ascii")
    return frozenset(word for line in text.splitlines() if not line.startswith("#") for word in line.split())
