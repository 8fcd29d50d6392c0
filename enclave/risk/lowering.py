"""What the search asks about a node, answered from the base combinations. Pure."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from enclave.risk.assessment import TOLERANCE
from enclave.risk.classes import (
    BaseClasses,
    Classes,
    Ints,
    as_base,
    at_node,
    from_node,
    part_of,
    roll_up,
    too_many_patterns,
    wildcard_sizes,
)
from enclave.risk.config import LDiversity, Model, RiskConfig
from enclave.risk.context import likeliest_attack
from enclave.risk.diversity import (
    Floats,
    SensitiveCounts,
    ValueCounts,
    beta,
    closeness,
    delta,
    distinct_l,
    enhanced_beta,
    entropy_l,
    recursive_c,
    value_counts,
)
from enclave.risk.hierarchy import CodedColumn
from enclave.risk.search import Node, Problem

Mask = npt.NDArray[np.bool_]
_REMEMBERED: Final = 64  # nodes whose classes others are counted from


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
        nulls: str = "own_category",
    ) -> None:
        self._columns = columns
        self._any_value = nulls == "wildcard" and any(column.null_code() is not None for column in columns)
        self._base = base
        self._sensitive = sensitive
        self._model = model
        dropped = row_count - base.row_count  # rows that a declared null semantics took out already
        self._room = math.floor(model.suppression_limit * row_count + 1e-9) - dropped
        on_shares = any(one is not None for one in (model.t, model.beta, model.delta))
        self._on_shares = on_shares and bool(sensitive)
        self._column_costs = self._entropy_costs()
        self._measured: dict[Node, float] = {}
        self._rolled_up: dict[Node, BaseClasses] = {}

    def problem(self) -> Problem:
        model = self._model
        counted = (model.l is None or model.l.kind == "distinct") and not self._on_shares
        added_up = model.average is None or (self._room <= 0 and self._base.pair_subject is None)  # else subjects meet
        return Problem(
            heights=tuple(column.height for column in self._columns),
            feasible=self._feasible,
            metric=self.metric,
            column_costs=self._column_costs if model.metric == "entropy" else None,
            monotone=added_up and (counted or self._room <= 0),  # where none is left out, merging worsens no measure
        )

    def classes(self, node: Node) -> Classes:
        return roll_up(self._base, self._columns, node)

    def _below(self, node: Node) -> BaseClasses:
        """The fewest combinations from which the classes at ``node`` can be counted: of a node below it, or all."""
        below = (held for held, base in self._rolled_up.items() if all(a <= b for a, b in zip(held, node, strict=True)))
        found = min(below, key=lambda held: len(self._rolled_up[held].rows), default=None)
        return self._base if found is None else self._rolled_up[found]

    def _remember(self, node: Node, base: BaseClasses, classes: Classes) -> None:
        """Classes of ``node`` as combinations, where that is much less to count from."""
        if 2 * len(classes.rows) <= len(base.rows) and len(self._rolled_up) < _REMEMBERED:
            self._rolled_up[node] = as_base(base, classes)

    def released(self, node: Node) -> tuple[Classes, Mask]:
        """The classes, and which of them may not be released; what is left holds the model by itself.

        Leaving classes out shifts the distribution that t, β and δ compare with, and takes those away who look like a
        null, so more may have to go; and the smallest of those that are left go until the average risk is low enough.
        """
        return self._released(node, self.classes(node), base=self._base)

    def _released(self, node: Node, classes: Classes, *, base: BaseClasses) -> tuple[Classes, Mask]:
        model = self._model
        bad: Mask = np.zeros(len(classes.rows), dtype=bool)
        if model.l is not None or self._on_shares:
            for one in self._sensitive:
                bad |= discloses(value_counts(one, classes.of, len(classes.rows)), one, model)
        bad |= self._alike(node, classes, bad, base=base) < model.k
        while self._fits(classes, bad):
            also = self._bad_beside_the_rest(classes, bad) if self._on_shares and bad.any() else np.zeros_like(bad)
            alike = self._alike(node, classes, bad, base=base)
            also |= (alike < model.k) & ~bad
            if model.average is not None and not also.any():
                also = _smallest_until(classes, alike, bad, average=model.average)
            if not also.any():
                break
            bad |= also
        return classes, bad

    def _alike(self, node: Node, classes: Classes, bad: Mask, *, base: BaseClasses) -> Ints:
        """How many subjects look like those of each class, among the classes that are not ``bad``."""
        if not self._any_value or bad.all():
            return classes.subjects
        left = np.flatnonzero(~bad)
        general = at_node(part_of(as_base(base, classes), left), self._columns, node)
        found = wildcard_sizes(general, from_node(self._columns, node))
        if found is None:
            raise too_many_patterns()
        alike = classes.subjects.copy()
        alike[left] = found
        return alike

    def kept(self, node: Node) -> Mask:
        """Per base combination, whether it is released at the node."""
        classes, bad = self.released(node)
        return ~bad[classes.of]

    def _bad_beside_the_rest(self, classes: Classes, bad: Mask) -> Mask:
        also: Mask = np.zeros(len(bad), dtype=bool)
        kept = ~bad[classes.of]
        for one in self._sensitive:
            stays = kept[one.combination]
            left = replace(one, combination=one.combination[stays], value=one.value[stays], count=one.count[stays])
            found = value_counts(left, classes.of, len(classes.rows))
            also |= discloses(found, left, self._model) & ~bad
        return also

    def _feasible(self, node: Node) -> bool:
        of_values = bool(self._sensitive) and (self._model.l is not None or self._on_shares)
        base = self._base if of_values else self._below(node)  # values are counted by base combination
        classes, bad = self._released(node, roll_up(base, self._columns, node), base=base)
        self._remember(node, base, classes)
        fits = self._fits(classes, bad)
        if fits and self._model.metric != "entropy":
            self._measured[node] = self._cost(node, classes, bad, base=base)
        return fits

    def _fits(self, classes: Classes, bad: Mask) -> bool:
        """Whether no more rows than allowed are left out, and some are kept."""
        return not bad.all() and int(classes.rows[bad].sum()) <= self._room

    def metric(self, node: Node) -> float:
        """What the node costs, by the model's metric."""
        if self._model.metric == "entropy":
            return math.fsum(costs[level] for costs, level in zip(self._column_costs, node, strict=True))
        if node not in self._measured:
            self._measured[node] = self._cost(node, *self.released(node), base=self._base)
        return self._measured[node]

    def _cost(self, node: Node, classes: Classes, bad: Mask, *, base: BaseClasses) -> float:
        kind, total = self._model.metric, self._base.row_count
        lost = int(classes.rows[bad].sum())
        kept = classes.rows[~bad]
        if kind == "discernibility":
            return float((kept.astype(np.float64) ** 2).sum() + float(lost) * total)
        if kind == "average_class_size":
            return total / max(len(kept) + (lost > 0), 1)
        return self._loss(node, ~bad[classes.of], base)

    def _loss(self, node: Node, kept: Mask, base: BaseClasses) -> float:
        """Iyengar (2002): the share of its hierarchy's other values that a cell could stand for, on average.

        A cell of a row that is left out counts 1.
        """
        rows = np.where(kept, base.rows, 0)
        total = self._base.row_count
        cost = float(total - int(rows.sum())) * len(node)
        for i, (column, level) in enumerate(zip(self._columns, node, strict=True)):
            per_value = (column.covered[level] - 1) / max(column.leaves - 1, 1)
            cost += float((per_value[base.codes[:, i]] * rows).sum())
        return cost / total / len(node)

    def _entropy_costs(self) -> tuple[tuple[float, ...], ...]:
        """Σ over cells of −log2(count(v) / count(generalised v)): per column and level, over all rows.

        Suppressed rows count as generalised like the others, as the published Adult reference value fixes it.
        """
        return tuple(self._column_entropy(i) for i in range(len(self._columns)))

    def _column_entropy(self, i: int) -> tuple[float, ...]:
        column, base = self._columns[i], self._base
        counts = np.bincount(base.codes[:, i], weights=base.rows, minlength=len(column.maps[0]))
        per_value = column_entropy(column, base.codes[:, i], base.rows)
        return tuple(math.fsum((costs * counts).tolist()) for costs in per_value)


def column_entropy(column: CodedColumn, codes: npt.NDArray[np.int32], rows: Ints) -> Floats:
    """−log2(count(v) / count(generalised v)) per level and base value; 0 for values that no row has."""
    counts = np.bincount(codes, weights=rows, minlength=len(column.maps[0]))
    seen = counts > 0
    costs = np.zeros((column.height, len(counts)))
    for level, mapped in enumerate(column.maps):
        general = np.bincount(mapped, weights=counts)[mapped]
        costs[level, seen] = -np.log2(counts[seen] / general[seen])
    return costs


def steered(config: RiskConfig) -> Model:
    """The model as the search steers by it: the average risk is as low as the context asks, too."""
    model, threshold, chance = config.model, config.context.threshold, likeliest_attack(config.context)
    bounds = [] if model.average is None else [model.average]
    if threshold is not None and chance:
        bounds.append(threshold / chance)
    smallest = model.k if model.average is None else max(model.k, model.floor)
    return replace(model, k=smallest, average=min(bounds, default=None))


def _smallest_until(classes: Classes, alike: Ints, bad: Mask, *, average: float) -> Mask:
    """The fewest classes that have to go so that the others have at most this average risk, the smallest first; of
    equal ones those with fewer rows.

    ``alike``: how many look like the subjects of each class, who count 1/alike each.
    """
    kept = np.flatnonzero(~bad)
    ranked = kept[np.lexsort((classes.rows[kept], alike[kept]))]
    left = _from_each_on(classes.subjects[ranked].astype(np.float64))
    enough = _from_each_on(classes.subjects[ranked] / alike[ranked]) <= average * left + TOLERANCE * left
    also: Mask = np.zeros(len(bad), dtype=bool)
    also[ranked[: int(np.argmax(enough))]] = True
    return also


def _from_each_on(values: Floats) -> Floats:
    """Sums from each place to the end, then 0."""
    return np.append(np.cumsum(values[::-1])[::-1], 0.0)


def discloses(found: ValueCounts, counts: SensitiveCounts, model: Model) -> Mask:
    bad = np.zeros(len(found.size), dtype=bool)
    if model.l is not None:
        bad |= _not_diverse(found, model.l)
    if model.t is not None:
        bad |= closeness(found, counts) > model.t + TOLERANCE
    if model.beta is not None:
        gain = enhanced_beta(found) if model.beta.kind == "enhanced" else beta(found)
        bad |= gain > model.beta.value + TOLERANCE
    if model.delta is not None:
        bad |= delta(found) > model.delta + TOLERANCE
    return bad


def _not_diverse(found: ValueCounts, wanted: LDiversity) -> Mask:
    if wanted.kind == "distinct":
        return np.less(distinct_l(found), wanted.value)
    if wanted.kind == "entropy":
        return np.less(entropy_l(found), wanted.value - 1e-12)
    return np.greater_equal(recursive_c(found, l=round(wanted.value)), wanted.c)
