"""Each measure against its definition, counted out plainly on small tables."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave.core.errors import InvalidError
from enclave.risk.config import (
    BetaLikeness,
    Context,
    LDiversity,
    Model,
    Population,
    Qi,
    RiskConfig,
    Sensitive,
    smallest_class,
)
from enclave.risk.engine import anonymise, assess
from enclave.risk.hierarchy import make_hierarchy
from enclave.risk.individual import individual_risks

pytestmark = pytest.mark.row("S13.1")
quick = settings(max_examples=20, deadline=None)
pairs = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("uvwxyz")), min_size=1, max_size=40)
TREE = make_hierarchy(
    [
        (value, path[0], path[1], "*")
        for value, path in zip("uvwxyz", ("1I", "1I", "2I", "3J", "3J", "4J"), strict=True)
    ],
    name="s",
)


def table(rows: list[tuple[str, str]], **more: list[Any]) -> Any:
    return pa.table({"q": [r[0] for r in rows], "s": [r[1] for r in rows], **more})


def config(**changes: Any) -> RiskConfig:
    return RiskConfig(qis=(Qi("q"),), sensitive=(Sensitive("s"),), **changes)


def shares(rows: list[tuple[str, str]]) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """The distribution in each class, and that of the table."""
    classes: dict[str, Counter[str]] = defaultdict(Counter)
    for q, s in rows:
        classes[q][s] += 1
    whole = Counter(s for _, s in rows)
    q = {value: n / len(rows) for value, n in whole.items()}
    return {name: {v: found[v] / found.total() for v in q} for name, found in classes.items()}, q


# ── attribute disclosure ────────────────────────────────────────────────────


@quick
@given(pairs)
def test_enhanced_beta_is_the_least_beta_that_also_respects_minus_log_q(rows: list[tuple[str, str]]) -> None:
    classes, q = shares(rows)
    gains = [((p[v] - q[v]) / q[v], -math.log(q[v])) for p in classes.values() for v in q if p[v] > q[v]]
    found = assess(table(rows), config()).enhanced_beta["s"]
    if any(gain > limit + 1e-12 for gain, limit in gains):
        assert found is None
    else:
        assert found == pytest.approx(max((gain for gain, _ in gains), default=0.0))


@quick
@given(pairs)
def test_delta_is_the_largest_log_ratio_and_not_available_when_a_value_is_absent(rows: list[tuple[str, str]]) -> None:
    classes, q = shares(rows)
    found = assess(table(rows), config()).delta["s"]
    if any(p[v] == 0 for p in classes.values() for v in q):
        assert found is None
    else:
        assert found == pytest.approx(max(abs(math.log(p[v] / q[v])) for p in classes.values() for v in q))


@quick
@given(pairs)
def test_hierarchical_closeness_is_the_transport_cost_on_the_tree(rows: list[tuple[str, str]]) -> None:
    """On a tree the cheapest transport moves |P − Q| of each subtree over the edge above it; each edge is 1/2H."""
    classes, q = shares(rows)
    expected = 0.0
    for p in classes.values():
        cost = 0.0
        for level in range(3):
            under: dict[str, float] = defaultdict(float)
            for row in TREE.rows:
                under[row[level]] += p.get(row[0], 0.0) - q.get(row[0], 0.0)
            cost += sum(map(abs, under.values())) / 6
        expected = max(expected, cost)
    column = Sensitive("s", distance="hierarchical", hierarchy=TREE)
    found = assess(table(rows), RiskConfig(qis=(Qi("q"),), sensitive=(column,)))
    assert found.t["s"] == pytest.approx(expected, abs=1e-12)


def test_values_of_several_trees_are_as_far_apart_as_can_be() -> None:
    forest = make_hierarchy([("u", "1"), ("v", "1"), ("w", "2")], name="s")
    column = Sensitive("s", distance="hierarchical", hierarchy=forest)
    asked = RiskConfig(qis=(Qi("q"),), sensitive=(column,))
    assert assess(table([("a", "u"), ("b", "w")]), asked).t["s"] == pytest.approx(0.5)
    assert assess(table([("a", "u"), ("b", "v")]), asked).t["s"] == pytest.approx(0.25)


@quick
@given(pairs, st.integers(1, 4))
def test_recursive_c_is_the_first_count_over_the_tail(rows: list[tuple[str, str]], l: int) -> None:  # noqa: E741 - the name in the literature
    worst = 0.0
    classes: dict[str, Counter[str]] = defaultdict(Counter)
    for q, s in rows:
        classes[q][s] += 1
    for found in classes.values():
        ranked = sorted(found.values(), reverse=True)
        tail = sum(ranked[l - 1 :])
        worst = max(worst, ranked[0] / tail if tail else math.inf)
    measured = assess(table(rows), config(model=Model(l=LDiversity("recursive", float(l))))).l["s"].recursive_c
    assert measured == (pytest.approx(worst) if math.isfinite(worst) else None)


AGES = make_hierarchy([(str(a), f"{a // 2}", f"{a // 4}", "*") for a in range(8)], name="age")
SEXES = make_hierarchy([("f", "*"), ("m", "*")], name="sex")
people = st.lists(st.tuples(st.integers(0, 7), st.sampled_from("fm"), st.sampled_from("xy")), min_size=2, max_size=40)


@settings(max_examples=5, deadline=None)
@given(people, st.sampled_from([{"t": 0.25}, {"beta": BetaLikeness("basic", 0.8)}, {"delta": 0.9}]))
def test_the_best_node_for_measures_of_shares_is_the_best_of_all(rows: list[Any], wanted: dict[str, Any]) -> None:
    data = pa.table({"age": [str(r[0]) for r in rows], "sex": [r[1] for r in rows], "s": [r[2] for r in rows]})
    asked = RiskConfig(qis=(Qi("age", AGES), Qi("sex", SEXES)), sensitive=(Sensitive("s"),), model=Model(k=2, **wanted))
    costs = {}
    for node in ((a, s) for a in range(4) for s in range(2)):
        raised = pa.table({
            "age": [AGES.rows[r[0]][node[0]] for r in rows],
            "sex": ["*" if node[1] else r[1] for r in rows],
            "s": [r[2] for r in rows],
        })  # fmt: skip
        if all(assess(raised, asked).holds.values()):
            costs[node] = _entropy(rows, node)
    try:
        found = anonymise(data, asked)
    except InvalidError as error:
        assert error.code == "not_feasible"
        assert not costs
        return
    assert found.optimal
    assert found.metric_value == pytest.approx(min(costs.values()), abs=1e-9)
    assert all(found.assessment_after.holds.values())


def _entropy(rows: list[Any], node: tuple[int, int]) -> float:
    cost = 0.0
    for i, tree in enumerate((AGES, SEXES)):
        raised = {row[0]: row[node[i]] for row in tree.rows}
        before = Counter(str(r[i]) for r in rows)
        after = Counter(raised[str(r[i])] for r in rows)
        cost -= sum(math.log2(before[str(r[i])] / after[raised[str(r[i])]]) for r in rows)
    return cost


@settings(max_examples=10, deadline=None)
@given(people, st.sampled_from([{"t": 0.2}, {"delta": 0.7}, {"beta": BetaLikeness("enhanced", 0.6)}]))
def test_what_is_released_holds_the_model_by_its_own_distribution(rows: list[Any], wanted: dict[str, Any]) -> None:
    """Suppression shifts the distribution that closeness is measured by; the released table alone must hold."""
    data = pa.table({"age": [str(r[0]) for r in rows], "sex": [r[1] for r in rows], "s": [r[2] for r in rows]})
    model = Model(k=2, suppression_limit=0.5, **wanted)
    try:
        found = anonymise(data, RiskConfig(qis=(Qi("age", AGES), Qi("sex")), sensitive=(Sensitive("s"),), model=model))
    except InvalidError as error:
        assert error.code == "not_feasible"
        return
    assert all(found.assessment_after.holds.values())
    assert found.suppressed <= 0.5 * len(rows)


# ── identity disclosure ─────────────────────────────────────────────────────


@pytest.mark.parametrize("p", [0.05, 0.45, 0.5, 0.8, 1.0])
def test_individual_risk_is_the_expected_reciprocal_of_the_population_class(p: float) -> None:
    for f in (1, 2, 3, 10, 63, 64, 65, 200):
        expected, log_q = 0.0, math.log1p(-p) if p < 1 else -math.inf
        for more in range(40_000 if p < 1 else 1):
            log_term = math.lgamma(f + more) - math.lgamma(f) - math.lgamma(more + 1) + f * math.log(p)
            term = math.exp(log_term + (more * log_q if more else 0.0))
            expected += term / (f + more)
            if more > f / p and term < 1e-15:
                break
        found = individual_risks(np.array([f]), np.array([p]))[0]
        assert found == pytest.approx(expected, rel=1e-8)


def test_individual_risk_of_a_sample_unique_is_the_published_closed_form() -> None:
    """Franconi and Polettini (2004): for f = 1, p/(1 − p)·ln(1/p); for f = 2, p/q²·(p·ln p + q)."""
    p = 0.1
    found = individual_risks(np.array([1, 2]), np.array([p, p]))
    assert found[0] == pytest.approx(p / (1 - p) * math.log(1 / p))
    assert found[1] == pytest.approx(p / (1 - p) ** 2 * (p * math.log(p) + 1 - p))


def test_individual_risk_over_a_table_counts_subjects() -> None:
    rows = [("a", "u"), ("b", "u"), ("b", "u")]
    found = assess(table(rows), config(population=Population(size=30))).individual
    one, two = individual_risks(np.array([1, 2]), np.array([0.1, 0.1]))
    assert found.max == pytest.approx(one)
    assert found.expected == pytest.approx(one + 2 * two)
    assert found.average == pytest.approx((one + 2 * two) / 3)
    assert assess(table(rows), config()).individual.max is None


counts = st.dictionaries(st.sampled_from("abcde"), st.integers(0, 9), min_size=1)


@quick
@given(pairs, counts)
def test_presence_and_k_map_are_those_of_a_plain_count(rows: list[tuple[str, str]], population: dict[str, int]) -> None:
    sample = Counter(q for q, _ in rows)
    census = pa.table({"q": list(population), "n": list(population.values())})
    found = assess(table(rows), config(population_table=census))
    real = {name: max(population.get(name, 0), n) for name, n in sample.items()}
    ratios = [sample[name] / n for name, n in real.items()]
    ratios += [0.0 for name, n in population.items() if n and name not in sample]
    assert found.presence.min == pytest.approx(min(ratios))
    assert found.presence.max == pytest.approx(max(ratios))
    assert found.journalist.k_map == min(real.values())
    assert ("population_smaller_than_sample" in found.flags) == any(population.get(n, 0) < sample[n] for n in sample)


def test_presence_can_be_asked_for() -> None:
    census = pa.table({"q": ["a", "b"], "n": [4, 10]})
    rows = [("a", "u"), ("a", "u"), ("b", "u")]
    asked = config(population_table=census, model=Model(k=1, presence=(0.05, 0.5)))
    assert assess(table(rows), asked).holds["presence"]
    assert not assess(table(rows), replace(asked, model=Model(k=1, presence=(0.2, 0.5)))).holds["presence"]
    assert not assess(table(rows), replace(asked, model=Model(k=1, presence=(0.05, 0.4)))).holds["presence"]
    with pytest.raises(InvalidError):
        assess(table(rows), config(model=Model(presence=(0.0, 0.5))))


def test_the_strict_average_is_not_available_while_a_class_is_too_small() -> None:
    rows = [("a", "u")] * 2 + [("b", "u")] * 4
    loose = assess(table(rows), config(model=Model(floor=2, average=0.4)))
    assert loose.strict_average is not None
    assert loose.strict_average.average == pytest.approx(2 / 6)
    assert loose.holds["average"]
    strict = assess(table(rows), config(model=Model(floor=3, average=0.4)))
    assert strict.strict_average is not None
    assert strict.strict_average.average is None
    assert not strict.holds["average"]


def test_risk_in_context_is_that_of_the_likeliest_attack() -> None:
    rows = [("a", "u")] * 2 + [("b", "u")] * 4
    where = Context(attempt=0.3, prevalence=0.01, acquaintances=150, breach=0.27, threshold=0.3)
    found = assess(table(rows), config(context=where))
    known = 1 - 0.99**150
    assert found.context.attempt == pytest.approx(0.3 * 2 / 6)
    assert found.context.acquaintance == pytest.approx(known * 2 / 6)
    assert found.context.breach == pytest.approx(0.27 * 2 / 6)
    assert found.context.average == pytest.approx(known * 2 / 6)
    assert found.context.max == pytest.approx(known / 2)
    assert found.holds["context"]
    assert assess(table(rows), config()).context.average is None
    assert not assess(table(rows), config(context=Context(threshold=0.9))).holds["context"]


@pytest.mark.parametrize(
    ("risk", "k"), [(0.09, 11), (0.05, 20), (0.2, 5), (0.33, 3), (0.5, 2), (0.17, 6), (0.4, 3), (0.075, 14), (1.0, 1)]
)
def test_a_highest_risk_stands_for_a_class_size(risk: float, k: int) -> None:
    assert smallest_class(risk) == k


@given(st.integers(1, 400), st.integers(2, 6))
def test_a_class_size_written_as_its_cut_share_is_read_as_that_size(k: int, decimals: int) -> None:
    if k * k < 10**decimals:  # beyond, neighbours share their decimals
        assert smallest_class(math.floor(10**decimals / k) / 10**decimals) == k


@quick
@given(st.lists(st.tuples(*[st.one_of(st.none(), st.sampled_from("ab"))] * 2), min_size=1, max_size=20))
def test_each_reading_of_null_has_its_measures(rows: list[Any]) -> None:
    data = pa.table(
        {"q": pa.array([r[0] for r in rows], pa.string()), "r": pa.array([r[1] for r in rows], pa.string())}
    )
    asked = RiskConfig(qis=(Qi("q"), Qi("r")), model=Model(k=3))
    found = assess(data, asked).null_readings
    own = Counter(rows)
    complete = {r: n for r, n in own.items() if None not in r}
    alike = [sum(all(None in (a, b) or a == b for a, b in zip(r, o, strict=True)) for o in rows) for r in rows]
    assert found["own_category"].average == pytest.approx(len(own) / len(rows))
    assert found["wildcard"].average == pytest.approx(sum(1 / n for n in alike) / len(rows))
    assert found["wildcard"].share_at_risk == sum(n < 3 for n in alike) / len(rows)
    assert found["drop"].records == sum(complete.values())
    assert found["drop"].average == (pytest.approx(len(complete) / sum(complete.values())) if complete else None)
    assert found["drop"].unique_records == sum(n == 1 for n in complete.values())
