"""How many sample uniques are unique in the population: estimates, each None when it does not converge. Pure.

Sources: Hoshino (2001), Applications of Pitman's sampling formula to microdata disclosure risk assessment;
Chen, Keller-McNulty (1998), Estimation of identification disclosure risk in microdata (the slide negative binomial);
Zayatz (1991), Estimation of the percent of unique population elements on a microdata file using the sample;
Dankar, El Emam et al. (2012), Estimating the re-identification risk of clinical data sets.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PopulationUniqueness:
    """Shares of the population that are unique in it; None = not available."""

    pitman: float | None = None
    zayatz: float | None = None
    snb: float | None = None
    dankar: float | None = None


def estimate(sizes: npt.NDArray[np.int64], *, population: int) -> PopulationUniqueness:
    """All estimates from the class sizes of a simple random sample of ``population``."""
    if len(sizes) == 0 or population < int(sizes.sum()):
        return PopulationUniqueness()
    pitman = estimate_pitman(sizes, population=population)
    zayatz = estimate_zayatz(sizes, population=population)
    snb = estimate_snb(sizes, population=population)
    chosen = _dankar(pitman, zayatz, snb, fraction=int(sizes.sum()) / population)
    return PopulationUniqueness(pitman=pitman, zayatz=zayatz, snb=snb, dankar=chosen)


def _dankar(pitman: float | None, zayatz: float | None, snb: float | None, *, fraction: float) -> float | None:
    """Dankar et al. (2012): Pitman up to a sampling fraction of a tenth, above the lower one of SNB and Zayatz."""
    if fraction <= 0.1:
        return zayatz if pitman is None else pitman
    known = [one for one in (snb, zayatz) if one is not None]
    return min(known, default=None)


def estimate_zayatz(sizes: npt.NDArray[np.int64], *, population: int) -> float | None:
    """Zayatz (1991): the sample's class sizes stand for the population's; hypergeometric sampling.

    The chance that one of i persons is sampled, i·C(N−i, n−1)/C(N, n), is taken relative to that for i = 1: factors
    (N−n−j)/(N−1−j), which keep their precision in any population.
    """
    n = int(sizes.sum())
    values, counts = np.unique(sizes, return_counts=True)
    uniques = int(counts[values == 1].sum())
    if uniques == 0:
        return None
    j = np.arange(int(values[-1]) - 1, dtype=np.float64)
    with np.errstate(divide="ignore"):
        steps = np.log1p(-(n - 1) / (population - 1 - j[: population - n + 1]))
    logs = np.full(int(values[-1]), -np.inf)  # of sizes that the rest of the population has no room for
    logs[: len(steps) + 1] = np.concatenate([[0.0], np.cumsum(steps)])
    weights = counts * values * np.exp(logs[values - 1])
    return uniques * (uniques / math.fsum(weights.tolist())) / n


def estimate_pitman(sizes: npt.NDArray[np.int64], *, population: int) -> float | None:
    """Hoshino (2001): maximum likelihood of Pitman's (θ, α) by Newton, then Γ(θ+1)/Γ(θ+α)·N^α uniques."""
    values, counts = np.unique(sizes, return_counts=True)
    n, u, once = int(sizes.sum()), len(sizes), int(counts[values == 1].sum())
    if once == 0 or u < 2 or u == n:
        return None
    likelihood = _Likelihood(n, u, values, counts)
    found = _newton(likelihood, *_start(n, u, once, int(counts[values == 2].sum())))
    if found is None:  # the steps left the model's range: look for the top along a profile, which cannot
        ridge = likelihood.top_of_profile()
        found = None if ridge is None else _newton(likelihood, *ridge)
    if found is None:
        return None
    theta, alpha = found
    share = math.exp(math.lgamma(theta + 1) - math.lgamma(theta + alpha) + (alpha - 1) * math.log(population))
    return share if 0 <= share <= 1 else None


def _start(n: int, u: int, once: int, twice: int) -> tuple[float, float]:
    """Hoshino's first guess, or the middle where it is none."""
    c = once * (once - 1) / twice if twice else 0.0
    below = 2 * once * u + once * c - n * c
    if twice == 0 or below == 0:
        return float(u), 0.5
    theta = (n * u * c - once * (n - 1) * (2 * u + c)) / below
    alpha = (theta * (once - n) + (n - 1) * once) / (n * u)
    return (theta, alpha) if theta > 0 and 0 < alpha < 1 else (float(u), 0.5)


class _Likelihood:
    """Gradient and Hessian of the log-likelihood of Pitman's sampling formula."""

    def __init__(self, n: int, u: int, values: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> None:
        self._n, self._u = n, u
        self._i = np.arange(1, u, dtype=np.float64)
        self._j = np.arange(1, n, dtype=np.float64)
        # Σ over classes of Σ_{m=1}^{size−1} f(m − α) = Σ_m (classes larger than m)·f(m − α)
        self._m = np.arange(1, int(values.max()), dtype=np.float64)
        larger = np.concatenate([np.cumsum(counts[::-1])[::-1], [0]])
        self._larger = larger[np.searchsorted(values, self._m, side="right")].astype(np.float64)

    def gradient(self, theta: float, alpha: float) -> tuple[float, float]:
        first = 1.0 / (theta + self._i * alpha)
        down = float((self._larger / (self._m - alpha)).sum())
        return float(first.sum() - (1.0 / (theta + self._j)).sum()), float((self._i * first).sum()) - down

    def hessian(self, theta: float, alpha: float) -> tuple[float, float, float]:
        second = 1.0 / (theta + self._i * alpha) ** 2
        down = float((self._larger / (self._m - alpha) ** 2).sum())
        return (
            float((1.0 / (theta + self._j) ** 2).sum() - second.sum()),
            float(-(self._i * second).sum()),
            float(-(self._i**2 * second).sum()) - down,
        )

    def top_of_profile(self) -> tuple[float, float] | None:
        """(θ, α) where the likelihood that θ leaves for each α is highest; None when that is at an end of α."""

        def slope(alpha: float) -> float:
            theta = self._best_theta(alpha)
            by_theta, by_j = _digamma(theta / alpha + 1), _digamma(theta / alpha + self._u)
            up = (self._u - 1) / alpha - theta / alpha**2 * (by_j - by_theta)  # Σ i/(θ + iα)
            return up - float((self._larger / (self._m - alpha)).sum())

        steps = [1e-4, 1e-3, *(i / 40 for i in range(1, 40)), 0.999]
        for low, high in pairwise(steps):
            if slope(low) > 0 >= slope(high):
                alpha = _bisect(slope, low, high)
                return self._best_theta(alpha), alpha
        return None

    def _best_theta(self, alpha: float) -> float:
        """Where Σ 1/(θ + iα) over classes meets Σ 1/(θ + j) over subjects: the first falls from above."""

        def slope(log_above: float) -> float:
            theta = math.exp(log_above) - alpha
            of_classes = (_digamma(theta / alpha + self._u) - _digamma(theta / alpha + 1)) / alpha
            return of_classes - (_digamma(theta + self._n) - _digamma(theta + 1))

        return math.exp(_bisect(slope, -30.0, 40.0)) - alpha


def _digamma(x: float) -> float:
    from scipy.special import digamma  # takes a third of a second to import, and few tables need it

    return float(digamma(x))


def _newton(likelihood: _Likelihood, theta: float, alpha: float) -> tuple[float, float] | None:
    for _ in range(200):
        slope_t, slope_a = likelihood.gradient(theta, alpha)
        tt, ta, aa = likelihood.hessian(theta, alpha)
        det = tt * aa - ta * ta
        if not math.isfinite(det) or det == 0:
            return None
        step_t, step_a = (slope_t * aa - slope_a * ta) / det, (slope_a * tt - slope_t * ta) / det
        damping = 1.0
        while not 0 < alpha - damping * step_a < 1 or theta + alpha <= damping * (step_t + step_a):
            damping /= 2
            if damping < 1e-6:
                return None
        theta, alpha = theta - damping * step_t, alpha - damping * step_a
        if abs(step_t) <= 1e-10 * (theta + alpha) and abs(step_a) <= 1e-12:
            return (theta, alpha) if tt < 0 < det else None  # a top, not a saddle
    return None


def estimate_snb(sizes: npt.NDArray[np.int64], *, population: int) -> float | None:
    """The slide negative binomial: class sizes in the population are 1 + NB(α, p), seen through Bernoulli sampling.

    With sampling fraction π, q = 1 − p, D = p + qπ and a = (p/D)^α, the probability generating function
    (1 − π + πs)·(p/(D − qπs))^α gives, per class, P(unseen) = (1 − π)a and P(seen once) = a(π + (1 − π)αqπ/D); a
    class holds 1 + αq/p persons on average. α and p follow from the shares of seen classes and sample uniques;
    the share of population uniques is p^α over that mean.
    """
    n = int(sizes.sum())
    fraction = n / population
    seen, once = len(sizes) / population, int((sizes == 1).sum()) / population
    if once == 0 or len(sizes) == n:
        return None
    steps = [1 / (1 + math.exp(-x)) for x in np.linspace(-14, 14, 113).tolist()]
    errors = [_snb_error(p, fraction, seen=seen, once=once) for p in steps]
    for low, high, left, right in zip(steps, steps[1:], errors, errors[1:], strict=False):
        if left is not None and right is not None and left * right <= 0:
            p = _bisect(lambda p: _snb_error(p, fraction, seen=seen, once=once) or 0.0, low, high)
            alpha = _snb_alpha(p, fraction, seen=seen)
            share = None if alpha is None else p**alpha / (1 + alpha * (1 - p) / p)
            return share if share is not None and 0 < share <= 1 else None
    return None


def _snb_moments(alpha: float, p: float, fraction: float) -> tuple[float, float]:
    """Expected seen classes and sample uniques, per person in the population."""
    q = 1 - p
    d = p + q * fraction
    log_a = -alpha * math.log1p(q * fraction / p)
    mean = 1 + alpha * q / p
    seen = 1.0 if fraction >= 1 else -math.expm1(math.log1p(-fraction) + log_a)  # 1 − (1 − π)a, where that is small
    return seen / mean, math.exp(log_a) * fraction * (1 + (1 - fraction) * alpha * q / d) / mean


def _snb_alpha(p: float, fraction: float, *, seen: float) -> float | None:
    def error(log_alpha: float) -> float:
        return _snb_moments(math.exp(log_alpha), p, fraction)[0] - seen

    return math.exp(_bisect(error, -30.0, 30.0)) if error(-30.0) * error(30.0) < 0 else None


def _snb_error(p: float, fraction: float, *, seen: float, once: float) -> float | None:
    alpha = _snb_alpha(p, fraction, seen=seen)
    return None if alpha is None else _snb_moments(alpha, p, fraction)[1] - once


def _bisect(error: Callable[[float], float], low: float, high: float) -> float:
    left = error(low)
    for _ in range(100):
        middle = (low + high) / 2
        if error(middle) * left > 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2
