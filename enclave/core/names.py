"""Names that somebody else chose, made fit to be kept and shown. Pure."""

from __future__ import annotations

from typing import Final

MAX_STATED: Final = 300  # characters: a longer path keeps its end, where the name of the file is
REPLACED: Final = "\N{REPLACEMENT CHARACTER}"


def printable(text: str) -> str:
    """``text`` with ``REPLACED`` in place of each character that shows nothing or is none.

    These are controls, marks that turn the direction of text, halves of characters and what nobody has assigned.
    """
    return "".join(letter if letter.isprintable() else REPLACED for letter in text)


def stated_name(text: str) -> str:
    """``text`` as one printable line of at most ``MAX_STATED`` characters; it never fails."""
    shown = printable(text[-MAX_STATED - 1 :])
    return shown if len(shown) <= MAX_STATED else f"…{shown[2:]}"
