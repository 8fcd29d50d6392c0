"""Local recoding: groups of rows at different levels, so that rare combinations do not coarsen the common ones. Pure.

``recode_locally`` does so from the start, ``recode_rest`` with those rows only that the one node for all leaves out.
Each pass finds the best node for the rows that are left while most of them may be left out; those whose classes hold
the model stay at that node, the others go on to the next pass. Classes of two passes that come to look alike are one
class, which holds what both held: k and l only grow, and no distance of a mixture exceeds those of its parts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from enclave.risk.classes import BaseClasses, Ints, from_node, part_of
from enclave.risk.config import Model
from enclave.risk.diversity import SensitiveCounts, weigh
from enclave.risk.hierarchy import CodedColumn
from enclave.risk.lowering import Lattice, Mask, column_entropy
from enclave.risk.search import Node, search

_KEPT_PER_PASS: Final = 0.25  # of the rows that are left
_MOST_PASSES: Final = 40


@dataclass(frozen=True, slots=True)
class Pass:
    """``combinations``: which base combinations stay at ``node``."""

    node: Node
    combinations: Ints
    rows: int


@dataclass(frozen=True, slots=True)
class LocalRecoding:
    """``levels``: (combinations × columns), −1 where the combination is left out; ``cost``: see ``entropy_of``."""

    levels: npt.NDArray[np.int16]
    passes: tuple[Pass, ...]
    cost: float
    nodes_evaluated: int

    @property
    def kept(self) -> Mask:
        """Per combination, whether it is released."""
        return self.levels[:, 0] >= 0


def recode_locally(
    columns: tuple[CodedColumn, ...],
    base: BaseClasses,
    sensitive: tuple[SensitiveCounts, ...],
    model: Model,
    *,
    row_count: int,
) -> LocalRecoding | None:
    """The groups and their nodes; None when nothing is feasible within the suppression limit."""
    room = math.floor(model.suppression_limit * row_count + 1e-9) - (row_count - base.row_count)
    parts = _Parts(columns, base, _with_overall(sensitive), model)
    left = np.arange(len(base.rows))
    passes: list[Pass] = []
    while len(left) and len(passes) < _MOST_PASSES:
        found = parts.best(left, math.floor((1 - _KEPT_PER_PASS) * int(base.rows[left].sum())))
        if found is None:
            break
        passes.append(found)
        left = np.setdiff1d(left, found.combinations, assume_unique=True)
    while int(base.rows[left].sum()) > room:  # what is left is too little for itself: give it company again
        if not passes:
            return None
        left = np.sort(np.concatenate([left, passes.pop().combinations]))
        found = parts.best(left, room)
        if found is not None:
            passes.append(found)
            left = np.setdiff1d(left, found.combinations, assume_unique=True)
    levels = _levels(passes, (len(base.rows), len(columns)))
    return LocalRecoding(levels, tuple(passes), entropy_of(columns, base, levels), parts.evaluated)


def recode_rest(
    columns: tuple[CodedColumn, ...],
    base: BaseClasses,
    sensitive: tuple[SensitiveCounts, ...],
    model: Model,
    *,
    node: Node,
    kept: Mask,
) -> LocalRecoding:
    """What is ``kept`` stays at ``node``; of the others, those that hold the model by themselves go to nodes above.

    So never more rows are left out than at the node alone, and no cell that it releases gets coarser.
    """
    parts = _Parts(from_node(columns, node), base, _with_overall(sensitive), model)
    left = np.flatnonzero(~kept)
    passes = [Pass(node, np.flatnonzero(kept), int(base.rows[kept].sum()))]
    while len(left) and len(passes) < _MOST_PASSES:
        count = int(base.rows[left].sum())
        found = parts.best(left, math.floor((1 - _KEPT_PER_PASS) * count)) or parts.best(left, count - 1)
        if found is None:
            break
        raised = tuple(level + more for level, more in zip(node, found.node, strict=True))
        passes.append(replace(found, node=raised))
        left = np.setdiff1d(left, found.combinations, assume_unique=True)
    levels = _levels(passes, (len(base.rows), len(columns)))
    return LocalRecoding(levels, tuple(passes), entropy_of(columns, base, levels), parts.evaluated)


def _levels(passes: list[Pass], shape: tuple[int, int]) -> npt.NDArray[np.int16]:
    levels = np.full(shape, -1, dtype=np.int16)
    for one in passes:
        levels[one.combinations] = one.node
    return levels


def entropy_of(columns: tuple[CodedColumn, ...], base: BaseClasses, levels: npt.NDArray[np.int16]) -> float:
    """Non-uniform entropy where each combination has levels of its own; a row that is left out counts as ``*``."""
    cost = 0.0
    for i, column in enumerate(columns):
        per_value = column_entropy(column, base.codes[:, i], base.rows)
        level = np.where(levels[:, i] < 0, column.height - 1, levels[:, i])
        cost += float((per_value[level, base.codes[:, i]] * base.rows).sum())
    return cost


def _with_overall(sensitive: tuple[SensitiveCounts, ...]) -> tuple[SensitiveCounts, ...]:
    """Parts of the table are compared with the distribution of all of it."""
    return tuple(
        replace(one, overall=weigh(one.value, weights=one.count, minlength=one.value_count)) for one in sensitive
    )


class _Parts:
    def __init__(
        self,
        columns: tuple[CodedColumn, ...],
        base: BaseClasses,
        sensitive: tuple[SensitiveCounts, ...],
        model: Model,
    ) -> None:
        self._columns, self._base, self._sensitive, self._model = columns, base, sensitive, model
        self.evaluated = 0

    def best(self, left: Ints, room: int) -> Pass | None:
        """The best node for these combinations when at most ``room`` of their rows are left out."""
        base = part_of(self._base, left)
        count = base.row_count
        model = replace(self._model, suppression_limit=room / count)
        place = np.full(len(self._base.rows), -1, dtype=np.int64)
        place[left] = np.arange(len(left))
        lattice = Lattice(
            self._columns, base, tuple(_of(one, place) for one in self._sensitive), model, row_count=count
        )
        found = search(lattice.problem())
        self.evaluated += found.nodes_evaluated
        if found.node is None:
            return None
        classes, bad = lattice.released(found.node)
        stays = ~bad[classes.of]
        return Pass(found.node, left[stays], int(base.rows[stays].sum())) if stays.any() else None


def _of(counts: SensitiveCounts, place: Ints) -> SensitiveCounts:
    combination = place[counts.combination]
    here = combination >= 0
    return replace(counts, combination=combination[here], value=counts.value[here], count=counts.count[here])
