"""The risk engine: a table in, measures or a safer table out. The one module here that runs a database (in memory)."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from enclave.core.errors import InvalidError, NotFoundError
from enclave.risk.assessment import (
    Assessment,
    Journalist,
    Sizes,
    attribute_measures,
    conflicting,
    journalist,
    prosecutor,
    sizes_of,
)
from enclave.risk.classes import BaseClasses, Classes, Ints, number, roll_up, wildcard_sizes
from enclave.risk.config import RiskConfig, check_config, parse_risk_config
from enclave.risk.diversity import SensitiveCounts
from enclave.risk.encoding import code, encode, next_level, value_order
from enclave.risk.hierarchy import TOP, CodedColumn, code_column
from enclave.risk.lowering import Lattice
from enclave.risk.population import PopulationUniqueness, estimate
from enclave.risk.search import Found, Node, search

MAX_QIS = 32
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Anonymised:
    """The table that holds the model. ``kept`` marks the rows of the input that are in ``table``, in their order.

    ``node``: the level per quasi-identifier; ``suppressed``: how many rows were left out; ``optimal``: whether no
    feasible node is better.
    """

    table: Any
    assessment_before: Assessment
    assessment_after: Assessment
    node: dict[str, int]
    metric_value: float
    suppressed: int
    nodes_total: int
    nodes_evaluated: int
    optimal: bool
    kept: Mask


def load_config(path: Path) -> RiskConfig:
    """``risk.toml`` with the files it names, relative to it; raises ``NotFoundError`` or ``InvalidError``."""
    config = parse_risk_config(_read_text(path), read=lambda name: _read_text(path.parent / name))
    if config.population.table is None:
        return config
    return replace(config, population_table=read_table(path.parent / config.population.table))


def read_table(path: Path) -> Any:
    """An Arrow table from Parquet or CSV (delimiter sniffed, all columns as text, empty = null)."""
    try:
        with path.open("rb") as file:
            magic, first = file.read(4), path.open("rb").readline(1 << 20)
        if magic == b"PAR1":
            return pq.read_table(path)
        return _read_csv(path, first)
    except FileNotFoundError:
        raise NotFoundError(f"{path.name}: wanted a table, got no such file") from None
    except (pa.ArrowInvalid, OSError, UnicodeDecodeError):
        raise InvalidError(f"{path.name}: wanted CSV (UTF-8, one header line) or Parquet, got something else") from None


def assess(table: Any, config: RiskConfig) -> Assessment:
    """All measures of ``table`` (Arrow) as it is. Raises ``InvalidError`` for a missing column or an empty table."""
    return _assess(_prepare(table, check_config(config), hierarchies=False), config)


def anonymise(table: Any, config: RiskConfig) -> Anonymised:
    """Generalises and suppresses until the model holds, at the least cost.

    Columns at level 0 keep their type, others become text. Raises ``InvalidError`` (code ``not_feasible``) when no
    node is feasible within the suppression limit.
    """
    prepared = _prepare(table, check_config(config), hierarchies=True)
    lattice = Lattice(prepared.columns, prepared.base, prepared.sensitive, config.model, row_count=table.num_rows)
    found = search(lattice.problem())
    if found.node is None or found.metric is None:
        raise InvalidError(
            f"anonymise: wanted a node that holds the model, got none of {found.nodes_total}; "
            "raise the suppression limit, lower k, or give coarser hierarchies",
            code="not_feasible",
        )
    return _apply(prepared, config, lattice, found, node=found.node, metric_value=found.metric)


# ── reading ─────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Prepared:
    table: Any
    columns: tuple[CodedColumn, ...]
    base: BaseClasses
    of_row: Ints
    sensitive: tuple[SensitiveCounts, ...]
    present: Mask | None  # rows that stay when nulls are dropped; None: all


def _prepare(table: Any, config: RiskConfig, *, hierarchies: bool) -> _Prepared:
    _check_table(table, config)
    columns = tuple(
        code(table.column(qi.name), qi.name, hierarchy=qi.hierarchy if hierarchies else None) for qi in config.qis
    )
    subjects = _subject_codes(table, config)
    present = None
    if config.nulls == "drop":
        present = _complete_rows(columns, table.num_rows)
        columns = tuple(CodedColumn(c.name, c.codes[present], c.maps, c.labels) for c in columns)
        subjects = subjects[present]
        if not len(subjects):
            raise InvalidError("risk: wanted rows without nulls in the quasi-identifiers, got none")
    of_row, count = number([c.codes for c in columns], [len(c.labels[0]) for c in columns], len(subjects))
    base = _base_classes(columns, of_row, count, subjects, by_subject=config.subject is not None)
    sensitive = tuple(
        _sensitive_counts(table, name=one.name, config=config, of_row=of_row, present=present)
        for one in config.sensitive
    )
    return _Prepared(table, columns, base, of_row, sensitive, present)


def _check_table(table: Any, config: RiskConfig) -> None:
    wanted = [qi.name for qi in config.qis] + [one.name for one in config.sensitive]
    wanted += [config.subject] if config.subject else []
    known = set(table.column_names)
    missing = sorted(name for name in wanted if name not in known)
    if missing:
        raise InvalidError(f"risk: wanted the columns {', '.join(missing)}, got a table without them")
    if len(known) != len(table.column_names):
        raise InvalidError("risk: wanted each column name once, got one twice; rename it")
    if table.num_rows == 0:
        raise InvalidError("risk: wanted a table with rows, got an empty one")
    if len(config.qis) > MAX_QIS:
        raise InvalidError(f"risk: wanted at most {MAX_QIS} quasi-identifiers, got {len(config.qis)}")


def _subject_codes(table: Any, config: RiskConfig) -> Ints:
    if config.subject is None:
        return np.arange(table.num_rows, dtype=np.int64)
    values, codes = encode(table.column(config.subject))
    if None in values:
        missing = int((codes == len(values) - 1).sum())
        raise InvalidError(f"risk: wanted a subject in each row of {config.subject}, got {missing} without one")
    return codes.astype(np.int64)


def _complete_rows(columns: tuple[CodedColumn, ...], rows: int) -> Mask:
    complete = np.ones(rows, dtype=bool)
    for column in columns:
        code = column.null_code()
        if code is not None:
            complete &= column.codes != code
    return complete


def _base_classes(
    columns: tuple[CodedColumn, ...], of_row: Ints, count: int, subjects: Ints, *, by_subject: bool
) -> BaseClasses:
    codes = np.empty((count, len(columns)), dtype=np.int32)
    for i, column in enumerate(columns):
        codes[of_row, i] = column.codes
    if not by_subject:
        rows = np.bincount(of_row, minlength=count).astype(np.int64)
        return BaseClasses(codes, rows, rows, len(subjects))
    scanned = _query(
        "select c, count(*) as n, count(distinct s) as u from scanned group by c order by c", c=of_row, s=subjects
    )
    subject_count = int(subjects.max()) + 1
    distinct = len(np.unique(subjects))
    if int(scanned["u"].sum()) == distinct:
        return BaseClasses(codes, scanned["n"], scanned["u"], distinct)
    pairs = _query("select distinct c, s from scanned order by c, s", c=of_row, s=subjects)
    return BaseClasses(codes, scanned["n"], scanned["u"], subject_count, pairs["c"], pairs["s"])


def _sensitive_counts(
    table: Any, *, name: str, config: RiskConfig, of_row: Ints, present: Mask | None
) -> SensitiveCounts:
    column = next(one for one in config.sensitive if one.name == name)
    values, codes = encode(table.column(name))
    if present is not None:
        codes = codes[present]
    order = value_order(values, column.order, name)
    levels: tuple[Ints, ...] = ()
    if column.hierarchy is not None and column.distance == "hierarchical":
        coded = code_column(name, [values[i] for i in np.argsort(order)], codes, hierarchy=column.hierarchy)
        levels = tuple(next_level(coded, level) for level in range(1, coded.height))
    counted = _query("select c, v, count(*) as n from scanned group by c, v order by c, v", c=of_row, v=order[codes])
    return SensitiveCounts(name, column.distance, counted["c"], counted["v"], counted["n"], len(values), levels)


def _query(sql: str, **arrays: npt.NDArray[Any]) -> dict[str, Ints]:
    """One statement over the arrays as table ``scanned``, in memory, without any access to files."""
    with duckdb.connect(":memory:", config={"enable_external_access": "false"}) as db:
        db.register("scanned", pa.table(arrays))
        return {name: np.asarray(column).astype(np.int64) for name, column in db.execute(sql).fetchnumpy().items()}


# ── measuring ───────────────────────────────────────────────────────────────


def _assess(prepared: _Prepared, config: RiskConfig) -> Assessment:
    base, columns = prepared.base, prepared.columns
    classes = roll_up(base, columns, (0,) * len(columns))
    sizes = sizes_of(classes)
    wild = wildcard_sizes(base, columns)
    if config.nulls == "wildcard":
        sizes = Sizes(wild[_first_of(classes)], classes.subjects, classes.rows)
    unique = sizes.alike == 1
    found = _population(prepared, config, classes, sizes)
    recursive = round(config.model.l.value) if config.model.l else 2
    diversity, t, b, d = attribute_measures(prepared.sensitive, classes, l=recursive)
    risk = prosecutor(sizes, k=config.model.k)
    return Assessment(
        records=prepared.table.num_rows,
        subjects=base.subject_count if base.pair_subject is None else len(np.unique(base.pair_subject)),
        classes=len(classes.rows),
        k=int(sizes.alike.min()),
        unique_records=int(classes.rows[unique].sum()),
        sample_uniqueness=int(sizes.subjects[unique].sum()) / int(sizes.subjects.sum()),
        prosecutor=risk,
        journalist=found[0],
        marketer=risk.average if config.population_table is None else found[0].average,
        population_uniqueness=found[1],
        null_semantics=_null_semantics(prepared, classes, wild, config),
        l=diversity,
        t=t,
        beta=b,
        delta=d,
        conflicting_subjects=conflicting(base),
    )


def _first_of(classes: Classes) -> Ints:
    first: Ints = np.zeros(len(classes.rows), dtype=np.int64)
    first[classes.of[::-1]] = np.arange(len(classes.of))[::-1]
    return first


def _null_semantics(prepared: _Prepared, classes: Classes, wild: Ints, config: RiskConfig) -> dict[str, int | None]:
    if config.nulls == "drop":
        again = _prepare(prepared.table, _with_nulls(config, "own_category"), hierarchies=False)
        kept = roll_up(again.base, again.columns, (0,) * len(again.columns))
        dropped: int | None = int(classes.subjects.min())
        return {
            "own_category": int(kept.subjects.min()),
            "wildcard": int(wildcard_sizes(again.base, again.columns).min()),
            "drop": dropped,
        }
    complete = _complete_classes(prepared)
    sizes = classes.subjects[classes.of[complete]]
    return {
        "own_category": int(classes.subjects.min()),
        "wildcard": int(wild.min()),
        "drop": int(sizes.min()) if len(sizes) else None,
    }


def _complete_classes(prepared: _Prepared) -> Mask:
    complete = np.ones(len(prepared.base.rows), dtype=bool)
    for i, column in enumerate(prepared.columns):
        code = column.null_code()
        if code is not None:
            complete &= prepared.base.codes[:, i] != code
    return complete


def _with_nulls(config: RiskConfig, nulls: str) -> RiskConfig:
    return replace(config, nulls=nulls, sensitive=(), model=replace(config.model, l=None, t=None))


def _population(
    prepared: _Prepared, config: RiskConfig, classes: Classes, sizes: Sizes
) -> tuple[Journalist, PopulationUniqueness]:
    table, size = config.population_table, config.population.size
    if table is not None:
        counts = _counts_in_population(prepared, config, table)
        alike = np.maximum(counts[_first_of(classes)], sizes.alike)
        size = size or int(np.asarray(pc.sum(table.column(config.population.count)).as_py() or 0))
        found = journalist(sizes, alike)
    else:
        found = Journalist()
    return found, estimate(classes.subjects, population=size) if size else PopulationUniqueness()


def _counts_in_population(prepared: _Prepared, config: RiskConfig, table: Any) -> Ints:
    """How many in the population table have each base combination."""
    missing = [
        name for name in (*(q.name for q in config.qis), config.population.count) if name not in table.column_names
    ]
    if missing:
        raise InvalidError(f"population table: wanted the columns {', '.join(missing)}, got a table without them")
    amounts = np.asarray(pc.cast(table.column(config.population.count), pa.int64()).fill_null(0)).astype(np.int64)
    coded, radices = [], []
    for i, qi in enumerate(config.qis):
        values, codes = encode(table.column(qi.name))
        places = {value: code for code, value in enumerate(prepared.columns[i].labels[0])}
        unknown = len(places)
        translated = np.array([places.get(value, unknown) for value in values], dtype=np.int32)
        coded.append(np.concatenate([prepared.base.codes[:, i], translated[codes]]))
        radices.append(unknown + 1)
    of, count = number(coded, radices, len(coded[0]))
    combinations = len(prepared.base.rows)
    totals = np.bincount(of[combinations:], weights=amounts, minlength=count).astype(np.int64)
    return totals[of[:combinations]]


# ── lowering ────────────────────────────────────────────────────────────────


def _apply(
    prepared: _Prepared, config: RiskConfig, lattice: Lattice, found: Found, *, node: Node, metric_value: float
) -> Anonymised:
    classes, bad = lattice.bad(lattice.classes(node))
    kept = ~bad[classes.of[prepared.of_row]]
    if prepared.present is not None:
        all_rows = prepared.present.copy()
        all_rows[prepared.present] = kept
        kept = all_rows
    table = _generalised(prepared, node).filter(pa.array(kept))
    if table.num_rows == 0:
        raise InvalidError("anonymise: wanted rows that can be kept, got none", code="not_feasible")
    return Anonymised(
        table=table,
        assessment_before=_assess(_prepare(prepared.table, config, hierarchies=False), config),
        assessment_after=assess(table, replace(config, population_table=_general_population(config, node))),
        node={column.name: level for column, level in zip(prepared.columns, node, strict=True)},
        metric_value=metric_value,
        suppressed=int((~kept).sum()),
        nodes_total=found.nodes_total,
        nodes_evaluated=found.nodes_evaluated,
        optimal=found.optimal,
        kept=kept,
    )


def _general_population(config: RiskConfig, node: Node) -> Any:
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


def _generalised(prepared: _Prepared, node: Node) -> Any:
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


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        raise NotFoundError(f"{path.name}: wanted a file, got none") from None
    except (OSError, UnicodeDecodeError):
        raise InvalidError(f"{path.name}: wanted UTF-8 text, got something else") from None


def _read_csv(path: Path, first: bytes) -> Any:
    import pyarrow.csv as pv

    line = first.decode("utf-8-sig")
    delimiter = max(",;\t|", key=line.count)
    names = next(csv.reader([line.rstrip("\r\n")], delimiter=delimiter), [])
    return pv.read_csv(
        path,
        parse_options=pv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=pv.ConvertOptions(
            column_types={name: pa.string() for name in names}, strings_can_be_null=True, null_values=[""]
        ),
    )
