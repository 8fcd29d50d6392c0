"""Equivalence classes as integer arrays, and their roll-up to coarser levels. Pure.

Rows are touched once: what is rolled up are the distinct combinations of base codes with their counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from enclave.core.errors import InvalidError
from enclave.risk.hierarchy import CodedColumn, Codes

Ints = npt.NDArray[np.int64]
_DENSE = 1 << 22
_STEP_COST = 100_000  # of one pass over arrays, in cells that it could have compared instead
_MOST_STEPS = 1 << 35  # about a minute
_MOST_MET = 1 << 25  # pairs of a combination and a subject who looks like it, held at once


@dataclass(frozen=True, slots=True)
class BaseClasses:
    """The distinct combinations of a table.

    ``codes``: (combinations × columns) base codes; ``rows``, ``subjects``: how many of each per combination;
    ``pair_class``, ``pair_subject``: the distinct (combination, subject) pairs, None when each subject has one
    combination only, so that subjects can simply be added.
    """

    codes: Codes
    rows: Ints
    subjects: Ints
    subject_count: int
    pair_class: Ints | None = None
    pair_subject: Ints | None = None

    @property
    def row_count(self) -> int:
        """All rows of the table."""
        return int(self.rows.sum())


@dataclass(frozen=True, slots=True)
class Classes:
    """The classes at one node: ``of`` maps a combination to its class; ``rows`` and ``subjects`` are per class."""

    of: Ints
    rows: Ints
    subjects: Ints


def roll_up(base: BaseClasses, columns: tuple[CodedColumn, ...], node: tuple[int, ...]) -> Classes:
    """The classes when column i is generalised to level ``node[i]``."""
    coded = [column.maps[level][base.codes[:, i]] for i, (column, level) in enumerate(zip(columns, node, strict=True))]
    radices = [len(column.labels[level]) for column, level in zip(columns, node, strict=True)]
    return count_classes(base, *number(coded, radices, len(base.rows)))


def count_classes(base: BaseClasses, of: Ints, count: int) -> Classes:
    """The classes when combination i belongs to class ``of[i]`` of ``count``."""
    rows = add_up(of, base.rows, count)
    if base.pair_class is None or base.pair_subject is None:
        return Classes(of, rows, add_up(of, base.subjects, count))
    key = of[base.pair_class] * np.int64(base.subject_count) + base.pair_subject
    distinct = np.unique(key) // base.subject_count
    return Classes(of, rows, np.bincount(distinct, minlength=count).astype(np.int64))


def as_base(base: BaseClasses, classes: Classes) -> BaseClasses:
    """The classes of a node as combinations, from which those of every node above it are counted.

    A class is told by the codes of one of its combinations: above the node all of them are generalised alike.
    """
    one: Ints = np.empty(len(classes.rows), dtype=np.int64)
    one[classes.of] = np.arange(len(classes.of))
    codes = base.codes[one]
    if base.pair_class is None or base.pair_subject is None:
        return BaseClasses(codes, classes.rows, classes.subjects, base.subject_count)
    pairs = np.unique(classes.of[base.pair_class] * np.int64(base.subject_count) + base.pair_subject)
    of, subjects = pairs // base.subject_count, pairs % base.subject_count
    return BaseClasses(codes, classes.rows, classes.subjects, base.subject_count, of, subjects)


def part_of(base: BaseClasses, left: Ints) -> BaseClasses:
    """These combinations alone, numbered anew in their order."""
    if base.pair_class is None or base.pair_subject is None:
        return BaseClasses(base.codes[left], base.rows[left], base.subjects[left], base.subject_count)
    place = np.full(len(base.rows), -1, dtype=np.int64)
    place[left] = np.arange(len(left))
    pairs = place[base.pair_class]
    here = pairs >= 0
    return BaseClasses(
        base.codes[left],
        base.rows[left],
        base.subjects[left],
        base.subject_count,
        pairs[here],
        base.pair_subject[here],
    )


def at_node(base: BaseClasses, columns: tuple[CodedColumn, ...], node: tuple[int, ...]) -> BaseClasses:
    """The combinations with their codes at ``node``, where all of them have to differ."""
    codes = [column.maps[level][base.codes[:, i]] for i, (column, level) in enumerate(zip(columns, node, strict=True))]
    return replace(base, codes=np.stack(codes, axis=1))


def from_node(columns: tuple[CodedColumn, ...], node: tuple[int, ...]) -> tuple[CodedColumn, ...]:
    """The columns with the levels of ``node`` as their lowest."""
    return tuple(
        replace(column, maps=column.maps[level:], labels=column.labels[level:], covered=column.covered[level:])
        for column, level in zip(columns, node, strict=True)
    )


def number(coded: Sequence[Codes | Ints], radices: list[int], size: int) -> tuple[Ints, int]:
    """Numbers the distinct rows of these columns from 0; returns the number of each row and how many there are."""
    key: Ints = np.zeros(size, dtype=np.int64)
    span = 1
    for codes, radix in zip(coded, radices, strict=True):
        if span * radix >= 1 << 62:
            key, span = _renumber(key, span)
        key = key * radix + codes
        span *= radix
    return _renumber(key, span)


def _renumber(key: Ints, span: int) -> tuple[Ints, int]:
    if span <= _DENSE:
        seen = np.zeros(span, dtype=bool)
        seen[key] = True
        position: Ints = np.cumsum(seen, dtype=np.int64) - 1
        return position[key], int(position[-1]) + 1 if span else 0
    values, inverse = np.unique(key, return_inverse=True)
    return inverse.astype(np.int64), len(values)


def add_up(of: Ints, amounts: Ints, count: int) -> Ints:
    """Sum of ``amounts`` per class; exact up to 2^53."""
    return np.bincount(of, weights=amounts, minlength=count).astype(np.int64)


def too_many_patterns() -> InvalidError:
    """What to raise where ``wildcard_sizes`` is asked for and is too much."""
    return InvalidError(
        "risk: wanted null as any value, got too many patterns of nulls over too many combinations to compare; "
        "use fewer quasi-identifiers with nulls, or nulls = own_category"
    )


def wildcard_sizes(base: BaseClasses, columns: tuple[CodedColumn, ...]) -> Ints | None:
    """For each combination, how many subjects match it when a null matches every value, on either side.

    Counted by patterns of nulls, or pair by pair where that is less work; None when both are too much. Of subjects with
    several combinations in very large tables the largest single pattern is taken: never more than the truth.
    """
    nulls = np.zeros(base.codes.shape, dtype=bool)
    for i, column in enumerate(columns):
        code = column.null_code()
        if code is not None:
            nulls[:, i] = base.codes[:, i] == code
    pattern, pattern_count = number(
        [nulls[:, i].astype(np.int32) for i in range(len(columns))], [2] * len(columns), len(base.rows)
    )
    by_patterns = pattern_count * (_STEP_COST * pattern_count + len(base.rows) * len(columns))
    by_pairs = len(base.rows) * (_STEP_COST + len(base.rows) * len(columns))
    if min(by_patterns, by_pairs) > _MOST_STEPS:
        return None
    if by_pairs < by_patterns:
        return _matching_pairs(base, nulls)
    return _matching_patterns(base, columns, nulls, pattern, pattern_count)


def _matching_pairs(base: BaseClasses, nulls: npt.NDArray[np.bool_]) -> Ints:
    total = np.zeros(len(base.rows), dtype=np.int64)
    for i in range(len(base.rows)):
        match = ((base.codes == base.codes[i]) | nulls | nulls[i]).all(axis=1)
        if base.pair_class is None or base.pair_subject is None:
            total[i] = int(base.subjects[match].sum())
        else:
            total[i] = len(np.unique(base.pair_subject[match[base.pair_class]]))
    return total


def _matching_patterns(
    base: BaseClasses,
    columns: tuple[CodedColumn, ...],
    nulls: npt.NDArray[np.bool_],
    pattern: Ints,
    pattern_count: int,
) -> Ints:
    total = np.zeros(len(base.rows), dtype=np.int64)
    members = [np.flatnonzero(pattern == p) for p in range(pattern_count)]
    for asked in members:
        found = [
            _matching(base, columns, asked, other, np.flatnonzero(~(nulls[asked[0]] | nulls[other[0]])))
            for other in members
        ]
        total[asked] = _in_any(found, base.subject_count) if base.pair_class is not None else sum(map(_sizes, found))
    return total


@dataclass(frozen=True, slots=True)
class _Matches:
    """What combinations of one pattern match in another: ``of``, the group of each, and the groups' sizes.

    Where subjects have several combinations, ``keys`` are the distinct (group, subject) pairs, sorted.
    """

    of: Ints
    sizes: Ints
    keys: Ints | None = None


def _sizes(found: _Matches) -> Ints:
    return found.sizes[found.of]


def _in_any(found: list[_Matches], subject_count: int) -> Ints:
    """How many subjects each asked combination meets in at least one of the patterns; where that is too much to tell,
    how many it meets in the one where it meets most."""
    lengths = [_sizes(one) for one in found]
    if sum(int(one.sum()) for one in lengths) > _MOST_MET:
        most: Ints = np.maximum.reduce(lengths)
        return most
    met = []
    for one, length in zip(found, lengths, strict=True):
        starts = np.concatenate([[0], np.cumsum(one.sizes)])
        first = starts[one.of] - np.concatenate([[0], np.cumsum(length)[:-1]])
        keys = np.empty(0, dtype=np.int64) if one.keys is None else one.keys
        subjects = keys[np.repeat(first, length) + np.arange(int(length.sum()))] % subject_count
        met.append(np.repeat(np.arange(len(length)), length) * np.int64(subject_count) + subjects)
    distinct = np.unique(np.concatenate(met)) // subject_count
    return np.bincount(distinct, minlength=len(found[0].of)).astype(np.int64)


def _matching(
    base: BaseClasses,
    columns: tuple[CodedColumn, ...],
    asked: npt.NDArray[np.intp],
    other: npt.NDArray[np.intp],
    shared: npt.NDArray[np.intp],
) -> _Matches:
    both = np.concatenate([asked, other])
    coded = [base.codes[both, i] for i in shared]
    of, count = number(coded, [len(columns[i].labels[0]) for i in shared], len(both))
    if base.pair_class is None or base.pair_subject is None:
        return _Matches(of[: len(asked)], add_up(of[len(asked) :], base.subjects[other], count))
    place = np.full(len(base.rows), -1, dtype=np.int64)
    place[other] = of[len(asked) :]
    classes = place[base.pair_class]
    keys = np.unique(classes[classes >= 0] * np.int64(base.subject_count) + base.pair_subject[classes >= 0])
    sizes = np.bincount(keys // base.subject_count, minlength=count).astype(np.int64)
    return _Matches(of[: len(asked)], sizes, keys)
