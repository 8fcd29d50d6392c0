"""Every measure and every optimum against definitions counted out plainly, on random small tables.

Nulls, single rows, subjects with several rows, values that no row has, ties between nodes: all come up.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import plain_risk as plain
import pyarrow as pa
import pytest

from enclave.core.errors import InvalidError
from enclave.risk.assessment import Assessment
from enclave.risk.config import BetaLikeness, LDiversity, Model, Population, Qi, RiskConfig, Sensitive
from enclave.risk.engine import anonymise, assess
from enclave.risk.hierarchy import make_hierarchy
from enclave.risk.population import estimate_pitman

pytestmark = pytest.mark.row("S13.1")
SCALE = ("v", "z", "u", "y", "w", "x")
TREE = {v: (v, a, b, "*") for v, a, b in zip("uvwxyz", "112334", "IIIJJJ", strict=True)}


def near(found: float | None, wanted: float) -> bool:
    """None is how the engine says that a measure is infinite."""
    if found is None or math.isinf(wanted):
        return found is None and math.isinf(wanted)
    return math.isclose(found, wanted, rel_tol=1e-9, abs_tol=1e-11)


@dataclass(frozen=True)
class Case:
    rows: list[plain.Row]
    names: list[str]
    subject: str | None

    @property
    def table(self) -> Any:
        columns = [*self.names, "p", "s"]
        return pa.table({name: pa.array([row[name] for row in self.rows], pa.string()) for name in columns})


def some_case(chance: random.Random, values: dict[str, list[str]], *, sensitive: str) -> Case:
    missing = chance.choice([0, 0, 0.15, 0.5])
    of_subject: dict[str, plain.Row] = {}
    rows = []
    agree = chance.random() < 0.6  # else subjects come with attributes that contradict each other
    count = chance.choice([1, 2, 5, 12, 30])
    for _ in range(count):
        row = {name: None if chance.random() < missing else chance.choice(found) for name, found in values.items()}
        row |= {"p": str(chance.randint(0, count // 2)), "s": chance.choice(sensitive)}
        if agree and row["p"] in of_subject:
            row |= {name: of_subject[str(row["p"])][name] for name in values}
        of_subject[str(row["p"])] = row
        rows.append(row)
    return Case(rows, list(values), chance.choice([None, "p"]))


# ── measures ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", range(40))
def test_identity_is_that_of_a_plain_count_under_each_reading_of_null(seed: int) -> None:
    chance = random.Random(seed)
    case = some_case(chance, {f"q{i}": list("abc") for i in range(chance.randint(1, 4))}, sensitive="uv")
    k, population = chance.choice([1, 2, 3, 11]), len(case.rows) * chance.choice([1, 3, 10])
    qis = tuple(Qi(name) for name in case.names)
    asked = RiskConfig(qis=qis, subject=case.subject, model=Model(k=k), population=Population(size=population))
    found = assess(case.table, asked)
    for nulls, reading in found.null_readings.items():
        truth = plain.identity(case.rows, case.names, subject=case.subject, nulls=nulls)
        if not truth.rows:
            continue
        pairs = sum(truth.subjects.values())
        assert reading.k == found.null_semantics[nulls] == min(truth.alike.values())
        assert reading.unique_records == sum(truth.rows[key] for key, size in truth.alike.items() if size == 1)
        assert near(reading.average, sum(truth.subjects[key] / size for key, size in truth.alike.items()) / pairs)
        at_risk = sum(truth.subjects[key] for key, size in truth.alike.items() if size < k)
        assert near(reading.share_at_risk, at_risk / pairs)
    _check_population(found, plain.identity(case.rows, case.names, subject=case.subject, nulls="own_category"), asked)


def _check_population(found: Assessment, truth: plain.Identity, asked: RiskConfig) -> None:
    sizes, population = list(truth.subjects.values()), asked.population.size or 0
    members = sum(sizes)
    assert found.conflicting_subjects == (truth.conflicting if asked.subject else 0)
    assert near(found.sample_uniqueness, sizes.count(1) / members)
    if members > population:
        assert found.population_uniqueness.zayatz is None
        return
    wanted = plain.zayatz(sizes, population)
    estimates = found.population_uniqueness
    assert estimates.zayatz == (None if wanted is None else pytest.approx(wanted))
    known = [one for one in (estimates.snb, estimates.zayatz) if one is not None]
    few = estimates.zayatz if estimates.pitman is None else estimates.pitman
    assert estimates.dankar == (few if members <= population / 10 else min(known, default=None))
    risks = [plain.individual_risk(size, members / population) for size in sizes]
    assert near(found.individual.max, max(risks))
    assert near(found.individual.expected, sum(risk * size for risk, size in zip(risks, sizes, strict=True)))


@pytest.mark.parametrize("seed", range(40))
def test_what_classes_disclose_is_that_of_their_papers(seed: int) -> None:
    chance = random.Random(seed)
    case = some_case(chance, {"q0": list("ab"), "q1": list("ab")}, sensitive="uvwxyz"[: chance.randint(1, 6)])
    distance, l = chance.choice(["equal", "ordered", "hierarchical"]), chance.choice([1, 2, 3])  # noqa: E741 - the name in the literature
    column = Sensitive("s", distance, SCALE, make_hierarchy(TREE.values(), name="s"))
    model = Model(l=LDiversity("recursive", float(l)))
    nulls = chance.choice(["own_category", "drop"])
    asked = RiskConfig(qis=(Qi("q0"), Qi("q1")), sensitive=(column,), model=model, nulls=nulls)
    kept = case.rows if nulls == "own_category" else plain.complete(case.rows, case.names)
    if not kept:
        with pytest.raises(InvalidError):
            assess(case.table, asked)
        return
    far = {
        "equal": plain.equal_distance,
        "ordered": lambda p, q: plain.ordered_distance(p, q, scale=SCALE),
        "hierarchical": lambda p, q: plain.tree_distance(p, q, paths=TREE),
    }[distance]
    whole = plain.shares_of([row["s"] for row in kept])
    each = [
        plain.disclosure([kept[i]["s"] for i in members], whole, l=l, distance=far)
        for members in plain.classes_of(kept, case.names).values()
    ]
    found = assess(case.table, asked)
    assert found.l["s"].distinct == min(one.distinct for one in each)
    assert near(found.l["s"].entropy, min(one.entropy for one in each))
    assert near(found.l["s"].recursive_c, max(one.recursive_c for one in each))
    assert near(found.t["s"], max(one.t for one in each))
    assert near(found.beta["s"], max(one.beta for one in each))
    assert near(found.enhanced_beta["s"], max(one.enhanced_beta for one in each))
    assert near(found.delta["s"], max(one.delta for one in each))


# ── Pitman ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", range(4))
def test_pitmans_estimate_stands_on_the_top_of_the_likelihood(seed: int) -> None:
    random_sizes = np.random.default_rng(seed)
    sizes = np.minimum(random_sizes.zipf(1.8, 30), 20).astype(np.int64)
    found = estimate_pitman(sizes, population=int(sizes.sum()) * 10)
    assert found is not None
    grid = [(theta, alpha) for theta in np.geomspace(0.05, 500, 40) for alpha in np.linspace(0.02, 0.98, 33)]
    theta, alpha = max(grid, key=lambda one: plain.pitman_likelihood(sizes.tolist(), *one))
    share = math.exp(math.lgamma(theta + 1) - math.lgamma(theta + alpha) + (alpha - 1) * math.log(sizes.sum() * 10))
    assert found == pytest.approx(share, rel=0.25)  # one step of the grid


def test_pitman_is_found_where_the_first_guess_leads_out_of_the_range() -> None:
    """Many small classes and a few very large ones: Newton's steps alone run away."""
    counts = {1: 3009, 2: 576, 3: 283, 4: 159, 5: 117, 7: 200, 11: 250, 20: 180, 60: 100, 300: 45}
    sizes = np.repeat(list(counts), list(counts.values())).astype(np.int64)
    assert estimate_pitman(sizes, population=10 * int(sizes.sum())) is not None


# ── optima ──────────────────────────────────────────────────────────────────

MODELS: list[dict[str, Any]] = [
    {},
    {"l": LDiversity("distinct", 2.0)},
    {"l": LDiversity("entropy", 1.7)},
    {"l": LDiversity("recursive", 2.0, 1.5)},
    {"t": 0.2},
    {"beta": BetaLikeness("basic", 0.6)},
    {"beta": BetaLikeness("enhanced", 1.0)},
    {"delta": 1.0},
    {"average": 0.3, "floor": 1},
]


def some_tree(chance: random.Random, name: str) -> list[tuple[str, ...]]:
    rows = [[f"{name}{i}"] for i in range(chance.randint(1, 6))]
    for level in range(1, chance.randint(1, 3)):
        into = {group: f"{name}.{level}.{chance.randint(0, 2)}" for group in sorted({row[-1] for row in rows})}
        for row in rows:
            row.append(into[row[-1]])
    return [(*row, "*") for row in rows]


def discloses(values: list[Any], whole: plain.Shares, model: Model) -> bool:
    kind, steps = (model.l.kind, round(model.l.value)) if model.l else ("", 2)
    found = plain.disclosure(values, whole, l=steps, distance=plain.equal_distance)
    few = {
        "": False,
        "distinct": found.distinct < steps,
        "entropy": found.entropy < (model.l.value if model.l else 0) - 1e-12,
        "recursive": found.recursive_c >= (model.l.c if model.l else 0),
    }[kind]
    gain = found.enhanced_beta if model.beta and model.beta.kind == "enhanced" else found.beta
    limits = ((found.t, model.t), (gain, model.beta and model.beta.value), (found.delta, model.delta))
    return few or any(limit is not None and value > limit + 1e-12 for value, limit in limits)


def classes_that_go(model: Model, *, subject: str | None) -> Any:
    """Too small, or disclosing beside the table or beside what is left of it, then the smallest for the average."""

    def bad(rows: list[plain.Row], classes: dict[Any, list[int]]) -> set[Any]:
        def values(members: Iterable[int]) -> list[Any]:
            return [rows[i]["s"] for i in members]

        size = {key: len({rows[i][subject] if subject else i for i in members}) for key, members in classes.items()}
        gone = {key for key in classes if size[key] < model.k}
        whole = plain.shares_of([row["s"] for row in rows])
        gone |= {key for key in classes if discloses(values(classes[key]), whole, model)}
        while gone and len(gone) < len(classes):
            left = plain.shares_of([one for key in classes if key not in gone for one in values(classes[key])])
            more = {key for key in classes if key not in gone and discloses(values(classes[key]), left, model)}
            if not more:
                break
            gone |= more
        kept = sorted(((size[key], key) for key in classes if key not in gone), key=lambda one: one[0])
        while model.average is not None and kept and len(kept) > model.average * sum(n for n, _ in kept) + 1e-9:
            gone.add(kept.pop(0)[1])
        return gone

    return bad


@pytest.mark.parametrize("metric", ["entropy", "loss", "discernibility", "average_class_size"])
@pytest.mark.parametrize("seed", range(15))
def test_the_node_is_the_best_of_all_that_were_tried_one_by_one(seed: int, metric: str) -> None:
    chance = random.Random(f"{seed} {metric}")
    trees = {name: some_tree(chance, name) for name in ("q0", "q1", "q2")[: chance.randint(1, 3)]}
    case = some_case(chance, {name: [row[0] for row in tree] for name, tree in trees.items()}, sensitive="uvw")
    wanted = chance.choice(MODELS)
    limit = chance.choice([0.0, 0.1, 0.4, 1.0])
    model = Model(k=chance.choice([1, 2, 4]), suppression_limit=limit, metric=metric, **wanted)
    subject = None if "average" in wanted else case.subject
    asked = RiskConfig(
        qis=tuple(Qi(name, make_hierarchy(tree, name=name)) for name, tree in trees.items()),
        sensitive=(Sensitive("s"),),
        subject=subject,
        model=model,
    )
    paths: dict[str, dict[Any, tuple[Any, ...]]] = {}
    for name, tree in trees.items():
        paths[name] = {row[0]: row for row in tree}
        if any(row[name] is None for row in case.rows):
            paths[name][None] = (*[None] * (len(tree[0]) - 1), "*")
    room = math.floor(limit * len(case.rows) + 1e-9)
    best = plain.best_node(case.rows, paths, room=room, metric=metric, bad=classes_that_go(model, subject=subject))
    if best is None:
        with pytest.raises(InvalidError) as caught:
            anonymise(case.table, asked)
        assert caught.value.code == "not_feasible"
        return
    found = anonymise(case.table, asked)
    assert found.metric_value == pytest.approx(best.metric, rel=1e-9, abs=1e-8)
    assert (tuple(found.node.values()), found.suppressed, found.optimal) == (best.node, best.suppressed, True)
    assert all(found.assessment_after.holds.values())
