"""The rows of Table E.1-1 by number, read from the product's data so that no row is forgotten."""

from __future__ import annotations

import functools
from pathlib import Path

_TABLE = Path(__file__).parents[2] / "enclave" / "deid" / "standard" / "attributes.csv"


@functools.cache
def listed_tags() -> tuple[int, ...]:
    """All tags of the table but repeating groups."""
    lines = _TABLE.read_text("utf-8").splitlines()[1:]
    return tuple(int(line[:8], 16) for line in lines if "x" not in line[:8])
