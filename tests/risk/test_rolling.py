"""Classes counted from those of a node below are the classes that are counted from all combinations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave.risk.classes import BaseClasses, as_base, number, roll_up
from enclave.risk.encoding import code
from enclave.risk.hierarchy import make_hierarchy

pytestmark = pytest.mark.row("S13.1")
TREE = make_hierarchy([(c, g, t, "*") for c, g, t in zip("abcdef", "112334", "IIIJJJ", strict=True)], name="q")
value = st.one_of(st.none(), st.sampled_from("abcdef"))
level = st.integers(0, 3)


def base_of(columns: Any, subjects: list[int] | None, count: int) -> BaseClasses:
    of, found = number([c.codes for c in columns], [len(c.labels[0]) for c in columns], count)
    codes = np.empty((found, len(columns)), dtype=np.int32)
    for i, column in enumerate(columns):
        codes[of, i] = column.codes
    rows = np.bincount(of, minlength=found).astype(np.int64)
    if subjects is None:
        return BaseClasses(codes, rows, rows, count)
    pairs = np.unique(of * 10 + np.array(subjects, dtype=np.int64))
    each = np.bincount(pairs // 10, minlength=found).astype(np.int64)
    return BaseClasses(codes, rows, each, 10, pairs // 10, pairs % 10)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(value, value, st.integers(0, 5)), min_size=1, max_size=40),
    st.tuples(level, level),
    st.tuples(level, level),
    st.booleans(),
)
def test_they_are_the_same_by_rows_and_by_subjects(
    rows: list[Any], lower: tuple[int, int], raised: tuple[int, int], by_subject: bool
) -> None:
    columns = tuple(code(pa.chunked_array([[r[i] for r in rows]], pa.string()), "q", hierarchy=TREE) for i in (0, 1))
    highest = [column.height - 1 for column in columns]  # a column of nulls has two levels only
    lower, raised = ((min(n[0], highest[0]), min(n[1], highest[1])) for n in (lower, raised))
    base = base_of(columns, [r[2] for r in rows] if by_subject else None, len(rows))
    upper = (max(lower[0], raised[0]), max(lower[1], raised[1]))
    below = as_base(base, roll_up(base, columns, lower))
    found, wanted = roll_up(below, columns, upper), roll_up(base, columns, upper)
    assert sorted(zip(found.rows.tolist(), found.subjects.tolist(), strict=True)) == sorted(
        zip(wanted.rows.tolist(), wanted.subjects.tolist(), strict=True)
    )
    assert below.row_count == base.row_count == len(rows)
