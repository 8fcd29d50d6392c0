"""Local recoding, of all rows or of the rest: holds the model, keeps more than one node for all, and never less."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave.core.errors import InvalidError
from enclave.risk.config import LDiversity, Model, Qi, RiskConfig, Sensitive, check_config
from enclave.risk.engine import anonymise
from enclave.risk.hierarchy import make_hierarchy

pytestmark = pytest.mark.row("S13.1")
AGES = make_hierarchy([(str(a), f"{a // 2 * 2}-", f"{a // 4 * 4}+", "*") for a in range(8)], name="age")
TOWNS = make_hierarchy([(t, t[0], "*") for t in ("ab", "ac", "bb", "bc")], name="town")
QIS = (Qi("age", AGES), Qi("town", TOWNS))
row = st.tuples(st.integers(0, 7).map(str), st.sampled_from(["ab", "ac", "bb", "bc"]), st.sampled_from("xyz"))


def table(rows: list[Any], **more: Any) -> Any:
    return pa.table({"age": [r[0] for r in rows], "town": [r[1] for r in rows], "d": [r[2] for r in rows], **more})


def lowered(rows: list[Any], *, recoding: str, **changes: Any) -> Any:
    model = Model(recoding=recoding, **changes)
    sensitive = (Sensitive("d"),) if changes.keys() & {"l", "t"} else ()
    return anonymise(table(rows), RiskConfig(qis=QIS, sensitive=sensitive, model=model))


@settings(max_examples=8, deadline=None)
@given(
    st.lists(row, min_size=2, max_size=60),
    st.sampled_from([{"k": 2}, {"k": 3}, {"k": 2, "l": LDiversity("distinct", 2)}, {"k": 2, "t": 0.5}]),
    st.sampled_from([0.0, 0.1, 0.5]),
    st.sampled_from(["rest", "local"]),
)
def test_what_is_released_holds_the_model_and_each_cell_is_true(
    rows: list[Any], wanted: dict[str, Any], limit: float, recoding: str
) -> None:
    try:
        full = lowered(rows, recoding="full_domain", suppression_limit=limit, **wanted)
    except InvalidError as error:
        assert error.code == "not_feasible"
        return
    found = lowered(rows, recoding=recoding, suppression_limit=limit, **wanted)
    assert found.suppressed <= math.floor(limit * len(rows) + 1e-9)
    assert all(found.assessment_after.holds.values())
    kept = [r for r, stays in zip(rows, found.kept, strict=True) if stays]
    assert found.table.num_rows == len(kept)
    for i, qi in enumerate(QIS):
        assert qi.hierarchy is not None
        above = {r[0]: set(r) for r in qi.hierarchy.rows}
        for value, r in zip(found.table.column(qi.name).to_pylist(), kept, strict=True):
            assert value in above[r[i]]
    assert full.entropy == pytest.approx(full.metric_value + _left_out(rows, full))
    assert found.entropy <= full.entropy + 1e-9
    if found.passes:
        assert sum(one["rows"] for one in found.passes) == len(kept)
        assert found.optimal is (recoding == "rest")
    if recoding == "rest":
        assert (found.node, found.metric_value) == (full.node, full.metric_value)
        assert found.suppressed <= full.suppressed
        assert all(one["node"][name] >= level for one in found.passes for name, level in full.node.items())
        _check_those_that_stayed(rows, full, found)


def _check_those_that_stayed(rows: list[Any], full: Any, found: Any) -> None:
    """Each row that the one node releases stands in the table as the node has it."""
    for qi in QIS:
        assert qi.hierarchy is not None
        whole, also = (iter(one.table.column(qi.name).to_pylist()) for one in (full, found))
        for was, now in zip(full.kept, found.kept, strict=True):
            assert now or not was
            value = next(also) if now else None
            if was:
                assert value == next(whole)


def _left_out(rows: list[Any], full: Any) -> float:
    """What rows that are left out cost as ``*`` in each column, above what their node costs."""
    cost = 0.0
    for i, qi in enumerate(QIS):
        assert qi.hierarchy is not None
        raised = {r[0]: r[full.node[qi.name]] for r in qi.hierarchy.rows}
        counts = Counter(raised[r[i]] for r in rows)
        left = [raised[r[i]] for r, stays in zip(rows, full.kept, strict=True) if not stays]
        cost += sum(-math.log2(counts[value] / len(rows)) for value in left)
    return cost


def test_rows_that_one_node_leaves_out_are_kept_coarser_and_no_other_changes() -> None:
    rows = [("0", "ab", "x")] * 30 + [("7", "bc", "x")] * 30 + [("4", "bb", "x"), ("5", "bb", "x"), ("3", "ac", "x")]
    full, found = (lowered(rows, recoding=how, k=3, suppression_limit=0.1) for how in ("full_domain", "rest"))
    assert (full.suppressed, found.suppressed) == (3, 0)
    assert found.table.column("age").to_pylist() == ["0"] * 30 + ["7"] * 30 + ["*"] * 3
    assert found.table.column("town").to_pylist()[60:] == ["*"] * 3
    assert [one["rows"] for one in found.passes] == [60, 3]
    assert found.metric_value == full.metric_value == 0.0
    assert found.entropy == full.entropy > 0  # * tells as little as nothing does, and still holds its row


def test_where_the_rest_is_too_small_it_is_left_out() -> None:
    rows = [("0", "ab", "x")] * 30 + [("7", "bc", "x")] * 2
    found = lowered(rows, recoding="rest", k=3, suppression_limit=0.1)
    assert (found.suppressed, found.passes, found.recoding) == (2, (), "full_domain")


def test_rare_combinations_do_not_coarsen_the_common_ones() -> None:
    rows = [("0", "ab", "x")] * 30 + [("7", "bc", "x")] * 30 + [("4", "bb", "x"), ("5", "bb", "x"), ("3", "ac", "x")]
    full, local = (lowered(rows, recoding=how, k=3) for how in ("full_domain", "local"))
    assert full.suppressed == local.suppressed == 0
    assert local.metric_value < full.metric_value
    assert local.table.column("age").to_pylist().count("0") == 30
    assert len(local.passes) == 2


def test_subjects_count_not_rows() -> None:
    rows = [("0", "ab", "x")] * 4 + [("7", "bc", "x")] * 2
    data = table(rows, p=["a", "a", "a", "a", "b", "c"])
    asked = RiskConfig(qis=QIS, subject="p", model=Model(k=2, recoding="local", suppression_limit=0.7))
    found = anonymise(data, asked)
    assert found.assessment_after.k is not None
    assert found.assessment_after.k >= 2


@pytest.mark.parametrize(
    "model",
    [
        Model(recoding="local", metric="loss"),
        Model(recoding="somehow"),
        Model(recoding="rest", presence=(0.0, 0.5)),
    ],
)
def test_what_local_recoding_cannot_do_is_refused(model: Model) -> None:
    with pytest.raises(InvalidError):
        check_config(RiskConfig(qis=QIS, model=model))
