"""A measured table without its values: what is needed to measure it again, and nothing of what it says. Pure.

Each value becomes a keyed hash, and the key is thrown away; values of an ordered column become their ranks; rows stand
in another order. Which rows are alike, and how hierarchies join values, stays: all measures and the search come out the
same.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa

from enclave.core.canonical import canonical_bytes, parse_json
from enclave.core.errors import IntegrityError
from enclave.risk.coding import coded_table
from enclave.risk.config import Qi, RiskConfig, Sensitive
from enclave.risk.encoding import encode, value_order
from enclave.risk.hierarchy import Hierarchy
from enclave.wire.messages.schema import Json

_CODED: Final = " coded"  # a second column of a quasi-identifier that is coded before its hierarchy
_SETTINGS: Final = b"enclave.blinded"

Label = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Blinded:
    """``table``: the columns of the measure as text; ``settings``: hierarchies and orders in the same spelling."""

    table: Any
    settings: dict[str, Json]

    def to_arrow(self) -> Any:
        """One table that carries its settings."""
        return self.table.replace_schema_metadata({_SETTINGS: canonical_bytes(self.settings)})


def blind(table: Any, config: RiskConfig, *, small_areas: frozenset[str], key: bytes) -> Blinded:
    """The columns that ``config`` measures. ``key``: random and forgotten afterwards, else values can be guessed."""
    coded = coded_table(table, config.qis, small_areas=small_areas)
    columns, qis = {}, []
    for qi in config.qis:
        label = _labels(key, qi.name)
        columns[qi.name] = _relabelled(table.column(qi.name), label)
        changed = not coded.column(qi.name).equals(table.column(qi.name))
        if changed:
            columns[qi.name + _CODED] = _relabelled(coded.column(qi.name), label)
        qis.append({"name": qi.name, "coded": changed, "hierarchy": _rows(qi.hierarchy, key, qi.name)})
    sensitive = [_blinded_sensitive(one, table, columns, key=key) for one in config.sensitive]
    if config.subject is not None:
        columns[config.subject] = _relabelled(table.column(config.subject), _labels(key, config.subject))
    plain = pa.table(columns)
    ordered = plain.sort_by([(name, "ascending") for name in plain.column_names])
    return Blinded(ordered, {"qis": qis, "sensitive": sensitive})


def read_blinded(table: Any) -> Blinded:
    """The reverse of ``to_arrow``; raises ``IntegrityError`` for a table without settings."""
    found = (table.schema.metadata or {}).get(_SETTINGS)
    settings = None if found is None else parse_json(found)
    if not isinstance(settings, dict):
        raise IntegrityError("blinded table: wanted its settings beside it, got none")
    return Blinded(table, settings)


def as_measured(blinded: Blinded, config: RiskConfig) -> RiskConfig:
    """``config`` with the hierarchies and orders of the blinded table, without coding rules: they were applied."""
    trees = {one["name"]: one for one in _parts(blinded, "qis")}
    known = {one["name"]: one for one in _parts(blinded, "sensitive")}
    return replace(
        config,
        qis=tuple(Qi(qi.name, _tree(trees.get(qi.name))) for qi in config.qis),
        sensitive=tuple(
            Sensitive(one.name, one.distance, _order(known.get(one.name)), _tree(known.get(one.name)))
            for one in config.sensitive
        ),
    )


def as_searched(blinded: Blinded) -> Any:
    """The table as the search for the best node saw it: coded, before any hierarchy."""
    table = blinded.table
    for one in _parts(blinded, "qis"):
        if one["coded"]:
            place = table.column_names.index(one["name"])
            table = table.set_column(place, one["name"], table.column(one["name"] + _CODED))
    return table


def _labels(key: bytes, name: str, *, level: int = 0) -> Label:
    def label(value: str) -> str:
        told = f"{name}\0{level}\0{value}".encode()
        return hmac.new(key, told, hashlib.sha256).hexdigest()[:24] if value else ""  # "" is null in a hierarchy

    return label


def _relabelled(column: Any, label: Label) -> Any:
    values, codes = encode(column)
    labels = [None if value is None else label(value) for value in values]
    return pa.array(labels, type=pa.string()).take(pa.array(np.asarray(codes)))


def _rows(hierarchy: Hierarchy | None, key: bytes, name: str) -> Json:
    if hierarchy is None:
        return None
    labels = [_labels(key, name, level=level) for level in range(hierarchy.height)]
    return [[label(value) for label, value in zip(labels, row, strict=True)] for row in hierarchy.rows]


def _blinded_sensitive(one: Sensitive, table: Any, columns: dict[str, Any], *, key: bytes) -> dict[str, Json]:
    told: dict[str, Json] = {"name": one.name, "order": [], "hierarchy": None}
    if one.distance == "ordered":
        values, codes = encode(table.column(one.name))
        ranks = value_order(values, one.order, one.name)
        labels = [None if value is None else str(rank) for value, rank in zip(values, ranks.tolist(), strict=True)]
        columns[one.name] = pa.array(labels, type=pa.string()).take(pa.array(np.asarray(codes)))
        return told | {"order": [str(rank) for rank in range(len(one.order))]}
    columns[one.name] = _relabelled(table.column(one.name), _labels(key, one.name))
    return told | {"hierarchy": _rows(one.hierarchy, key, one.name)}


def _parts(blinded: Blinded, name: str) -> list[dict[str, Any]]:
    found: Any = blinded.settings[name]
    return list(found)


def _tree(found: dict[str, Any] | None) -> Hierarchy | None:
    rows = None if found is None else found["hierarchy"]
    return None if rows is None else Hierarchy(tuple(tuple(row) for row in rows))


def _order(found: dict[str, Any] | None) -> tuple[str, ...]:
    return () if found is None else tuple(found["order"])
