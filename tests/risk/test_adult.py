"""Published reference values on the Adult data set."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from enclave.core.errors import InvalidError
from enclave.risk.config import LDiversity, Model, Population, RiskConfig, Sensitive
from enclave.risk.engine import anonymise, assess

pytestmark = pytest.mark.row("S13.1")


def test_risk_of_the_raw_table(adult: Any) -> None:
    found = assess(*adult)
    assert found.records == 30_162
    assert found.prosecutor.average == 0.6465751607983555
    assert found.sample_uniqueness == 0.5142895033485844


def test_population_uniqueness_by_pitman_and_zayatz(adult: Any) -> None:
    found = assess(*adult).population_uniqueness
    assert found.pitman == pytest.approx(0.27684993883653597, rel=1e-9)
    assert found.zayatz == pytest.approx(0.3207402393466189, rel=1e-9)
    assert found.dankar == found.pitman  # sampling fraction of exactly a tenth


def test_optimal_node_for_k_5(adult: Any) -> None:
    found = anonymise(*adult)
    assert tuple(found.node.values()) == (1, 0, 1, 1, 3, 2, 2, 0, 1)
    assert found.metric_value == pytest.approx(255559.85455731067, rel=1e-12)
    assert found.nodes_total == 12_960
    assert found.optimal
    assert found.suppressed <= 0.04 * 30_162
    assert found.table.num_rows == 30_162 - found.suppressed == int(found.kept.sum())
    assert found.assessment_after.k is not None
    assert found.assessment_after.k >= 5


@pytest.mark.parametrize(
    ("k", "limit", "node", "metric"),
    [
        (100, 0.04, (1, 1, 1, 1, 3, 2, 2, 1, 1), 379417.3460570988),
        (5, 0.0, (1, 2, 1, 1, 3, 2, 2, 1, 1), 407289.5388925293),
        (100, 0.0, (0, 4, 1, 1, 3, 2, 2, 1, 1), 453196.8932458743),
    ],
)
def test_optimal_nodes_for_other_sizes_and_limits(
    adult: Any, k: int, limit: float, node: tuple[int, ...], metric: float
) -> None:
    table, config = adult
    found = anonymise(table, replace(config, model=Model(k=k, suppression_limit=limit)))
    assert tuple(found.node.values()) == node
    assert found.metric_value == pytest.approx(metric, rel=1e-12)


def of_occupation(config: RiskConfig, model: Model, *, distance: str = "equal") -> RiskConfig:
    """Occupation is sensitive, the eight other columns identify."""
    tree = next(qi.hierarchy for qi in config.qis if qi.name == "occupation")
    qis = tuple(qi for qi in config.qis if qi.name != "occupation")
    return replace(config, qis=qis, sensitive=(Sensitive("occupation", distance, hierarchy=tree),), model=model)


@pytest.mark.slow
def test_optimal_nodes_for_occupation_as_the_sensitive_value(adult: Any) -> None:
    table, config = adult
    far = Model(k=5, t=0.2, suppression_limit=0.04)
    published = [
        (Model(k=1, l=LDiversity("entropy", 5.0)), "equal", (1, 1, 1, 1, 3, 2, 2, 1), 324620.5269918692),
        (far, "hierarchical", (1, 4, 0, 0, 3, 2, 2, 1), 377622.78458729305),
        (replace(far, suppression_limit=0.0), "hierarchical", (0, 4, 1, 1, 3, 2, 2, 1), 398400.0741806447),
        (Model(k=5, t=0.2, metric="discernibility"), "equal", (1, 4, 1, 1, 3, 2, 2, 1), 4.56853172e8),
        (Model(k=5, t=0.1, metric="discernibility"), "ordered", (1, 1, 1, 2, 3, 2, 2, 1), 9.786802e7),
    ]
    for model, distance, node, metric in published:
        found = anonymise(table, of_occupation(config, model, distance=distance))
        assert tuple(found.node.values()) == node
        assert found.metric_value == pytest.approx(metric, rel=1e-12)
        assert found.optimal
    with pytest.raises(InvalidError):  # fewer than 100 occupations
        anonymise(table, of_occupation(config, Model(k=1, l=LDiversity("distinct", 100.0), suppression_limit=0.04)))


@pytest.mark.parametrize(
    ("population", "dankar"), [(5, 0.3577099234829125), (100, 0.1446083531167384), (1, 0.5142895033485844)]
)
def test_the_choice_among_estimates_for_other_sampling_fractions(adult: Any, population: int, dankar: float) -> None:
    table, config = adult
    found = assess(table, replace(config, population=Population(size=population * 30_162)))
    assert found.population_uniqueness.dankar == pytest.approx(dankar, rel=1e-7)


def test_pitman_is_found_for_five_columns_where_newtons_steps_run_away(adult: Any) -> None:
    """The top of the likelihood was looked for with another optimiser: θ 125.697, α 0.575873."""
    table, config = adult
    names = ("sex", "age", "race", "education", "native-country")
    found = assess(table, replace(config, qis=tuple(qi for qi in config.qis if qi.name in names)))
    assert found.population_uniqueness.pitman == pytest.approx(0.0368820901, rel=1e-6)
