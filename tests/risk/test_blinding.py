"""A blinded table gives the same measures and the same search, and holds no value."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave.core.errors import EnclaveError, IntegrityError
from enclave.risk.blinding import as_measured, as_searched, read_blinded
from enclave.risk.config import LDiversity, Model, Population, Qi, RiskConfig, Sensitive
from enclave.risk.engine import anonymise, assess, blinded
from enclave.risk.hierarchy import make_hierarchy

pytestmark = pytest.mark.row("S13.7")
TOWNS = make_hierarchy([(f"canary-{t}", f"canary-{t[0]}", "*") for t in ("ab", "ac", "bb", "bc")], name="town")
AGES = make_hierarchy([(str(a), f"{a // 10 * 10}er", "*") for a in range(80, 90)] + [("90+", "90er", "*")], name="age")
ILLS = make_hierarchy([("canary-u", "I", "*"), ("canary-v", "I", "*"), ("canary-w", "J", "*")], name="s")
row = st.tuples(
    st.integers(80, 99).map(str),
    st.sampled_from(["canary-ab", "canary-ac", "canary-bb", None]),
    st.sampled_from(["canary-u", "canary-v", "canary-w"]),
    st.sampled_from(["low", "mid", "high"]),
    st.integers(0, 20).map(str),
)
SENSITIVE = (
    Sensitive("s", "hierarchical", hierarchy=ILLS),
    Sensitive("grade", "ordered", order=("low", "mid", "worse", "high")),
)


def flat(value: Any) -> Any:
    """Sums in another order differ in their last digits."""
    if isinstance(value, dict):
        return {key: flat(one) for key, one in value.items()}
    return pytest.approx(value, rel=1e-9, abs=1e-12) if isinstance(value, float) and math.isfinite(value) else value


@settings(max_examples=25, deadline=None)
@given(
    st.lists(row, min_size=1, max_size=40),
    st.sampled_from([None, "p"]),
    st.sampled_from(["own_category", "wildcard", "drop"]),
    st.sampled_from(
        [
            {},
            {"l": LDiversity("distinct", 2)},
            {"t": 0.4},
            {"recoding": "rest"},
            {"recoding": "local"},
            {"metric": "loss"},
        ]
    ),
)
def test_measures_and_search_come_out_the_same_and_no_value_stands_in_it(
    rows: list[Any], subject: str | None, nulls: str, model: dict[str, Any]
) -> None:
    names = ("age", "town", "s", "grade", "p")
    table = pa.table({name: pa.array([r[i] for r in rows], pa.string()) for i, name in enumerate(names)})
    asked = RiskConfig(
        qis=(Qi("age", AGES, rule="hipaa_age"), Qi("town", TOWNS)),
        subject=subject,
        nulls=nulls,
        sensitive=SENSITIVE,
        model=Model(k=2, suppression_limit=0.4, **model),
        population=Population(size=500),
    )
    sink = pa.BufferOutputStream()
    told = blinded(table, asked, key=b"k" * 32).to_arrow()
    with pa.ipc.new_file(sink, told.schema) as writer:
        writer.write_table(told)
    assert b"canary" not in sink.getvalue().to_pybytes()
    again = read_blinded(pa.ipc.open_file(sink.getvalue()).read_all())
    config = as_measured(again, asked)
    assert outcome(lambda: dataclasses.asdict(assess(again.table, config))) == flat(
        outcome(lambda: dataclasses.asdict(assess(table, asked)))
    )
    assert outcome(lambda: searched(as_searched(again), config)) == flat(outcome(lambda: searched(table, asked)))


def searched(table: Any, asked: RiskConfig) -> dict[str, Any]:
    found = anonymise(table, asked)
    after = dataclasses.asdict(found.assessment_after)
    return {"node": found.node, "metric": found.metric_value, "suppressed": found.suppressed, "t": after["t"]}


def outcome(measure: Any) -> Any:
    """Also what is refused is refused alike."""
    try:
        return measure()
    except EnclaveError as error:
        return {"refused": error.code}


def test_equal_values_get_other_labels_in_other_columns_and_under_other_keys() -> None:
    table = pa.table({"a": ["x", "y"], "b": ["x", "x"]})
    asked = RiskConfig(qis=(Qi("a"), Qi("b")))
    one, other = (blinded(table, asked, key=key * 32).table for key in (b"1", b"2"))
    assert not set(one.column("a").to_pylist()) & set(one.column("b").to_pylist())
    assert not set(one.column("a").to_pylist()) & set(other.column("a").to_pylist())


def test_a_table_without_settings_is_not_taken_for_a_blinded_one() -> None:
    with pytest.raises(IntegrityError):
        read_blinded(pa.table({"a": ["x"]}))
