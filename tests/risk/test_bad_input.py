"""Odd and hostile tables: a clear error or a clear flag, and no value of the data in either."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave.core.errors import EnclaveError, InvalidError
from enclave.risk import classes
from enclave.risk.config import LDiversity, Model, Population, Qi, RiskConfig, Sensitive
from enclave.risk.engine import anonymise, assess
from enclave.risk.hierarchy import make_hierarchy

pytestmark = pytest.mark.row("S13.1")
AB = (Qi("a"), Qi("b"))
TREE = make_hierarchy([("secret-x", "g", "*"), ("secret-y", "g", "*")], name="a")


def table(**columns: list[Any]) -> Any:
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


@pytest.mark.parametrize(
    ("data", "asked", "words"),
    [
        (table(a=["secret-x"]), RiskConfig(qis=AB), "the columns b"),
        (table(a=[], b=[]), RiskConfig(qis=AB), "an empty one"),
        (table(a=["secret-x", None], b=["1", "2"]), RiskConfig(qis=AB, subject="a"), "one role"),
        (table(a=["1"], b=["2"], p=[None]), RiskConfig(qis=AB, subject="p"), "1 without one"),
        (table(a=[None], b=["2"]), RiskConfig(qis=AB, nulls="drop"), "without nulls"),
        (table(a=["secret-x"], b=["2"]), RiskConfig(qis=(Qi("a"), Qi("a"))), "once"),
        (table(a=["1"], b=["2"]), RiskConfig(qis=tuple(Qi(f"c{i}") for i in range(33))), "33"),
    ],
)
def test_a_table_that_cannot_be_measured_is_refused_in_words(data: Any, asked: RiskConfig, words: str) -> None:
    data = data if "c0" not in {qi.name for qi in asked.qis} else table(**{f"c{i}": ["1"] for i in range(33)})
    with pytest.raises(InvalidError) as caught:
        assess(data, asked)
    assert words in caught.value.message
    assert "secret" not in caught.value.message


def test_values_that_a_hierarchy_lacks_are_counted_with_their_level() -> None:
    data = table(a=["secret-x", "secret-z", "secret-w"], b=["1"] * 3)
    with pytest.raises(InvalidError) as caught:
        anonymise(data, RiskConfig(qis=(Qi("a", TREE), Qi("b"))))
    assert "at level 0, 2 of 3" in caught.value.message
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    ("data", "flags"),
    [
        (table(a=["1"], b=["2"]), ("one_row",)),
        (table(a=[None] * 3, b=["2"] * 3), ("all_null:a",)),
        (table(a=["1", "2"], b=["1", "1"], p=["p", "p"]), ("subjects_with_conflicting_attributes",)),
        (table(a=["1", "1"], b=["1", "1"], p=["p", "p"]), ()),
    ],
)
def test_odd_tables_are_measured_and_flagged(data: Any, flags: tuple[str, ...]) -> None:
    subject = "p" if "p" in data.column_names else None
    found = assess(data, RiskConfig(qis=AB, subject=subject, population=Population(size=100)))
    assert found.flags == flags
    assert found.to_json()["flags"] == list(flags)


def test_a_population_smaller_than_the_table_is_flagged() -> None:
    found = assess(table(a=["1", "2"], b=["1", "1"]), RiskConfig(qis=AB, population=Population(size=1)))
    assert found.flags == ("population_smaller_than_sample",)
    assert found.individual.max is None


def test_what_the_search_does_not_steer_by_must_hold_too() -> None:
    data = table(a=["1", "1", "2", "2"], b=["1"] * 4)
    census = pa.table({"a": ["1", "2", "*"], "b": ["1", "1", "*"], "n": [2, 2, 9]})
    asked = RiskConfig(qis=AB, model=Model(k=2, presence=(0.0, 0.5)), population_table=census)
    with pytest.raises(InvalidError) as caught:
        anonymise(data, asked)
    assert caught.value.code == "not_feasible"
    assert "misses presence" in caught.value.message


def test_more_than_eleven_quasi_identifiers_are_measured_searched_and_flagged() -> None:
    columns = {f"c{i}": ["0", "1"] * 4 for i in range(12)}
    qis = tuple(Qi(name) for name in columns)
    found = anonymise(table(**columns), RiskConfig(qis=qis, model=Model(k=4)))
    assert found.assessment_before.flags == ("more_than_11_quasi_identifiers",)
    assert (found.optimal, found.nodes_total, found.suppressed) == (True, 4096, 0)


def test_a_lattice_of_more_than_a_million_nodes_is_searched_within_bounds() -> None:
    columns = {f"c{i}": ["0", "1"] * 4 for i in range(21)}
    qis = tuple(Qi(name) for name in columns)
    found = anonymise(table(**columns), RiskConfig(qis=qis, model=Model(k=4)))
    assert (found.optimal, found.nodes_total) == (False, 2**21)
    assert found.nodes_evaluated < 1000


def test_a_large_lattice_whose_top_does_not_hold_is_looked_through_below_it() -> None:
    """All rows together are not diverse; with the first column kept, half of them are and the others may go."""
    columns = {f"c{i}": ["0"] * 4 + ["1"] * 12 for i in range(21)}
    data = table(**columns, s=["u", "v"] * 2 + ["u"] * 12)
    model = Model(k=2, l=LDiversity("entropy", 1.9), suppression_limit=0.8)
    asked = RiskConfig(qis=tuple(Qi(name) for name in columns), sensitive=(Sensitive("s"),), model=model)
    found = anonymise(data, asked)
    assert (found.suppressed, found.optimal, found.assessment_after.holds["l"]) == (12, False, True)
    hopeless = replace(asked, model=replace(model, suppression_limit=0.5))
    with pytest.raises(InvalidError, match="none of the 2000 that were tried of 2097152"):
        anonymise(data, hopeless)


def test_a_population_of_more_persons_than_can_be_counted_is_refused() -> None:
    people = pa.table({"a": ["1", "2"], "b": ["1", "1"], "n": pa.array([2**62] * 2)})
    with pytest.raises(InvalidError, match="at most 2"):
        assess(table(a=["1"], b=["1"]), RiskConfig(qis=AB, population_table=people))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(*[st.sampled_from(["x", "y", None])] * 4), min_size=1, max_size=30), st.booleans())
def test_nulls_as_wildcards_are_counted_alike_by_patterns_and_by_pairs(rows: list[Any], by_subject: bool) -> None:
    columns: dict[str, list[Any]] = {f"c{i}": [r[i] for r in rows] for i in range(4)}
    subject = "p" if by_subject else None
    people = [str(i // 2) for i in range(len(rows))]
    asked = RiskConfig(qis=tuple(Qi(f"c{i}") for i in range(4)), subject=subject, nulls="wildcard")
    data = table(**columns, p=people)
    truth = [len({people[j] if by_subject else j for j, o in enumerate(rows) if _match(r, o)}) for r in rows]
    counts = []
    for cost in (0, 1 << 40):  # one way, then the other
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(classes, "_STEP_COST", cost)
            patch.setattr(classes, "_MOST_STEPS", 1 << 62)
            counts.append(assess(data, asked).k)
    assert counts == [min(truth)] * 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classes, "_MOST_MET", 0)
        patch.setattr(classes, "_STEP_COST", 0)
        assert 1 <= (assess(data, asked).k or 0) <= min(truth)  # where subjects are too many to tell apart


def _match(one: Any, other: Any) -> bool:
    return all(a is None or b is None or a == b for a, b in zip(one, other, strict=True))


def test_too_many_patterns_of_nulls_are_not_available_and_refused_as_a_choice() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classes, "_MOST_STEPS", 0)
        data = table(a=["1", None], b=["1", "1"])
        found = assess(data, RiskConfig(qis=AB))
        assert found.null_semantics == {"own_category": 1, "wildcard": None, "drop": 1}
        assert set(found.null_readings) == {"own_category", "drop"}
        with pytest.raises(InvalidError):
            assess(data, RiskConfig(qis=AB, nulls="wildcard"))


def test_ten_columns_full_of_nulls_are_measured() -> None:
    random = np.random.default_rng(0)
    columns = {f"c{i}": [None if x == 0 else str(x) for x in random.integers(0, 3, 300)] for i in range(10)}
    found = assess(table(**columns), RiskConfig(qis=tuple(Qi(name) for name in columns)))
    assert found.null_semantics["own_category"] == 1
    assert (found.null_semantics["wildcard"] or 0) >= 1


cells = st.one_of(st.none(), st.sampled_from(["", " ", "*", "secret-x", "0", "\u0000", "é"]))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(cells, cells, cells), max_size=12), st.sampled_from(["own_category", "wildcard", "drop"]))
def test_any_text_is_measured_or_refused_without_being_shown(rows: list[Any], nulls: str) -> None:
    data = table(a=[r[0] for r in rows], b=[r[1] for r in rows], s=[r[2] for r in rows])
    asked = RiskConfig(qis=AB, nulls=nulls, sensitive=(Sensitive("s"),), population=Population(size=50))
    try:
        found = assess(data, asked)
    except EnclaveError as error:
        assert "secret" not in error.message
        return
    assert found.k is not None
    assert 1 <= found.k <= len(rows)
    for value in (found.prosecutor.max, found.prosecutor.average, found.t["s"], found.individual.average):
        assert value is None or 0 <= value <= 1
