"""Several releases together, and rows that are appended, against plain counts and a full assessment."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave.core.errors import InvalidError
from enclave.risk.config import BetaLikeness, Context, Image, LDiversity, Model, Qi, RiskConfig, Sensitive
from enclave.risk.engine import assess, compose, stand
from enclave.risk.hierarchy import make_hierarchy

pytestmark = pytest.mark.row("S13.1")
quick = settings(max_examples=15, deadline=None)
rows_of = st.lists(
    st.tuples(st.integers(0, 9), st.sampled_from("abc"), st.sampled_from("xy"), st.sampled_from("uvw")), min_size=1
)


def table(rows: list[Any], *, columns: tuple[str, ...] = ("q", "r")) -> Any:
    made = {
        "p": pa.array([str(r[0]) for r in rows], pa.string()),
        "q": pa.array([r[1] for r in rows], pa.string()),
        "r": pa.array([r[2] for r in rows], pa.string()),
        "s": pa.array([r[3] for r in rows], pa.string()),
    }
    return pa.table({name: made[name] for name in ("p", *columns, "s")})


def config(**changes: Any) -> RiskConfig:
    return RiskConfig(qis=(Qi("q"), Qi("r")), subject="p", **changes)


# ── several releases ────────────────────────────────────────────────────────


@quick
@given(st.lists(rows_of, min_size=1, max_size=3))
def test_joint_classes_are_subjects_who_show_the_same_in_all_releases(releases: list[list[Any]]) -> None:
    shown: dict[int, list[frozenset[Any]]] = defaultdict(list)
    for person in {r[0] for rows in releases for r in rows}:
        shown[person] = [frozenset(r[1:3] for r in rows if r[0] == person) for rows in releases]
    sizes = Counter(tuple(sets) for sets in shown.values())
    found = compose(tuple(table(rows) for rows in releases), config(model=Model(k=2)))
    assert (found.subjects, found.classes, found.k) == (len(shown), len(sizes), min(sizes.values()))
    assert found.unique_subjects == sum(n == 1 for n in sizes.values())
    assert found.share_at_risk == sum(n for n in sizes.values() if n < 2) / len(shown)
    assert found.holds == (min(sizes.values()) >= 2)
    assert found.k_alone == tuple(
        min(Counter(sets[i] for sets in shown.values() if sets[i]).values()) for i in range(len(releases))
    )


def test_a_second_release_with_other_columns_tells_subjects_apart() -> None:
    rows = [(0, "a", "x", "u"), (1, "a", "y", "u"), (2, "a", "x", "u"), (3, "a", "y", "u")]
    first, second = table(rows, columns=("q",)), table(rows, columns=("r",))
    found = compose((first, second), config(model=Model(k=3)))
    assert (found.k_alone, found.k, found.holds) == ((4, 2), 2, False)


def test_who_appears_only_later_stands_out() -> None:
    first = [(i, "a", "x", "u") for i in range(5)]
    found = compose((table(first), table([*first, (9, "a", "x", "u")])), config())
    assert (found.k, found.unique_subjects, found.k_alone) == (1, 1, (5, 6))


def test_releases_that_cannot_be_joined_are_refused() -> None:
    rows = [(0, "a", "x", "u")]
    with pytest.raises(InvalidError):
        compose((table(rows),), RiskConfig(qis=(Qi("q"),)))
    with pytest.raises(InvalidError):
        compose((table(rows), table(rows, columns=())), config())


# ── appended rows ───────────────────────────────────────────────────────────

MODELS = [
    Model(k=2),
    Model(k=2, l=LDiversity("distinct", 2)),
    Model(k=1, l=LDiversity("entropy", 1.5)),
    Model(k=1, t=0.4),
    Model(k=1, beta=BetaLikeness("basic", 0.9)),
    Model(k=1, beta=BetaLikeness("enhanced", 0.9)),
    Model(k=1, delta=0.9),
    Model(k=1, average=0.4, floor=1),
    Model(k=1, average=0.6, floor=2, t=0.5),
]
CONTEXTS = [Context(), Context(attempt=0.8, threshold=0.4), Context(threshold=0.9)]


@quick
@given(rows_of, rows_of, st.sampled_from(MODELS), st.sampled_from(["equal", "ordered"]), st.sampled_from(CONTEXTS))
def test_appended_rows_are_judged_as_a_full_assessment_judges(
    rows: list[Any], more: list[Any], model: Model, distance: str, context: Context
) -> None:
    asked = config(sensitive=(Sensitive("s", distance=distance),), model=model, context=context)
    found = stand(table(rows), asked).append(table(more))
    whole = assess(table(rows + more), asked)
    assert (found.k, found.classes) == (whole.k, whole.classes)
    assert found.average == pytest.approx(whole.prosecutor.average)
    assert found.share_at_risk == pytest.approx(whole.prosecutor.share_at_risk)
    assert found.new_subjects == whole.subjects - len({r[0] for r in rows})
    new_value = {r[3] for r in more} - {r[3] for r in rows}
    assert set(found.holds) == set(whole.holds)
    for name, holds in found.holds.items():
        assert holds == whole.holds[name] or (holds is None and new_value)


def test_what_only_a_full_assessment_tells_is_never_said_to_hold() -> None:
    rows = [(i, "a", "x", "u") for i in range(4)]
    census = pa.table({"q": ["a"], "r": ["x"], "n": [40]})
    images = pa.table({"p": ["0", "1"], "model": ["m1", "m2"]})
    presence = config(model=Model(k=1, presence=(0.0, 0.5)), population_table=census)
    pictures = config(image=Image(table="images", fingerprint=("model",)), image_table=images)
    for asked, part in ((presence, "presence"), (pictures, "image")):
        assert stand(table(rows), asked).append(table([(9, "a", "x", "u")])).holds[part] is None


@quick
@given(rows_of, rows_of, st.booleans())
def test_without_subjects_and_with_dropped_nulls_it_is_the_same(rows: list[Any], more: list[Any], drop: bool) -> None:
    asked = RiskConfig(qis=(Qi("q"), Qi("r")), nulls="drop" if drop else "own_category", model=Model(k=2))
    more = [(r[0], None if r[3] == "u" else r[1], r[2], r[3]) for r in more]
    found = stand(table(rows), asked).append(table(more))
    whole = assess(table(rows + more), asked)
    assert (found.k, found.classes, found.holds["k"]) == (whole.k, whole.classes, whole.holds["k"])


def test_asking_changes_nothing() -> None:
    rows = [(i, "a", "x", "u") for i in range(4)]
    standing = stand(table(rows), config(model=Model(k=3)))
    bad = standing.append(table([(9, "b", "x", "u")]))
    assert (bad.breaks, bad.small_classes, bad.k) == (True, 1, 1)
    good = standing.append(table([(9, "a", "x", "u")]))
    assert (good.breaks, good.k, good.new_subjects) == (False, 5, 1)


def test_what_cannot_be_asked_is_refused() -> None:
    rows = [(0, "a", "x", "u")]
    with pytest.raises(InvalidError):
        stand(table(rows), config(nulls="wildcard"))
    standing = stand(table(rows), config())
    with pytest.raises(InvalidError) as caught:
        standing.append(table(rows, columns=("q",)))
    assert "r" in caught.value.message


@pytest.mark.parametrize("distance", ["equal", "ordered", "hierarchical"])
def test_rows_that_are_all_dropped_change_nothing(distance: str) -> None:
    rows = [(1, "a", "x", "u"), (2, "a", "x", "v"), (3, "b", "x", "u"), (4, "b", "x", "v")]
    tree = make_hierarchy([("u", "*"), ("v", "*")], name="s")
    asked = config(sensitive=(Sensitive("s", distance, hierarchy=tree),), model=Model(k=2, t=0.5), nulls="drop")
    found = stand(table(rows), asked).append(table([(5, None, "x", "u")]))
    assert (found.k, found.classes, found.breaks, found.holds) == (2, 2, False, {"k": True, "t": True})


def test_no_rows_change_nothing() -> None:
    rows = [(i, "a", "x", "u") for i in range(4)]
    found = stand(table(rows), config(sensitive=(Sensitive("s"),), model=Model(k=4, t=0.1))).append(table(rows[:0]))
    assert (found.rows, found.k, found.breaks, found.holds) == (0, 4, False, {"k": True, "t": True})
