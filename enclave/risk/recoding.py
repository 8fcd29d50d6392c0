"""A table with its quasi-identifiers at the levels that were found. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from enclave.risk.config import RiskConfig
from enclave.risk.encoding import encode
from enclave.risk.hierarchy import TOP
from enclave.risk.measuring import Mask, Prepared
from enclave.risk.search import Node


def all_rows(prepared: Prepared, kept: Mask) -> Mask:
    """``kept`` of the rows that were measured, as a mask over all rows of the table."""
    if prepared.present is None:
        return kept
    rows = prepared.present.copy()
    rows[prepared.present] = kept
    return rows


def generalised(prepared: Prepared, node: Node) -> Any:
    """The table with column i at level ``node[i]``; columns at level 0 keep their type, others become text."""
    table = prepared.table
    for column, level in zip(prepared.columns, node, strict=True):
        if level == 0:
            continue
        codes = column.maps[level][column.codes]
        if prepared.present is not None:  # rows that are dropped anyway get the first label
            whole = np.zeros(table.num_rows, dtype=np.int32)
            whole[prepared.present] = codes
            codes = whole
        labels = pa.array(column.labels[level], type=pa.string())
        values = labels.take(pa.array(codes))
        table = table.set_column(table.column_names.index(column.name), column.name, values)
    return table


def locally_generalised(prepared: Prepared, levels: npt.NDArray[np.int16]) -> Any:
    """The table with each base combination at its own levels, (combinations × columns); −1 keeps the value."""
    table = prepared.table
    of_row = np.zeros(table.num_rows, dtype=np.int64)
    of_row[slice(None) if prepared.present is None else prepared.present] = prepared.of_row
    for i, column in enumerate(prepared.columns):
        level = np.maximum(levels[:, i], 0)
        if not level.any():
            continue
        starts = np.cumsum([0, *(len(labels) for labels in column.labels[:-1])])
        maps = np.stack(column.maps)
        codes = starts[level] + maps[level, prepared.base.codes[:, i]]
        labels = pa.array([label for labels in column.labels for label in labels], type=pa.string())
        values = labels.take(pa.array(codes[of_row]))
        table = table.set_column(table.column_names.index(column.name), column.name, values)
    return table


def general_population(config: RiskConfig, node: Node) -> Any:
    """The population table on the levels of ``node``; a value that its hierarchy lacks stays and matches nobody."""
    table = config.population_table
    if table is None:
        return None
    for qi, level in zip(config.qis, node, strict=True):
        if level == 0:
            continue
        values, codes = encode(table.column(qi.name))
        if qi.hierarchy is None:
            labels = [TOP] * len(values)
        else:
            known = {row[0]: row[level] for row in qi.hierarchy.rows}
            labels = [known.get(value or "", value or "") for value in values]
        general = pa.array(labels, type=pa.string()).take(pa.array(codes))
        table = table.set_column(table.column_names.index(qi.name), qi.name, general)
    return table
