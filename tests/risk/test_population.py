"""Population uniqueness: the estimators find what a simulated population was made with."""

from __future__ import annotations

import numpy as np
import pytest

from enclave.risk.population import PopulationUniqueness, estimate, estimate_pitman, estimate_snb, estimate_zayatz


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
