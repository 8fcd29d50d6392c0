"""How subjects lie in equivalence classes, in numbers that a report draws and a replay derives again. Pure.

Counts and shares only; no value of a column. Null counts as a value of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from enclave.wire.messages.schema import Json

BINS: Final = (1, 2, 3, 5, 11, 20, 50, 100)
"""Lower ends of the classes of class sizes; the last is open."""
THRESHOLDS: Final = (2, 3, 5, 11, 20, 50)

Ints = npt.NDArray[np.int64]


def class_profile(table: pa.Table, *, quasi_identifiers: Sequence[str], subject: str | None, k: int) -> dict[str, Json]:
    """``{subjects, classes, histogram, at_risk, without}`` of ``table``, counted by ``subject`` (None: by row).

    ``histogram``: per bin its ends, how many classes and how many subjects. ``at_risk``: per threshold the share of
    subjects in smaller classes. ``without``: per quasi-identifier the share below ``k`` if that one were not there.
    """
    sizes = _sizes(table, list(quasi_identifiers), subject)
    total = int(sizes.sum())
    return {
        "subjects": total,
        "classes": len(sizes),
        "k": k,
        "histogram": _histogram(sizes),
        "at_risk": {str(limit): _share(sizes, limit) for limit in THRESHOLDS},
        "at_risk_at_k": _share(sizes, k),
        "without": {
            name: _share(_sizes(table, [other for other in quasi_identifiers if other != name], subject), k)
            for name in quasi_identifiers
        },
    }


def _sizes(table: pa.Table, columns: list[str], subject: str | None) -> Ints:
    """The number of subjects of each class."""
    if table.num_rows == 0:
        return np.zeros(0, dtype=np.int64)
    if not columns:
        count = table.num_rows if subject is None else len(table.column(subject).unique())
        return np.array([count], dtype=np.int64)
    counted: Any = ([], "count_all") if subject is None else (subject, "count_distinct")
    grouped = table.group_by(columns).aggregate([counted])
    found = grouped.column("count_all" if subject is None else f"{subject}_count_distinct")
    return np.asarray(found.to_numpy(), dtype=np.int64)


def _histogram(sizes: Ints) -> list[Json]:
    ends: list[int | None] = [low - 1 for low in BINS[1:]] + [None]
    rows: list[Json] = []
    for low, high in zip(BINS, ends, strict=True):
        inside = sizes[(sizes >= low) & (sizes <= high)] if high is not None else sizes[sizes >= low]
        rows.append({"from": low, "to": high, "classes": len(inside), "subjects": int(inside.sum())})
    return rows


def _share(sizes: Ints, limit: int) -> float | None:
    total = int(sizes.sum())
    return round(int(sizes[sizes < limit].sum()) / total, 12) if total else None
