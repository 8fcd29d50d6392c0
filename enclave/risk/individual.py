"""Individual risk: the chance that a subject of a class of the sample is the one an attacker means. Pure.

Sources: Benedetti, Franconi (1998), Statistical and technological solutions for controlled data dissemination;
Franconi, Polettini (2004), Individual risk estimation in mu-Argus: a review.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_BY_STEPS: Final = 64  # below this class size the recurrence, from it on the series, which is short there
_TERMS: Final = 400


@dataclass(frozen=True, slots=True)
class IndividualRisk:
    """Highest and average risk over subjects, the expected number that are found, and the share above 1/k."""

    max: float | None = None
    average: float | None = None
    expected: float | None = None
    share_at_risk: float | None = None


def individual_risk(sizes: Ints, fractions: Floats, *, k: int) -> IndividualRisk:
    """``sizes``: subjects per class; ``fractions``: the share of its population class that the sample holds."""
    if len(sizes) == 0:
        return IndividualRisk()
    risks = individual_risks(sizes, fractions)
    expected = float((risks * sizes).sum())
    total = int(sizes.sum())
    return IndividualRisk(
        max=float(risks.max()),
        average=expected / total,
        expected=expected,
        share_at_risk=int(sizes[risks * k > 1 + 1e-12].sum()) / total,
    )


def individual_risks(sizes: Ints, fractions: Floats) -> Floats:
    """E[1/F | f] per class, with F the size in the population.

    Given f in the sample, F is f plus the failures of a negative binomial with success probability p, so that
    E[1/F | f] = p·∫₀¹ u^(f−1)/(p + qu) du with q = 1 − p. For f = 1 that is (p/q)·ln(1/p); partial division of the
    integrand gives q·I(f+1) = 1/f − p·I(f). It also is (p/f)·₂F₁(1, 1; f+1; q), whose terms are all positive.
    """
    p = np.clip(fractions.astype(np.float64), 1e-300, 1.0)
    risks = np.empty(len(sizes))
    by_steps = (sizes < _BY_STEPS) & (p < 0.5)  # there the recurrence damps its rounding errors by p/q per step
    risks[by_steps] = _recurrence(sizes[by_steps], p[by_steps])
    risks[~by_steps] = _series(sizes[~by_steps], p[~by_steps])
    return risks


def _recurrence(sizes: Ints, p: Floats) -> Floats:
    q = 1.0 - p
    integral = -np.log(p) / q
    for step in range(1, int(sizes.max(initial=1))):
        integral = np.where(sizes > step, (1.0 / step - p * integral) / q, integral)
    return p * integral


def _series(sizes: Ints, p: Floats) -> Floats:
    q = 1.0 - p
    term = np.ones(len(sizes))
    total = np.ones(len(sizes))
    for n in range(_TERMS):
        term = term * q * (n + 1) / (sizes + n + 1)
        total += term
        if not len(term) or float(term.max()) < 1e-17:
            break
    return p / sizes * total
