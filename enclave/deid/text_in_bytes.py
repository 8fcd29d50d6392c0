"""Whether bytes that should be numbers or coded samples are a text. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Printable characters in a row, with a word or a number among them. Of four million random numbers of any kind none has
# 24, and two of the least favourable (double precision, around a hundred) have 16: tests/deid/test_text_in_numbers.py.
NUMBERS_RUN, ARRAY_RUN = 16, 24
_WORD = re.compile(rb"[A-Za-z]{5}|\d{6}")
_MARKED = bytes(0x20 <= byte <= 0x7E for byte in range(256))
_STEP = 4
_LAGS = (1, 2)  # bytes of an entry
_MONOTONE = 0.9


def holds_text(data: bytes, *, run: int, periods: Iterable[int] = ()) -> bool:
    """Whether ``run`` printable characters with a word among them stand in ``data``; a ramp of a lookup table has none.

    What is shorter cannot be told from numbers, nor what repeats itself after as many bytes as ``periods`` names.
    """
    if data.translate(_MARKED).find(b"\1" * run) < 0:  # tens of times faster than the search below
        return False
    for found in re.finditer(rb"[ -~]{%d,}" % run, data):
        seen: set[bytes] = set()
        for at in range(found.start(), found.end() - run + 1, _STEP):
            window = data[at : at + run]
            if window not in seen and _WORD.search(window) and not _is_regular(window, periods):
                return True
            seen.add(window)
    return False


def _is_regular(window: bytes, periods: Iterable[int]) -> bool:
    return any(_is_ramp(window, lag) for lag in _LAGS) or any(window[lag:] == window[:-lag] for lag in periods)


def _is_ramp(window: bytes, lag: int) -> bool:
    """Whether entries of ``lag`` bytes rise all the way, or fall, or stay."""
    pairs = list(zip(window, window[lag:], strict=False))
    least = _MONOTONE * len(pairs)
    return sum(one <= other for one, other in pairs) >= least or sum(one >= other for one, other in pairs) >= least
