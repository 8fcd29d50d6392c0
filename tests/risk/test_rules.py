"""The engine against a plain second opinion, on many small tables."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enclave.core.errors import InvalidError
from enclave.risk.config import LDiversity, Model, Population, Qi, RiskConfig, Sensitive
from enclave.risk.engine import anonymise, assess
from enclave.risk.hierarchy import make_hierarchy

AGES = make_hierarchy([(str(a), f"{a // 2 * 2}-", f"{a // 4 * 4}+", "*") for a in range(8)], name="age")
SEXES = make_hierarchy([("f", "*"), ("m", "*")], name="sex")
TOWNS = make_hierarchy([(t, t[0], "*") for t in ("ab", "ac", "bb", "bc")], name="town")
QIS = (Qi("age", AGES), Qi("sex", SEXES), Qi("town", TOWNS))
NAMES = [qi.name for qi in QIS]
HIERARCHIES = {"age": AGES, "sex": SEXES, "town": TOWNS}

row = st.tuples(
    st.integers(0, 7).map(str), st.sampled_from("fm"), st.sampled_from(["ab", "ac", "bb", "bc"]), st.sampled_from("xyz")
)
tables = st.lists(row, min_size=1, max_size=60)
quick = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def table(rows: list[Any], *, subjects: list[str] | None = None) -> Any:
    columns = {name: pa.array([r[i] for r in rows], pa.string()) for i, name in enumerate([*NAMES, "d"])}
    if subjects is not None:
        columns["p"] = pa.array(subjects, pa.string())
    return pa.table(columns)


def config(**changes: Any) -> RiskConfig:
    return RiskConfig(qis=QIS, **changes)


def raised(value: str, level: int, name: str) -> str:
    return next(r[level] for r in HIERARCHIES[name].rows if r[0] == value)


def entropy(rows: list[Any], node: tuple[int, ...]) -> float:
    cost = 0.0
    for i, name in enumerate(NAMES):
        before = Counter(r[i] for r in rows)
        after = Counter(raised(r[i], node[i], name) for r in rows)
        cost += sum(-math.log2(before[r[i]] / after[raised(r[i], node[i], name)]) for r in rows)
    return cost


def suppressed(rows: list[Any], node: tuple[int, ...], k: int) -> int:
    classes = Counter(tuple(raised(r[i], node[i], n) for i, n in enumerate(NAMES)) for r in rows)
    return sum(size for size in classes.values() if size < k)


@quick
@given(tables)
def test_classes_and_risks_are_those_of_a_plain_count(rows: list[Any]) -> None:
    sizes = Counter(r[:3] for r in rows)
    found = assess(table(rows), config(model=Model(k=3)))
    assert (found.records, found.subjects) == (len(rows), len(rows))
    assert (found.classes, found.k) == (len(sizes), min(sizes.values()))
    assert found.unique_records == sum(size == 1 for size in sizes.values())
    assert found.prosecutor.max == 1 / min(sizes.values())
    assert found.prosecutor.average == len(sizes) / len(rows)
    assert found.prosecutor.share_at_risk == sum(s for s in sizes.values() if s < 3) / len(rows)
    assert found.journalist.max is None
    assert found.population_uniqueness.pitman is None


@quick
@given(tables, st.data())
def test_classes_are_counted_by_subject(rows: list[Any], data: Any) -> None:
    subjects = [data.draw(st.sampled_from("ABCDEFG")) for _ in rows]
    classes: dict[Any, set[str]] = defaultdict(set)
    for r, subject in zip(rows, subjects, strict=True):
        classes[r[:3]].add(subject)
    found = assess(table(rows, subjects=subjects), config(subject="p"))
    assert found.subjects == len(set(subjects))
    assert found.k == min(len(members) for members in classes.values())
    places: dict[str, set[Any]] = defaultdict(set)
    for key, members in classes.items():
        for subject in members:
            places[subject].add(key)
    assert found.conflicting_subjects == sum(len(keys) > 1 for keys in places.values())


@quick
@given(st.lists(st.tuples(*[st.one_of(st.none(), st.sampled_from("ab"))] * 3), min_size=1, max_size=25))
def test_null_is_read_in_three_ways(rows: list[Any]) -> None:
    columns = {name: pa.array([r[i] for r in rows], pa.string()) for i, name in enumerate(NAMES)}
    plain = RiskConfig(qis=tuple(Qi(name) for name in NAMES))
    found = assess(pa.table(columns), plain).null_semantics
    matches = [
        sum(all(a is None or b is None or a == b for a, b in zip(r, o, strict=True)) for o in rows) for r in rows
    ]
    complete = Counter(r for r in rows if None not in r)
    assert found == {
        "own_category": min(Counter(rows).values()),
        "wildcard": min(matches),
        "drop": min(complete.values()) if complete else None,
    }
    wild = assess(pa.table(columns), RiskConfig(qis=plain.qis, nulls="wildcard"))
    assert wild.k == min(matches)
    assert wild.prosecutor.average == pytest.approx(sum(1 / m for m in matches) / len(rows))
    if complete:
        dropped = assess(pa.table(columns), RiskConfig(qis=plain.qis, nulls="drop"))
        assert (dropped.k, dropped.null_semantics) == (min(complete.values()), found)


@quick
@given(tables)
def test_diversity_and_closeness_are_those_of_their_definitions(rows: list[Any]) -> None:
    overall = Counter(r[3] for r in rows)
    q = {v: n / len(rows) for v, n in overall.items()}
    order = sorted(q)
    classes: dict[Any, Counter[str]] = defaultdict(Counter)
    for r in rows:
        classes[r[:3]][r[3]] += 1
    equal, ordered, l_entropy, beta, recursive = [], [], [], [], []
    for values in classes.values():
        p = {v: values[v] / values.total() for v in order}
        equal.append(sum(abs(p[v] - q[v]) for v in order) / 2)
        sums = itertools.accumulate(p[v] - q[v] for v in order)
        ordered.append(sum(map(abs, sums)) / max(len(order) - 1, 1) if len(order) > 1 else 0.0)
        l_entropy.append(math.exp(-sum(x * math.log(x) for x in p.values() if x)))
        beta.append(max(max((p[v] - q[v]) / q[v], 0) for v in order))
        ranked = sorted(values.values(), reverse=True)
        recursive.append(ranked[0] / sum(ranked[1:]) if len(ranked) > 1 else math.inf)
    found = assess(table(rows), config(sensitive=(Sensitive("d"),)))
    assert found.l["d"].distinct == min(len(values) for values in classes.values())
    assert found.l["d"].entropy == pytest.approx(min(l_entropy))
    assert found.l["d"].recursive_c == (pytest.approx(max(recursive)) if math.isfinite(max(recursive)) else None)
    assert found.t["d"] == pytest.approx(max(equal))
    assert found.beta["d"] == pytest.approx(max(beta))
    by_order = assess(table(rows), config(sensitive=(Sensitive("d", distance="ordered"),)))
    assert by_order.t["d"] == pytest.approx(max(ordered), abs=1e-12)


@quick
@given(tables)
def test_hierarchical_distance_of_a_flat_tree_is_the_equal_distance(rows: list[Any]) -> None:
    flat = make_hierarchy([("x", "*"), ("y", "*"), ("z", "*")], name="d")
    equal = assess(table(rows), config(sensitive=(Sensitive("d"),))).t["d"]
    tree = assess(table(rows), config(sensitive=(Sensitive("d", distance="hierarchical", hierarchy=flat),))).t["d"]
    assert tree == pytest.approx(equal)


@quick
@given(tables, st.integers(1, 4), st.sampled_from([0.0, 0.1, 0.3]))
def test_the_node_found_is_the_best_of_all(rows: list[Any], k: int, limit: float) -> None:
    nodes = itertools.product(range(4), range(2), range(3))
    room = math.floor(limit * len(rows) + 1e-9)
    feasible = [node for node in nodes if suppressed(rows, node, k) <= room]
    asked = config(model=Model(k=k, suppression_limit=limit))
    if not feasible:
        with pytest.raises(InvalidError) as caught:
            anonymise(table(rows), asked)
        assert caught.value.code == "not_feasible"
        return
    costs = {node: round(entropy(rows, node), 6) for node in feasible}
    found = anonymise(table(rows), asked)
    assert round(found.metric_value, 6) == min(costs.values())
    assert found.optimal
    assert found.suppressed == suppressed(rows, tuple(found.node.values()), k)
    assert found.assessment_after.k is not None
    assert found.assessment_after.k >= k


@quick
@given(tables, st.sampled_from(["loss", "discernibility", "average_class_size"]))
def test_other_metrics_also_hold_the_model_and_are_minimal_where_they_are_simple(rows: list[Any], metric: str) -> None:
    if len(rows) < 2:
        return
    found = anonymise(table(rows), config(model=Model(k=2, metric=metric)))
    assert found.optimal
    assert found.suppressed == 0
    classes = [
        Counter(tuple(raised(r[i], node[i], n) for i, n in enumerate(NAMES)) for r in rows)
        for node in itertools.product(range(4), range(2), range(3))
        if suppressed(rows, node, 2) == 0
    ]
    if metric == "discernibility":
        assert found.metric_value == min(sum(size**2 for size in sizes.values()) for sizes in classes)
    if metric == "average_class_size":
        assert found.metric_value == pytest.approx(min(len(rows) / len(sizes) for sizes in classes))


@quick
@given(tables, st.sampled_from(["distinct", "entropy", "recursive"]), st.sampled_from([0.2, 0.5]))
def test_l_and_t_hold_after_anonymisation(rows: list[Any], kind: str, t: float) -> None:
    model = Model(k=2, l=LDiversity(kind=kind, value=2.0, c=2.0), t=t, suppression_limit=0.3)
    try:
        found = anonymise(table(rows), config(sensitive=(Sensitive("d"),), model=model))
    except InvalidError as error:
        assert error.code == "not_feasible"
        return
    after = found.assessment_after.l["d"]
    assert after.distinct is not None
    assert after.distinct >= 2
    if kind == "entropy":
        assert after.entropy is not None
        assert after.entropy >= 2 - 1e-9
    if kind == "recursive":
        assert after.recursive_c is not None
        assert after.recursive_c < 2


@quick
@given(tables, st.integers(1, 3))
def test_a_larger_k_never_costs_less(rows: list[Any], k: int) -> None:
    def cost(k: int) -> float:
        try:
            return anonymise(table(rows), config(model=Model(k=k))).metric_value
        except InvalidError:
            return math.inf

    assert cost(k) <= cost(k + 1) + 1e-9


def test_the_journalist_sees_the_population() -> None:
    rows = [("0", "f", "ab", "x"), ("0", "f", "ab", "x"), ("1", "m", "ab", "y")]
    people = pa.table({"age": ["0", "1"], "sex": ["f", "m"], "town": ["ab", "ab"], "n": [10, 4]})
    asked = config(population=Population(), population_table=people)
    found = assess(table(rows), asked)
    assert (found.journalist.max, found.journalist.average) == (0.25, pytest.approx((2 / 10 + 1 / 4) / 3))
    assert found.marketer == found.journalist.average


def test_the_journalist_sees_the_population_as_coarse_as_the_table() -> None:
    rows = [("0", "f", "ab", "x"), ("1", "f", "ab", "x"), ("1", "f", "ab", "y")]
    people = pa.table({"age": ["0", "1", "7"], "sex": ["f"] * 3, "town": ["ab"] * 3, "n": [10, 6, 100]})
    found = anonymise(table(rows), config(model=Model(k=3), population_table=people))
    assert found.node == {"age": 1, "sex": 0, "town": 0}
    assert found.assessment_before.journalist.max == 1 / 6
    assert found.assessment_after.journalist.max == 1 / 16


def test_thresholds_compare_integers() -> None:
    rows = [("0", "f", "ab", "x")] * 11
    assert assess(table(rows), config(model=Model(k=11))).prosecutor.share_at_risk == 0
    assert assess(table(rows[:10]), config(model=Model(k=11))).prosecutor.share_at_risk == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"qis": (Qi("nowhere"),)}, "without them"),
        ({"qis": (Qi("age", make_hierarchy([("0", "*")], name="age")),)}, "missing"),
    ],
)
def test_bad_input_is_named_without_its_values(change: Any, words: str) -> None:
    rows = [("7", "f", "ab", "x"), ("6", "f", "ab", "x")]
    with pytest.raises(InvalidError) as caught:
        anonymise(table(rows), RiskConfig(**change))
    assert words in caught.value.message
    assert "7" not in caught.value.message


def test_an_empty_table_is_refused_and_one_row_is_measured() -> None:
    with pytest.raises(InvalidError):
        assess(table([]), config())
    found = assess(table([("0", "f", "ab", "x")]), config())
    assert (found.k, found.sample_uniqueness) == (1, 1.0)


@pytest.mark.parametrize(
    "columns",
    [
        pa.table([pa.array(["a"]), pa.array(["b"])], names=["age", "age"]),
        pa.table({"age": pa.array([["a"]])}),
        pa.table({"age": pa.array([{"a": 1}])}),
    ],
)
def test_columns_that_are_no_plain_values_are_invalid(columns: Any) -> None:
    with pytest.raises(InvalidError):
        assess(columns, RiskConfig(qis=(Qi("age"),)))


@pytest.mark.parametrize("value", [float("inf"), 1e300, 0.5, True, b"x"])
def test_odd_values_are_values(value: Any) -> None:
    assert assess(pa.table({"age": pa.array([value, value])}), RiskConfig(qis=(Qi("age"),))).k == 2


def test_all_null_is_one_class() -> None:
    columns = {name: pa.array([None] * 4, pa.string()) for name in NAMES}
    found = assess(pa.table(columns), RiskConfig(qis=tuple(Qi(n) for n in NAMES)))
    assert (found.k, found.null_semantics["drop"]) == (4, None)


def test_numbers_match_the_text_of_a_hierarchy() -> None:
    ages = pa.table({"age": pa.array([0.0, 1.0, None, 1.0]), "sex": ["f"] * 4, "town": ["ab"] * 4})
    found = anonymise(ages, config(model=Model(k=4)))
    assert found.table.column("age").to_pylist() == ["*"] * 4


def test_a_lattice_that_is_too_large_says_that_it_is_not_optimal() -> None:
    deep = [Qi(f"c{i}", make_hierarchy([(str(v), *[str(v)] * 30, "*") for v in range(3)], name="c")) for i in range(5)]
    columns = {qi.name: pa.array([str(j % 3) for j in range(9)]) for qi in deep}
    found = anonymise(pa.table(columns), RiskConfig(qis=tuple(deep), model=Model(k=2)))
    assert (found.optimal, found.nodes_total) == (False, 32**5)
    assert found.assessment_after.k is not None
    assert found.assessment_after.k >= 2
