"""Reads the shipped tables: Table E.1-1, the safe private elements, the clinical vocabulary."""

from __future__ import annotations

import csv
import functools
import tomllib
from dataclasses import dataclass
from importlib.resources import files

from enclave.deid.names import fold
from enclave.deid.profile import Row

_FIRST_OPTION = 3
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})


@dataclass(frozen=True, slots=True, order=True)
class PrivateElement:
    """A private element by creator and element, never by its block: blocks move from file to file."""

    creator: str
    group: int
    element: int


@functools.cache
def table_rows() -> tuple[Row, ...]:
    """All rows of Table E.1-1."""
    reader = csv.reader(_text("standard/attributes.csv").splitlines(), delimiter=";")
    head = next(reader)
    options = head[_FIRST_OPTION:]
    return tuple(
        Row(line[0], line[1], line[2], {o: v for o, v in zip(options, line[_FIRST_OPTION:], strict=True) if v})
        for line in reader
    )


@functools.cache
def table_edition() -> str:
    """The edition of the actions and of the options, such as ``2026c/2025b``."""
    facts = tomllib.loads(_text("standard/edition.toml"))
    return f"{facts['edition']}/{facts['options_edition']}"


@functools.cache
def safe_private() -> frozenset[PrivateElement]:
    """The private elements that the standard calls safe (PS3.15 Table E.3.10-1)."""
    reader = csv.DictReader(_text("standard/safe_private.csv").splitlines(), delimiter=";")
    return frozenset(PrivateElement(row["creator"], int(row["group"], 16), int(row["element"], 16)) for row in reader)


@functools.cache
def vocabulary() -> frozenset[str]:
    """The clinical words that may stay, folded."""
    return _word_list("vocabulary.txt") | _word_list("standard/meanings.txt")


@functools.cache
def stems() -> frozenset[str]:
    """The parts of which a compound word that may stay is made, folded."""
    return _word_list("stems.txt")


@functools.cache
def technical_words() -> frozenset[str]:
    """The words that may stay in technical attributes: the vocabulary, makers and products of devices; folded."""
    return vocabulary() | _word_list("devices.txt")


@functools.cache
def coded_terms() -> frozenset[str]:
    """Words of coded strings that the standard defines, body parts among them; folded."""
    return _word_list("standard/terms.txt")


@functools.cache
def defined_terms() -> frozenset[str]:
    """The words that may stand in a coded string: those of the standard and the vocabulary; folded."""
    return coded_terms() | vocabulary()


def _word_list(name: str) -> frozenset[str]:
    """The words of a list, folded; umlauts in both spellings (``ü`` and ``ue``)."""
    lines = (line.partition("#")[0] for line in _text(name).splitlines())
    return frozenset(
        folded
        for line in lines
        for word in line.split()
        for spelling in {word, word.translate(_UMLAUTS)}
        for folded in fold(spelling).split()
    )


def _text(name: str) -> str:
    return files("enclave.deid").joinpath(name).read_text("utf-8")
