"""What classes say about sensitive values: l-diversity, t-closeness, β-likeness, δ-disclosure. Pure.

Sources: Machanavajjhala et al. (2007), l-diversity; Li, Li, Venkatasubramanian (2007), t-closeness;
Cao, Karras (2012), β-likeness; Brickell, Shmatikov (2008), δ-disclosure privacy.
Work is proportional to the values present in the classes, never to classes × values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from enclave.risk.classes import Ints, add_up

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SensitiveCounts:
    """How often each value stands in each base combination; values are numbered in their order.

    ``levels``: for the hierarchical distance, per level above the value the group of each value. ``numbers``: which
    value has which number.
    """

    name: str
    distance: str
    combination: Ints
    value: Ints
    count: Ints
    value_count: int
    levels: tuple[Ints, ...] = ()
    overall: Floats | None = None  # the table's distribution when these counts are those of a part of it
    numbers: dict[str | None, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ValueCounts:
    """Present (class, value) pairs, sorted by class, then value; ``size`` is rows per class."""

    cls: Ints
    value: Ints
    count: Ints
    size: Ints
    overall: Floats

    @property
    def share(self) -> Floats:
        """Share of the value in its class."""
        return self.count / self.size[self.cls]


def value_counts(counts: SensitiveCounts, of: Ints, class_count: int) -> ValueCounts:
    """The counts rolled up to the classes ``of``."""
    key = of[counts.combination] * counts.value_count + counts.value
    pairs, inverse = np.unique(key, return_inverse=True)
    amount = add_up(inverse.astype(np.int64), counts.count, len(pairs))
    cls = pairs // counts.value_count
    overall = counts.overall
    if overall is None:
        overall = weigh(counts.value, weights=counts.count, minlength=counts.value_count)
    return ValueCounts(
        cls, pairs % counts.value_count, amount, add_up(cls, amount, class_count), overall / max(overall.sum(), 1)
    )


def distinct_l(found: ValueCounts) -> Ints:
    """Number of distinct values per class."""
    return np.bincount(found.cls, minlength=len(found.size)).astype(np.int64)


def entropy_l(found: ValueCounts) -> Floats:
    """exp(entropy) per class: a real number, the number of equally frequent values that would be as diverse."""
    p = found.share
    entropy: Floats = weigh(found.cls, weights=-p * np.log(p), minlength=len(found.size))
    return np.exp(entropy)


def recursive_c(found: ValueCounts, *, l: int) -> Floats:  # noqa: E741 - the name in the literature
    """The smallest c per class for recursive (c, l)-diversity, r₁ / (r_l + … + r_m); infinite below l values."""
    order = np.lexsort((-found.count, found.cls))
    cls, count = found.cls[order], found.count[order]
    rank = np.arange(len(cls)) - np.searchsorted(cls, cls, side="left")
    tail = weigh(cls[rank >= l - 1], weights=count[rank >= l - 1], minlength=len(found.size))
    first = weigh(cls[rank == 0], weights=count[rank == 0], minlength=len(found.size))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(tail > 0, first / tail, np.inf)


def closeness(found: ValueCounts, counts: SensitiveCounts) -> Floats:
    """Earth mover's distance of each class to the whole table, by the column's own distance; 0 to 1."""
    if counts.distance == "ordered":
        return _ordered(found)
    if counts.distance == "hierarchical":
        return _hierarchical(found, counts.levels)
    return _equal(found)


def beta(found: ValueCounts) -> Floats:
    """Basic β-likeness per class: the largest relative gain (p − q)/q over its values."""
    q = found.overall[found.value]
    return _largest(found, np.maximum((found.share - q) / q, 0.0))


def enhanced_beta(found: ValueCounts) -> Floats:
    """The smallest β per class for enhanced β-likeness; infinite when no β will do.

    A gain D = (p − q)/q must not exceed min(β, −ln q), so that also β cannot allow more than −ln q of a value.
    """
    q = found.overall[found.value]
    gain = np.maximum((found.share - q) / q, 0.0)
    return _largest(found, np.where(gain > -np.log(q) + 1e-12, np.inf, gain))


def delta(found: ValueCounts) -> Floats:
    """δ-disclosure per class: the largest |ln(p/q)|; infinite when a value of the table is absent from the class."""
    largest = _largest(found, np.abs(np.log(found.share / found.overall[found.value])))
    return np.where(distinct_l(found) == np.count_nonzero(found.overall), largest, np.inf)


def weigh(of: npt.NDArray[Any], weights: Floats | Ints, minlength: int = 0) -> Floats:
    """Sum of ``weights`` per number in ``of``, as real numbers."""
    return np.bincount(of, weights=weights, minlength=minlength).astype(np.float64)


def _largest(found: ValueCounts, values: Floats) -> Floats:
    result = np.zeros(len(found.size))
    np.maximum.at(result, found.cls, values)
    return result


def _equal(found: ValueCounts) -> Floats:
    p, q = found.share, found.overall[found.value]
    gain: Floats = weigh(found.cls, weights=np.maximum(p - q, 0.0), minlength=len(found.size))
    return gain


def _ordered(found: ValueCounts) -> Floats:
    """Σ|P_i − Q_i| / (m − 1) over cumulative shares; P is constant between present values, so ranges are summed."""
    m = len(found.overall)
    if m < 2 or not len(found.cls):
        return np.zeros(len(found.size))
    q = np.cumsum(found.overall)
    prefix = np.concatenate([[0.0], np.cumsum(q)])
    p = _running_share(found)
    last = np.append(found.cls[1:] != found.cls[:-1], True)
    first = np.insert(last[:-1], 0, True)
    end = np.where(last, m - 1, np.append(found.value[1:], m - 1))
    cost: Floats = weigh(found.cls, weights=_range_cost(q, prefix, p, found.value, end), minlength=len(found.size))
    before = prefix[found.value[first]]  # up to the first present value P is 0
    cost += weigh(found.cls[first], weights=before, minlength=len(found.size))
    return cost / (m - 1)


def _running_share(found: ValueCounts) -> Floats:
    total = np.cumsum(found.count)
    start = np.searchsorted(found.cls, found.cls, side="left")
    base = np.where(start > 0, total[start - 1], 0)
    return (total - base) / found.size[found.cls]


def _range_cost(q: Floats, prefix: Floats, p: Floats, start: Ints, end: Ints) -> Floats:
    cross = np.clip(np.searchsorted(q, p, side="left"), start, np.maximum(end, start))
    end = np.maximum(end, start)
    below = (cross - start) * p - (prefix[cross] - prefix[start])
    above = (prefix[end] - prefix[cross]) - (end - cross) * p
    cost: Floats = below + above
    return cost


def _hierarchical(found: ValueCounts, levels: tuple[Ints, ...]) -> Floats:
    """Li et al. (2007), section 5: per inner node its height times what must move between its children."""
    height = len(levels)
    cost = np.zeros(len(found.size))
    cls, group, share, overall = found.cls, found.value, found.share, found.overall
    for level, parent_of in enumerate(levels, start=1):
        gain = np.maximum(share - overall[group], 0.0)
        parents = int(parent_of.max()) + 1
        key, inverse = np.unique(cls * parents + parent_of[group], return_inverse=True)
        moved = weigh(inverse, weights=gain)
        share = weigh(inverse, weights=share)
        overall = weigh(parent_of, weights=overall, minlength=parents)
        cls, group = key // parents, key % parents
        inside = np.minimum(moved, np.maximum(moved - (share - overall[group]), 0.0))
        cost += weigh(cls, weights=inside * level / height, minlength=len(found.size))
    return cost
