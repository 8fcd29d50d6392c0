"""Population uniqueness: the estimators find what a simulated population was made with."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import plain_risk as plain
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave.risk.population import (
    PopulationUniqueness,
    _snb_moments,
    estimate,
    estimate_pitman,
    estimate_snb,
    estimate_zayatz,
)


@pytest.mark.parametrize(("alpha", "p", "classes"), [(0.5, 0.2, 50_000), (0.1, 0.01, 20_000), (0.05, 0.002, 20_000)])
@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.7])
def test_snb_finds_the_share_of_a_population_of_its_kind(alpha: float, p: float, classes: int, fraction: float) -> None:
    random = np.random.default_rng(7)
    people = 1 + random.negative_binomial(alpha, p, classes)
    seen = random.binomial(people, fraction)
    sample, population = seen[seen > 0].astype(np.int64), int(people.sum())
    truth = int((people == 1).sum()) / population
    assert estimate_snb(sample, population=population) == pytest.approx(truth, rel=0.08)


@pytest.mark.parametrize("sizes", [[5, 5, 5], [1, 1, 1], [2], [1]])
def test_what_cannot_be_estimated_is_not_available_and_never_zero(sizes: list[int]) -> None:
    found = np.array(sizes, dtype=np.int64)
    for one in (estimate_pitman, estimate_snb, estimate_zayatz):
        value = one(found, population=10_000)
        assert value is None or value > 0


@pytest.mark.parametrize("population", [9, 10, 11, 90, 301_620, 340_000_000, 10**12, 2**53])
@pytest.mark.parametrize("sizes", [[1, 1, 2, 2, 3], [1, 8], [1] * 9, [1, 1, 7]])
def test_zayatz_keeps_its_precision_in_any_population(sizes: list[int], population: int) -> None:
    found = estimate_zayatz(np.array(sizes, dtype=np.int64), population=population)
    assert found == pytest.approx(plain.zayatz(sizes, population), rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.floats(1e-3, 1e3), st.floats(1e-6, 1 - 1e-6), st.floats(1e-15, 1.0))
def test_the_moments_of_the_slide_negative_binomial_keep_their_precision(alpha: float, p: float, share: float) -> None:
    with localcontext(prec=60):
        a, b, f = Decimal(alpha), Decimal(p), Decimal(share)
        d = 1 - (1 - b) * (1 - f)
        hidden = (a * (b / d).ln()).exp()
        mean = 1 + a * (1 - b) / b
        wanted = (1 - (1 - f) * hidden) / mean, hidden * (f + (1 - f) * a * (1 - b) * f / d) / mean
    found = _snb_moments(alpha, p, share)
    assert found == pytest.approx(tuple(map(float, wanted)), rel=1e-9, abs=1e-300)


def test_a_population_smaller_than_the_sample_has_no_estimate() -> None:
    assert estimate(np.array([1, 2, 3]), population=5) == PopulationUniqueness()


def test_dankars_rule_chooses_by_the_sampling_fraction() -> None:
    random = np.random.default_rng(3)
    people = 1 + random.negative_binomial(0.3, 0.05, 20_000)
    for fraction in (0.05, 0.5):
        seen = random.binomial(people, fraction)
        found = estimate(seen[seen > 0].astype(np.int64), population=int(people.sum()))
        assert found.snb is not None
        assert found.zayatz is not None
        by_sample = found.zayatz if found.pitman is None else found.pitman
        assert found.dankar == (by_sample if fraction <= 0.1 else min(found.snb, found.zayatz))
