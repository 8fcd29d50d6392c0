"""Optimal full-domain generalisation: which level for each column, so that little is lost and the model holds. Pure.

Feasibility of k and distinct l can only improve upwards (classes merge), and that of every measure where no row may be
left out, so one infeasible node excludes all below it, and where the metric only grows upwards a feasible node excludes
all that rank after it. Where neither holds every node that could be better is evaluated before one is called optimal.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Node = tuple[int, ...]
MAX_NODES: Final = 1_000_000
_MOST_TRIED: Final = 2_000  # nodes, where the top itself does not hold; a lattice that is not listed has more


@dataclass(frozen=True, slots=True)
class Problem:
    """``feasible`` says whether a node holds; ``metric`` what it costs; ``column_costs`` when costs just add up.

    ``monotone``: whether a feasible node makes all above it feasible.
    """

    heights: Node
    feasible: Callable[[Node], bool]
    metric: Callable[[Node], float]
    column_costs: tuple[tuple[float, ...], ...] | None
    monotone: bool


@dataclass(frozen=True, slots=True)
class Found:
    """``node`` None: nothing is feasible."""

    node: Node | None
    metric: float | None
    nodes_total: int
    nodes_evaluated: int
    optimal: bool


def search(problem: Problem, *, max_nodes: int = MAX_NODES) -> Found:
    """The best feasible node: lowest metric, then level sum, then column order."""
    total = 1
    for height in problem.heights:
        total *= height
    if total > max_nodes:
        return _descend(problem, total)
    return _Lattice(problem, total).search()


class _Lattice:
    def __init__(self, problem: Problem, total: int) -> None:
        self._problem = problem
        self._nodes = np.array(list(itertools.product(*map(range, problem.heights))), dtype=np.int16).reshape(
            total, len(problem.heights)
        )
        self._known: dict[Node, bool] = {}
        self._alive = np.ones(total, dtype=bool)

    def search(self) -> Found:
        if self._problem.column_costs is not None:
            best = self._by_rank(self._costs(self._problem.column_costs))
            return self._found(best, None if best is None else self._problem.metric(self._node(best)))
        return self._by_value()

    def _by_rank(self, costs: npt.NDArray[np.float64]) -> int | None:
        """The first feasible node in the order of rank, without looking at most of them."""
        order = self._order(costs)
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        best: int | None = None
        position = 0
        while position < len(order):
            if not self._alive[order[position]]:
                position += 1
                continue
            chain = self._chain(int(order[position]), rank) if self._problem.monotone else [int(order[position])]
            low = self._lowest_feasible(chain)
            if low is not None and (best is None or rank[low] < rank[best]):
                best = low
                self._alive[rank >= rank[best]] = False
        return best

    def _by_value(self) -> Found:
        """Every feasible node's metric: for metrics that may fall upwards."""
        feasible = [i for i in reversed(range(len(self._nodes))) if self._alive[i] and self._is_feasible(i)]
        if not feasible:
            return self._found(None, None)
        values = np.array([self._problem.metric(self._node(i)) for i in feasible])
        ranked = zip(_without_rounding(values).tolist(), values.tolist(), feasible, strict=True)
        _, value, best = min(ranked, key=lambda one: (one[0], int(self._nodes[one[2]].sum()), one[2]))
        return self._found(best, value)

    def _is_feasible(self, index: int) -> bool:
        holds = self._holds(self._node(index))
        if not holds:
            self._exclude(index)
        return holds

    def _lowest_feasible(self, chain: list[int]) -> int | None:
        low, high, found = 0, len(chain) - 1, None
        while low <= high:
            middle = (low + high) // 2
            index = chain[middle]
            if self._holds(self._node(index)):
                found, high = index, middle - 1
            else:
                low = middle + 1
                self._exclude(index)
        return found

    def _exclude(self, index: int) -> None:
        if self._problem.monotone:
            self._alive &= ~(self._nodes <= self._nodes[index]).all(axis=1)
        else:
            self._alive[index] = False

    def _chain(self, index: int, rank: npt.NDArray[np.int64]) -> list[int]:
        """Upwards from a node, always to the next best one that is still open."""
        chain = [index]
        strides = np.cumprod([1, *self._problem.heights[:0:-1]])[::-1]
        while True:
            node = self._nodes[chain[-1]]
            above = [
                chain[-1] + int(stride)
                for level, height, stride in zip(node, self._problem.heights, strides, strict=True)
                if level + 1 < height and self._alive[chain[-1] + int(stride)]
            ]
            if not above:
                return chain
            chain.append(min(above, key=lambda i: rank[i]))

    def _holds(self, node: Node) -> bool:
        known = self._known.get(node)
        if known is None:
            known = self._known[node] = self._problem.feasible(node)
        return known

    def _costs(self, column_costs: tuple[tuple[float, ...], ...]) -> npt.NDArray[np.float64]:
        costs = np.zeros(len(self._nodes))
        for i, column in enumerate(column_costs):
            costs += np.array(column)[self._nodes[:, i]]
        return costs

    def _order(self, costs: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
        columns = [self._nodes[:, i] for i in reversed(range(self._nodes.shape[1]))]
        return np.lexsort((*columns, self._nodes.sum(axis=1), _without_rounding(costs)))

    def _node(self, index: int) -> Node:
        return tuple(int(level) for level in self._nodes[index])

    def _found(self, index: int | None, metric: float | None) -> Found:
        node = None if index is None else self._node(index)
        return Found(node, metric, len(self._nodes), len(self._known), optimal=node is not None)


def _without_rounding(costs: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """A rank per cost; those that differ by no more than sums in another order do have the same."""
    order = np.argsort(costs, kind="stable")
    ranked = costs[order]
    steps = np.diff(ranked) > 1e-12 * np.maximum(np.abs(ranked[1:]), 1.0)
    ranks = np.empty(len(costs), dtype=np.int64)
    ranks[order] = np.concatenate([[0], np.cumsum(steps)])
    return ranks


def _descend(problem: Problem, total: int) -> Found:
    """For lattices too large to list: from the top down, always the feasible step that saves most."""
    node, evaluated = _first_from_the_top(problem)
    if node is None:
        return Found(None, None, total, evaluated, optimal=False)
    best = problem.metric(node)
    while True:
        steps = _below(node)
        evaluated += len(steps)
        ranked = sorted((problem.metric(step), sum(step), step) for step in steps if problem.feasible(step))
        if not ranked or ranked[0][0] > best:
            return Found(node, best, total, evaluated, optimal=False)
        best, _, node = ranked[0]


def _first_from_the_top(problem: Problem) -> tuple[Node | None, int]:
    """A feasible node and how many were tried; where one that is not does not exclude all below it, the nearest."""
    top: Node = tuple(height - 1 for height in problem.heights)
    waiting, met = deque([top]), {top}
    for tried in range(1, 2 if problem.monotone else _MOST_TRIED + 1):
        node = waiting.popleft()
        if problem.feasible(node):
            return node, tried
        fresh = [step for step in _below(node) if step not in met]
        met.update(fresh)
        waiting.extend(fresh)
    return None, 1 if problem.monotone else _MOST_TRIED


def _below(node: Node) -> list[Node]:
    """The nodes one level lower in one column."""
    return [tuple(v - (i == j) for j, v in enumerate(node)) for i, level in enumerate(node) if level > 0]
