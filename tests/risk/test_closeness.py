"""Known answers for t-closeness."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from enclave.core.errors import InvalidError
from enclave.risk.config import Qi, RiskConfig, Sensitive
from enclave.risk.engine import assess
from enclave.risk.hierarchy import make_hierarchy


def closeness(groups: dict[str, list[str]], column: Sensitive) -> float:
    rows = [(group, value) for group, values in groups.items() for value in values]
    table: Any = pa.table({"q": [r[0] for r in rows], "s": [r[1] for r in rows]})
    found = assess(table, RiskConfig(qis=(Qi("q"),), sensitive=(column,))).t["s"]
    assert found is not None
    return found


def test_the_salary_example_of_the_paper() -> None:
    """Li, Li, Venkatasubramanian (2007), section 4.2: salaries 3k … 11k, ordered distance."""
    salaries = {"1": ["3", "4", "5"], "2": ["6", "8", "11"], "3": ["7", "9", "10"]}
    assert closeness(salaries, Sensitive("s", distance="ordered")) == pytest.approx(0.375)
    mixed = {"1": ["3", "5", "9"], "2": ["4", "8", "11"], "3": ["6", "7", "10"]}
    assert closeness(mixed, Sensitive("s", distance="ordered")) == pytest.approx(0.167, abs=5e-4)


def test_the_declared_order_is_the_order() -> None:
    groups = {"1": ["low"], "2": ["mid", "high"]}
    by_text = closeness(groups, Sensitive("s", distance="ordered"))
    by_order = closeness(groups, Sensitive("s", distance="ordered", order=("low", "mid", "high")))
    assert (by_text, by_order) == (pytest.approx((1 / 3 + 1 / 3) / 2), pytest.approx((2 / 3 + 1 / 3) / 2))
    with pytest.raises(InvalidError):
        closeness(groups, Sensitive("s", distance="ordered", order=("low", "mid")))


def test_hierarchical_distance_moves_within_a_branch_for_less() -> None:
    tree = make_hierarchy([("a", "G", "*"), ("b", "G", "*"), ("c", "H", "*"), ("d", "H", "*")], name="s")
    column = Sensitive("s", distance="hierarchical", hierarchy=tree)
    assert closeness({"1": ["a"], "2": ["b", "c", "d"]}, column) == pytest.approx(0.625)
    assert closeness({"1": ["a", "c"], "2": ["b", "d"]}, column) == pytest.approx(0.25)
