"""What the search asks about a node, answered from the base combinations. Pure."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from enclave.risk.classes import BaseClasses, Classes, roll_up
from enclave.risk.config import LDiversity, Model
from enclave.risk.diversity import (
    SensitiveCounts,
    ValueCounts,
    closeness,
    distinct_l,
    entropy_l,
    recursive_c,
    value_counts,
)
from enclave.risk.hierarchy import CodedColumn
from enclave.risk.search import Node, Problem

Mask = npt.NDArray[np.bool_]


class Lattice:
    """What the search asks about a node, answered from the base combinations."""

    def __init__(
        self,
        columns: tuple[CodedColumn, ...],
        base: BaseClasses,
        sensitive: tuple[SensitiveCounts, ...],
        model: Model,
        *,
        row_count: int,
    ) -> None:
        self._columns = columns
        self._base = base
        self._sensitive = sensitive
        self._model = model
        dropped = row_count - base.row_count  # rows that a declared null semantics took out already
        self._room = math.floor(model.suppression_limit * row_count + 1e-9) - dropped
        self._column_costs = self._entropy_costs()

    def problem(self) -> Problem:
        model = self._model
        monotone = model.t is None and (model.l is None or model.l.kind == "distinct")
        return Problem(
            heights=tuple(column.height for column in self._columns),
            feasible=lambda node: self.suppressed_rows(self.bad(self.classes(node))) <= self._room,
            metric=self.metric,
            column_costs=self._column_costs if model.metric == "entropy" else None,
            monotone=monotone,
        )

    def classes(self, node: Node) -> Classes:
        return roll_up(self._base, self._columns, node)

    def bad(self, classes: Classes) -> tuple[Classes, Mask]:
        """The classes, and which of them may not be released."""
        model = self._model
        bad = classes.subjects < model.k
        for one in self._sensitive:
            if model.l is None and model.t is None:
                break
            found = value_counts(one, classes.of, len(classes.rows))
            if model.l is not None:
                bad |= _not_diverse(found, model.l)
            if model.t is not None:
                bad |= closeness(found, one) > model.t + 1e-12
        return classes, bad

    @staticmethod
    def suppressed_rows(found: tuple[Classes, Mask]) -> int:
        classes, bad = found
        return int(classes.rows[bad].sum())

    def metric(self, node: Node) -> float:
        """What the node costs, by the model's metric."""
        kind = self._model.metric
        if kind == "entropy":
            return math.fsum(costs[level] for costs, level in zip(self._column_costs, node, strict=True))
        classes, bad = self.bad(self.classes(node))
        total = self._base.row_count
        lost = int(classes.rows[bad].sum())
        kept = classes.rows[~bad]
        if kind == "discernibility":
            return float((kept.astype(np.float64) ** 2).sum() + float(lost) * total)
        if kind == "average_class_size":
            return total / max(len(kept) + (lost > 0), 1)
        return self._loss(node, lost, total)

    def _loss(self, node: Node, lost: int, total: int) -> float:
        """Share of its column's values that a cell could stand for, on average; a suppressed cell counts 1."""
        shares = 0.0
        for i, (column, level) in enumerate(zip(self._columns, node, strict=True)):
            leaves = len(column.labels[0])
            covered = np.bincount(column.maps[level], minlength=len(column.labels[level]))[column.maps[level]]
            per_value = (covered - 1) / max(leaves - 1, 1)
            shares += float((per_value[self._base.codes[:, i]] * self._base.rows).sum()) / total
        share_lost = lost / total
        return shares / len(node) * (1 - share_lost) + share_lost

    def _entropy_costs(self) -> tuple[tuple[float, ...], ...]:
        """Σ over cells of −log2(count(v) / count(generalised v)): per column and level, over all rows.

        Suppressed rows count as generalised like the others, as the published Adult reference value fixes it.
        """
        return tuple(self._column_entropy(i) for i in range(len(self._columns)))

    def _column_entropy(self, i: int) -> tuple[float, ...]:
        column, base = self._columns[i], self._base
        counts = np.bincount(base.codes[:, i], weights=base.rows, minlength=len(column.labels[0]))
        costs = []
        for mapped in column.maps:
            general = np.bincount(mapped, weights=counts)[mapped]
            seen = counts > 0
            costs.append(math.fsum((-counts[seen] * np.log2(counts[seen] / general[seen])).tolist()))
        return tuple(costs)


def _not_diverse(found: ValueCounts, wanted: LDiversity) -> Mask:
    if wanted.kind == "distinct":
        return np.less(distinct_l(found), wanted.value)
    if wanted.kind == "entropy":
        return np.less(entropy_l(found), wanted.value - 1e-12)
    return np.greater_equal(recursive_c(found, l=round(wanted.value)), wanted.c)
