"""Risk measures counted out as their papers define them: exact fractions, no arrays, no code of the product.

Rows are dicts, null is None. Slow on purpose; for tables of some dozen rows.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

Row = dict[str, Any]
Shares = dict[Any, Fraction]
Node = tuple[int, ...]


def classes_of(rows: Sequence[Row], names: Sequence[str]) -> dict[tuple[Any, ...], list[int]]:
    found: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        found[tuple(row[name] for name in names)].append(i)
    return found


def complete(rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
    return [row for row in rows if None not in [row[name] for name in names]]


def alike(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return all(a is None or b is None or a == b for a, b in zip(one, other, strict=True))


@dataclass(frozen=True)
class Identity:
    """Sizes by subject: of each class, and how many look alike when null may be anything."""

    rows: dict[tuple[Any, ...], int]
    subjects: dict[tuple[Any, ...], int]
    alike: dict[tuple[Any, ...], int]
    conflicting: int


def identity(rows: Sequence[Row], names: Sequence[str], *, subject: str | None, nulls: str) -> Identity:
    kept = complete(rows, names) if nulls == "drop" else list(rows)
    who = [row[subject] if subject else i for i, row in enumerate(kept)]
    classes = classes_of(kept, names)
    size = {key: len({who[i] for i in members}) for key, members in classes.items()}
    wide = {key: {who[i] for other in classes if alike(key, other) for i in classes[other]} for key in classes}
    met: dict[Any, set[Any]] = defaultdict(set)
    for key, members in classes.items():
        for i in members:
            met[who[i]].add(key)
    return Identity(
        rows={key: len(members) for key, members in classes.items()},
        subjects=size,
        alike={key: len(found) for key, found in wide.items()} if nulls == "wildcard" else size,
        conflicting=sum(len(keys) > 1 for keys in met.values()),
    )


# ── sensitive values ────────────────────────────────────────────────────────


def shares_of(values: Sequence[Any]) -> Shares:
    return {value: Fraction(n, len(values)) for value, n in Counter(values).items()}


def equal_distance(p: Shares, q: Shares) -> float:
    return float(sum(max(p.get(value, Fraction(0)) - share, Fraction(0)) for value, share in q.items()))


def ordered_distance(p: Shares, q: Shares, *, scale: Sequence[Any]) -> float:
    """Σ|Σ(p − q)|/(m − 1) over the values of the scale, in order."""
    carried = total = Fraction(0)
    for value in scale:
        carried += p.get(value, Fraction(0)) - q.get(value, Fraction(0))
        total += abs(carried)
    return float(total / (len(scale) - 1)) if len(scale) > 1 else 0.0


def tree_distance(p: Shares, q: Shares, *, paths: dict[Any, tuple[str, ...]]) -> float:
    """Li et al. (2007): per inner node, its height over that of the tree, times what its children exchange."""
    height = len(next(iter(paths.values()))) - 1
    extra = {(0, value): p.get(value, Fraction(0)) - q.get(value, Fraction(0)) for value in paths}
    total = Fraction(0)
    for level in range(1, height + 1):
        children: dict[tuple[int, str], set[tuple[int, Any]]] = defaultdict(set)
        for path in paths.values():
            children[level, path[level]].add((level - 1, path[level - 1]))
        for node, below in children.items():
            given = sum((max(extra[one], Fraction(0)) for one in below), Fraction(0))
            wanted = sum((max(-extra[one], Fraction(0)) for one in below), Fraction(0))
            total += Fraction(level, height) * min(given, wanted)
            extra[node] = given - wanted
    return float(total)


@dataclass(frozen=True)
class Disclosure:
    distinct: int
    entropy: float
    recursive_c: float
    t: float
    beta: float
    enhanced_beta: float
    delta: float


def disclosure(values: Sequence[Any], q: Shares, *, l: int, distance: Callable[[Shares, Shares], float]) -> Disclosure:  # noqa: E741 - the name in the literature
    """One class with these ``values`` in a table with the distribution ``q``."""
    p, ranked = shares_of(values), sorted(Counter(values).values(), reverse=True)
    tail = sum(ranked[l - 1 :])
    gains = [(float((share - q[value]) / q[value]), -math.log(q[value])) for value, share in p.items()]
    return Disclosure(
        distinct=len(p),
        entropy=math.exp(-sum(float(share) * math.log(share) for share in p.values())),
        recursive_c=ranked[0] / tail if tail else math.inf,
        t=distance(p, q),
        beta=max(0.0, *(gain for gain, _ in gains)),
        enhanced_beta=max(0.0, *(gain if gain <= limit + 1e-12 else math.inf for gain, limit in gains)),
        delta=max(abs(math.log(p[value] / share)) if value in p else math.inf for value, share in q.items()),
    )


# ── the population ──────────────────────────────────────────────────────────


def zayatz(sizes: Sequence[int], population: int) -> float | None:
    """Zayatz (1991) with exact hypergeometric chances."""
    n, counts = sum(sizes), Counter(sizes)
    chance = {i: Fraction(i * math.comb(population - i, n - 1), math.comb(population, n)) for i in counts}
    below = sum((counts[i] * chance[i] for i in counts), Fraction(0))
    if not counts[1] or not below:
        return None
    return float(counts[1] * (counts[1] * chance[1] / below) / n)


def pitman_likelihood(sizes: Sequence[int], theta: float, alpha: float) -> float:
    """The logarithm of Pitman's sampling formula, up to what does not depend on θ and α."""
    n, u = sum(sizes), len(sizes)
    classes = sum(math.log(theta + i * alpha) for i in range(1, u))
    inside = sum(math.log(j - alpha) for size in sizes for j in range(1, size))
    return classes + inside - sum(math.log(theta + i) for i in range(1, n))


def individual_risk(size: int, fraction: float) -> float:
    """E[1/F | f] summed over the negative binomial (Benedetti, Franconi 1998)."""
    if fraction >= 1:
        return 1 / size
    total = 0.0
    for more in range(100_000):
        log_term = math.lgamma(size + more) - math.lgamma(size) - math.lgamma(more + 1)
        term = math.exp(log_term + size * math.log(fraction) + more * math.log1p(-fraction))
        total += term / (size + more)
        if more > size / fraction and term < 1e-17:
            break
    return total


# ── every node of a lattice ─────────────────────────────────────────────────


@dataclass(frozen=True)
class Best:
    metric: float
    node: Node
    suppressed: int


def best_node(
    rows: Sequence[Row],
    trees: dict[str, dict[Any, tuple[Any, ...]]],
    *,
    room: int,
    metric: str,
    bad: Callable[[list[Row], dict[tuple[Any, ...], list[int]]], set[tuple[Any, ...]]],
) -> Best | None:
    """By trying all: lowest metric, then level sum, then column order. ``bad`` names the classes that have to go."""
    found: list[tuple[float, int, Node, int]] = []
    for node in itertools.product(*(range(len(next(iter(tree.values())))) for tree in trees.values())):
        levels = dict(zip(trees, node, strict=True))
        raised = [row | {name: trees[name][row[name]][level] for name, level in levels.items()} for row in rows]
        classes = classes_of(raised, list(trees))
        gone = bad(raised, classes)
        lost = sum(len(classes[key]) for key in gone)
        if lost <= room and len(gone) < len(classes):
            left = {i for key in gone for i in classes[key]}
            kept = [len(members) for key, members in classes.items() if key not in gone]
            found.append((round(_cost(metric, rows, trees, levels, left, kept), 9), sum(node), node, lost))
    return next((Best(cost, node, lost) for cost, _, node, lost in sorted(found)), None)


def _cost(
    metric: str,
    rows: Sequence[Row],
    trees: dict[str, dict[Any, tuple[Any, ...]]],
    levels: dict[str, int],
    left: set[int],
    kept: list[int],
) -> float:
    if metric == "discernibility":
        return float(sum(size**2 for size in kept) + len(left) * len(rows))
    if metric == "average_class_size":
        return len(rows) / (len(kept) + bool(left))
    total = 0.0
    for name, level in levels.items():
        counts, tree = Counter(row[name] for row in rows), trees[name]
        for i, row in enumerate(rows):
            under = [value for value in tree if tree[value][level] == tree[row[name]][level]]
            if metric == "entropy":
                total -= math.log2(counts[row[name]] / sum(counts[value] for value in under))
            else:
                total += 1.0 if i in left else (len(under) - 1) / max(len(tree) - 1, 1)
    return total if metric == "entropy" else total / len(rows) / len(levels)
