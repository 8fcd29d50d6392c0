"""Published reference values on the Adult data set."""

from __future__ import annotations

from typing import Any

import pytest

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
