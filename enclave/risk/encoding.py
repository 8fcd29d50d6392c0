"""Arrow columns as integers: distinct values as text, one code per row. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from enclave.core.errors import InvalidError
from enclave.risk.classes import Ints
from enclave.risk.hierarchy import CodedColumn, Codes, code_column


def code(column: Any, name: str, *, hierarchy: Any = None) -> CodedColumn:
    values, codes = encode(column)
    return code_column(name, values, codes, hierarchy=hierarchy)


def encode(column: Any) -> tuple[list[str | None], Codes]:
    """Distinct values as text and a code per row; null is the last value when there is one."""
    try:
        encoded = pc.dictionary_encode(_as_text(column)).combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise InvalidError(f"risk: wanted plain values in each column, got the type {column.type} in one") from None
    values: list[str | None] = encoded.dictionary.to_pylist()
    codes = encoded.indices.fill_null(len(values)).to_numpy(zero_copy_only=False).astype(np.int32)
    return ([*values, None] if encoded.null_count else values), codes


def _as_text(column: Any) -> Any:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _as_text(pc.cast(column, kind.value_type))
    if pa.types.is_floating(kind):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, kind), column)
        whole = pc.and_(pc.equal(column, pc.trunc(column)), pc.less(pc.abs(column), 2.0**53))  # spelled as integers are
        integers = pc.cast(pc.if_else(whole, column, pa.scalar(0, kind)), pa.int64())
        return pc.if_else(whole, pc.cast(integers, pa.string()), pc.cast(column, pa.string()))
    return pa.chunked_array(
        [
            chunk.combine_chunks() if hasattr(chunk, "combine_chunks") else chunk
            for chunk in pc.cast(column, pa.string()).chunks
        ],
        type=pa.string(),
    )


def value_order(values: Sequence[str | None], declared: tuple[str, ...], name: str) -> Ints:
    """The rank of each value: its declared place, else by number, else by text; null last.

    A declared value that no row has keeps its place: how far apart the others are is the scale's, not the sample's.
    """
    if declared:
        places: dict[str | None, int] = {value: i for i, value in enumerate(declared)} | {None: len(declared)}
        missing = sum(value not in places for value in values)
        if missing:
            raise InvalidError(f"sensitive {name}: wanted each value in its order, {missing} are missing")
        return np.array([places[value] for value in values], dtype=np.int64)
    keys = [(v is None, *_number_or_text(v or "")) for v in values]
    ranks: Ints = np.empty(len(values), dtype=np.int64)
    ranks[sorted(range(len(values)), key=lambda i: keys[i])] = np.arange(len(values))
    return ranks


def _number_or_text(value: str) -> tuple[float, str]:
    try:
        number = float(value)
    except ValueError:
        return math.inf, value
    return number if math.isfinite(number) else math.inf, value


def next_level(coded: CodedColumn, level: int) -> Ints:
    """From the groups of the level below to those of ``level``."""
    below, here = coded.maps[level - 1], coded.maps[level]
    result: Ints = np.zeros(int(below.max()) + 1, dtype=np.int64)
    result[below] = here
    return result
