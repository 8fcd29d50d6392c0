"""The best node, where several parts of a model and a reading of null are asked for at once: every node is tried.

What is released is counted out by the rules of docs/risk.md on lists of rows; only the arithmetic of a single class
(``plain_risk``) is shared with other tests, none with the engine.
"""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import plain_risk as plain
import pyarrow as pa
import pytest

from enclave.core.errors import InvalidError
from enclave.risk.config import BetaLikeness, LDiversity, Model, Qi, RiskConfig, Sensitive
from enclave.risk.engine import anonymise, assess
from enclave.risk.hierarchy import make_hierarchy

pytestmark = pytest.mark.row("S13.1")
SCALE = ("v", "u", "w", "x")
KINDS = {v: (v, a, "*") for v, a in zip("uvwx", "1122", strict=True)}
UNEVEN = [("a", "ab", "abc", "*"), ("b", "ab", "abc", "*"), ("c", "abc", "abc", "*"), ("d", "d", "d", "*")]
FOREST = [("e", "1"), ("f", "1"), ("g", "2")]  # two roots: no level puts all together
Key = tuple[Any, ...]


def some_rows(chance: random.Random, trees: dict[str, list[Key]]) -> list[plain.Row]:
    missing, count = chance.choice([0, 0.1, 0.4]), chance.choice([1, 3, 8, 16])
    rows = []
    for _ in range(count):
        row = {name: None if chance.random() < missing else chance.choice(tree)[0] for name, tree in trees.items()}
        rows.append(row | {"p": str(chance.randint(0, count)), "s": chance.choice("uuvw")})
    return rows


def some_model(chance: random.Random, *, metric: str) -> Model:
    parts: dict[str, Any] = {
        "l": chance.choice([
            None,
            LDiversity("distinct", 2.0),
            LDiversity("entropy", 1.4),
            LDiversity("recursive", 2.0, 2.5),
        ]),
        "t": chance.choice([None, None, 0.35]),
        "beta": chance.choice([None, None, BetaLikeness("basic", 1.0), BetaLikeness("enhanced", 1.5)]),
        "delta": chance.choice([None, None, None, 1.3]),
    }  # fmt: skip
    if chance.random() < 0.3:
        parts = {"average": chance.choice([0.25, 0.43, 0.7]), "floor": 1}
    limit = chance.choice([0.0, 0.0, 0.125, 0.4, 1.0])
    return Model(k=chance.choice([1, 2, 3, 20]), suppression_limit=limit, metric=metric, **parts)


def holds(values: list[Any], whole: plain.Shares, model: Model, distance: Any) -> bool:
    steps = int(model.l.value) if model.l else 2
    found = plain.disclosure(values, whole, l=steps, distance=distance)
    if model.l is not None:
        reached = {
            "distinct": found.distinct >= steps,
            "entropy": found.entropy >= model.l.value - 1e-12,
            "recursive": found.recursive_c < model.l.c,
        }
        if not reached[model.l.kind]:
            return False
    gain = found.beta if model.beta is None or model.beta.kind == "basic" else found.enhanced_beta
    limits = ((found.t, model.t), (gain, model.beta and model.beta.value), (found.delta, model.delta))
    return all(limit is None or value <= limit + 1e-12 for value, limit in limits)


def released(asked: RiskConfig, distance: Any) -> Any:
    """The classes that have to go, as a function of the generalised rows."""
    model = asked.model

    def who(row: plain.Row, i: int) -> Any:
        return row["p"] if asked.subject else i

    def bad(rows: list[plain.Row], classes: dict[Key, list[int]]) -> set[Key]:
        def values(keys: Any) -> list[Any]:
            return [rows[i]["s"] for key in keys for i in classes[key]]

        def looking_like(key: Key, kept: list[Key]) -> int:
            similar = [one for one in kept if one == key or (asked.nulls == "wildcard" and plain.alike(one, key))]
            return len({who(rows[i], i) for one in similar for i in classes[one]})

        whole = plain.shares_of(values(classes))
        kept = [key for key in classes if holds(values([key]), whole, model, distance)]
        kept = [key for key in kept if looking_like(key, kept) >= model.k]
        while kept:
            now = plain.shares_of(values(kept))
            size = {key: looking_like(key, kept) for key in kept}
            stays = [k for k in kept if size[k] >= model.k and holds(values([k]), now, model, distance)]
            if len(stays) == len(kept) and model.average is not None:
                own = {key: len({who(rows[i], i) for i in classes[key]}) for key in kept}
                ranked = sorted(kept, key=lambda key: (size[key], len(classes[key])))
                while ranked and sum(own[k] / size[k] for k in ranked) > model.average * sum(own[k] for k in ranked):
                    ranked.pop(0)
                stays = ranked
            if len(stays) == len(kept):
                break
            kept = stays
        return set(classes) - set(kept)

    return bad


@pytest.mark.parametrize("metric", ["entropy", "loss", "discernibility", "average_class_size"])
@pytest.mark.parametrize("seed", range(20))
def test_no_node_that_holds_all_that_is_asked_is_better(seed: int, metric: str) -> None:
    chance = random.Random(f"{seed} {metric}")
    trees: dict[str, list[Key]] = {"q": UNEVEN, "r": [("x", "*"), ("y", "*")], "z": FOREST}
    trees = dict(list(trees.items())[: chance.randint(1, 3)])
    rows = some_rows(chance, trees)
    kind = chance.choice(["equal", "ordered", "hierarchical"])
    asked = RiskConfig(
        qis=tuple(Qi(name, None if name == "r" else make_hierarchy(tree, name=name)) for name, tree in trees.items()),
        sensitive=(Sensitive("s", kind, SCALE, make_hierarchy(KINDS.values(), name="s")),),
        subject=chance.choice([None, "p"]),
        nulls=chance.choice(["own_category", "own_category", "wildcard", "drop"]),
        model=some_model(chance, metric=metric),
    )
    table = pa.table({name: pa.array([row[name] for row in rows], pa.string()) for name in [*trees, "p", "s"]})
    distance = {
        "equal": plain.equal_distance,
        "ordered": lambda p, q: plain.ordered_distance(p, q, scale=SCALE),
        "hierarchical": lambda p, q: plain.tree_distance(p, q, paths=KINDS),
    }[kind]
    best = _best(rows, trees, asked, distance)
    if best is None:
        with pytest.raises(InvalidError):
            anonymise(table, asked)
        return
    found = anonymise(table, asked)
    assert (tuple(found.node.values()), found.suppressed, found.optimal) == (best.node, best.suppressed, True)
    assert found.metric_value == pytest.approx(best.metric, rel=1e-9, abs=1e-8)
    assert all(assess(found.table, asked).holds.values())


def _best(rows: list[plain.Row], trees: dict[str, list[Key]], asked: RiskConfig, distance: Any) -> plain.Best | None:
    kept = plain.complete(rows, list(trees)) if asked.nulls == "drop" else rows
    dropped = len(rows) - len(kept)
    room = math.floor(asked.model.suppression_limit * len(rows) + 1e-9) - dropped
    paths: dict[str, dict[Any, Key]] = {}
    for name, tree in trees.items():
        paths[name] = {row[0]: row for row in tree}
        if name == "r":  # without a hierarchy a column is its values
            present = {row["r"] for row in kept}
            paths[name] = {value: path for value, path in paths[name].items() if value in present}
        if any(row[name] is None for row in kept):
            tops = {path[-1] for path in paths[name].values() if path[0] in {row[name] for row in kept}}
            top = tops.pop() if len(tops) == 1 else None if tops else "*"
            paths[name][None] = (*[None] * (len(tree[0]) - 1), top)
    if not kept:
        return None
    bad = released(asked, distance)
    best = plain.best_node(kept, paths, room=room, metric=asked.model.metric, bad=bad)
    return best and plain.Best(best.metric, best.node, best.suppressed + dropped)


@pytest.mark.parametrize("seed", range(12))
def test_dropping_nulls_is_measuring_and_lowering_the_table_without_those_rows(seed: int) -> None:
    chance = random.Random(seed)
    rows = some_rows(chance, {"q": UNEVEN, "r": [("x", "*"), ("y", "*"), ("z", "*")]})
    rows.append({"q": "a", "r": "x", "p": "0", "s": "u"})
    rows.append({"q": None, "r": "only here", "p": "nobody else", "s": "zzz"})
    complete = [row for row in rows if None not in (row["q"], row["r"])]
    tables = [
        pa.table({name: pa.array([row[name] for row in part], pa.string()) for name in ("q", "r", "p", "s")})
        for part in (rows, complete)
    ]
    asked = RiskConfig(
        qis=(Qi("q", make_hierarchy(UNEVEN, name="q")), Qi("r")),
        subject=chance.choice([None, "p"]),
        sensitive=(Sensitive("s", chance.choice(["equal", "ordered"])),),
        nulls="drop",
        model=Model(k=1, metric=chance.choice(["loss", "entropy"])),
    )
    told = [assess(table, asked).to_json() for table in tables]
    rest = {"records", "null_semantics", "null_readings", "flags"}  # these tell of the whole table
    assert {k: v for k, v in told[0].items() if k not in rest} == {k: v for k, v in told[1].items() if k not in rest}
    limit = Model(k=2, metric=asked.model.metric, suppression_limit=1.0)
    found = [anonymise(table, replace(asked, model=limit)) for table in tables if len(complete) > 1]
    if len(complete) > 1:
        assert found[0].metric_value == pytest.approx(found[1].metric_value)
        assert found[0].node == found[1].node
        assert found[0].table.equals(found[1].table)
