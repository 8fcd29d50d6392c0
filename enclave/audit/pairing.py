"""Which cells have begun and not ended, so that the record of an end can name that of its intent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from enclave.audit.views import CELL


@dataclass(slots=True)
class OpenCells:
    """Cell id to the sequence number of its intent."""

    _open: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Iterable[tuple[str, int]]) -> OpenCells:
        """From what the store holds."""
        return cls(dict(rows))

    def pair(self, records: pa.Table) -> tuple[pa.Table, OpenCells]:
        """The batch with its column ``start_seq``, and what is open after it; this one stays as it is."""
        rows = pc.indices_nonzero(pc.equal(records["kind"], CELL))
        cells: Any = records.select(["seq", "cell", "outcome"]).take(rows)
        starts: list[int | None] = [None] * records.num_rows
        after = dict(self._open) if rows else self._open
        for row, seq, cell, outcome in zip(
            rows.to_pylist(), *(cells[name].to_pylist() for name in ("seq", "cell", "outcome")), strict=True
        ):
            if outcome == "intent" and cell is not None:
                after[cell] = seq
            elif cell is not None:
                starts[row] = after.pop(cell, None)
        return records.append_column("start_seq", pa.array(starts, pa.int64())), OpenCells(after)
