"""Generalisation hierarchies: from each value, level by level, to ``*``. Pure."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from enclave.core.errors import InvalidError
from enclave.risk.csv_records import csv_records

TOP: Final = "*"
Codes = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One row per value: the value itself, then its generalisations; all rows of one length ≥ 1."""

    rows: tuple[tuple[str, ...], ...]

    @property
    def height(self) -> int:
        """Number of levels, the value itself being level 0."""
        return len(self.rows[0])


def parse_hierarchy(text: str, *, name: str) -> Hierarchy:
    """``value;level1;…;*`` per line; raises ``InvalidError`` for ragged lines, doubles or a broken tree."""
    try:
        rows = [tuple(row) for row in csv_records(text, delimiter=";") if row]
    except csv.Error:
        raise InvalidError(f"hierarchy of {name}: wanted lines of value;level1;...;*, got something else") from None
    return make_hierarchy(rows, name=name)


def make_hierarchy(rows: Iterable[Sequence[str]], *, name: str) -> Hierarchy:
    """The hierarchy of these rows, checked: a value once, and one generalisation for each generalised value."""
    kept = tuple(tuple(row) for row in rows)
    if not kept or not kept[0]:
        raise InvalidError(f"hierarchy of {name}: wanted at least one row, got none")
    if len({len(row) for row in kept}) != 1:
        raise InvalidError(f"hierarchy of {name}: wanted as many levels in each row, got different numbers")
    if len({row[0] for row in kept}) != len(kept):
        raise InvalidError(f"hierarchy of {name}: wanted each value once, got one twice")
    for level in range(len(kept[0]) - 1):
        parents: dict[str, str] = {}
        for row in kept:
            if parents.setdefault(row[level], row[level + 1]) != row[level + 1]:
                raise InvalidError(f"hierarchy of {name}: wanted one parent per value at level {level}, got two")
    return Hierarchy(kept)


@dataclass(frozen=True, slots=True)
class CodedColumn:
    """A column as integers: ``codes`` per row, and for each level the map from base code to level code and its labels.

    ``covered``: per level and base code, how many of the ``leaves`` (values of the hierarchy, or without one of the
    column) the cell then could stand for. A null has a code of its own at each level but the last one when that holds a
    single value.
    """

    name: str
    codes: Codes
    maps: tuple[Codes, ...]
    labels: tuple[tuple[str | None, ...], ...]
    covered: tuple[Codes, ...]
    leaves: int

    @property
    def height(self) -> int:
        """Number of levels."""
        return len(self.maps)

    def null_code(self) -> int | None:
        """The base code of null, None when the column has no null."""
        values = self.labels[0]
        return values.index(None) if None in values else None


def code_column(name: str, values: Sequence[str | None], codes: Codes, *, hierarchy: Hierarchy | None) -> CodedColumn:
    """``values[codes]`` with its levels; without a hierarchy: the value, then ``*``.

    Raises ``InvalidError`` with the number of values that the hierarchy does not have (never which).
    """
    rows = _rows_by_value(name, values, hierarchy)
    height = len(next(iter(rows.values()))) if rows else 2
    domain = list(rows.values() if hierarchy is None else hierarchy.rows)
    unplaced = None in values and None not in rows
    maps, labels, covered = [], [], []
    for level in range(height):
        single = level == height - 1 and height > 1 and len({row[level] for row in rows.values()}) <= 1
        top = next(iter(rows.values()))[level] if rows else TOP
        of_null = top if single else None
        named = [rows[value][level] if value in rows else of_null for value in values]
        numbers: dict[str | None, int] = {}
        maps.append(np.array([numbers.setdefault(one, len(numbers)) for one in named], dtype=np.int32))
        labels.append(tuple(numbers))
        under: Counter[str | None] = Counter(row[level] for row in domain)
        under[of_null] += unplaced
        covered.append(np.array([under[one] for one in named], dtype=np.int32))
    return CodedColumn(name, codes, tuple(maps), tuple(labels), tuple(covered), len(domain) + unplaced)


def _rows_by_value(
    name: str, values: Sequence[str | None], hierarchy: Hierarchy | None
) -> dict[str | None, tuple[str, ...]]:
    present = [value for value in values if value is not None]
    if hierarchy is None:
        return {value: (value, TOP) for value in present}
    known: dict[str | None, tuple[str, ...]] = {row[0]: row for row in hierarchy.rows}
    missing = sum(value not in known for value in present)
    if missing:
        raise InvalidError(
            f"hierarchy of {name}: wanted each value of the column at level 0, {missing} of {len(present)} distinct "
            "values are missing; add their rows"
        )
    wanted: dict[str | None, tuple[str, ...]] = {value: known[value] for value in present}
    if None in values and "" in known:
        wanted[None] = known[""]
    return wanted
