"""The risk engine: a table in, measures or a safer table out. The one module here that runs a database (in memory)."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from enclave.core.errors import InvalidError, NotFoundError
from enclave.risk.assessment import Assessment
from enclave.risk.blinding import Blinded, blind
from enclave.risk.classes import BaseClasses, Ints, number
from enclave.risk.coding import coded_table, parse_zip3
from enclave.risk.composition import JointRisk, joint_risk
from enclave.risk.config import Image, Model, RiskConfig, Sensitive, check_config, parse_risk_config
from enclave.risk.csv_records import csv_records
from enclave.risk.diversity import SensitiveCounts
from enclave.risk.encoding import code, encode, next_level, value_order
from enclave.risk.hierarchy import CodedColumn, code_column
from enclave.risk.image import ImageRisk, image_holds, image_risk
from enclave.risk.incremental import Standing
from enclave.risk.local import LocalRecoding, entropy_of, recode_locally, recode_rest
from enclave.risk.lowering import Lattice, steered
from enclave.risk.measuring import Mask, Prepared, complete_rows, measure
from enclave.risk.recoding import all_rows, general_population, generalised, locally_generalised
from enclave.risk.search import MAX_NODES, Found, Node, search
from enclave.risk.series import series_image, series_table, told_of_series
from enclave.wire.messages.schema import Json

MAX_QIS = 32
_MOST_HEADER = 1 << 20  # characters
_DENSE = 1 << 24  # cells that may be counted in one array


@dataclass(frozen=True, slots=True, kw_only=True)
class Anonymised:
    """The table that holds the model. ``kept`` marks the rows of the input that are in ``table``, in their order.

    ``node``: the level per quasi-identifier; ``suppressed``: how many rows were left out; ``optimal``: whether no
    feasible node is better. ``entropy``: non-uniform entropy with the rows that were left out as ``*``, by which
    results of any metric and recoding compare. ``passes``: how many rows stay at which node, when there are several;
    with ``recoding`` rest the first is ``node``, with local ``node`` is the coarsest level of each column.
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
    entropy: float
    recoding: str = "full_domain"
    passes: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """Another node: what it costs, and how many rows it leaves out."""

    node: dict[str, int]
    metric_value: float
    suppressed: int


def load_config(path: Path) -> RiskConfig:
    """``risk.toml`` with the files it names, relative to it; raises ``NotFoundError`` or ``InvalidError``."""
    config = parse_risk_config(_read_text(path), read=lambda name: _read_text(path.parent / name))
    if config.population.table is not None:
        config = replace(config, population_table=read_table(path.parent / config.population.table))
    if config.image is not None and config.image.table is not None:
        config = replace(config, image_table=read_table(path.parent / config.image.table))
    if config.image is not None and config.image.public is not None:
        config = replace(config, public_table=read_table(path.parent / config.image.public))
    return config


def read_table(path: Path) -> Any:
    """An Arrow table from Parquet or CSV (delimiter sniffed, all columns as text, empty = null)."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
        return _plain_text(pq.read_table(path)) if magic == b"PAR1" else _read_csv(path)
    except FileNotFoundError:
        raise NotFoundError(f"{path.name}: wanted a table, got no such file") from None
    except (pa.ArrowException, csv.Error, OSError, UnicodeDecodeError):
        raise InvalidError(
            f"{path.name or path}: wanted CSV (UTF-8, one header line) or Parquet, got something else"
        ) from None


def assess(table: Any, config: RiskConfig) -> Assessment:
    """All measures of ``table`` (Arrow) as it is. Raises ``InvalidError`` for a missing column or an empty table."""
    return _assess(table, check_config(config))


def _assess(table: Any, config: RiskConfig) -> Assessment:
    prepared = _prepare(table, config, hierarchies=False)
    whole = prepared
    if prepared.present is not None:
        without = replace(config, nulls="own_category", sensitive=(), model=Model())
        whole = _prepare(table, without, hierarchies=False)
    found = measure(prepared, whole, config)
    if config.image is None or config.subject is None:
        return found
    of_images = _of_images(table if config.image_table is None else config.image_table, config.image, prepared, config)
    return replace(found, image=of_images, holds=found.holds | image_holds(of_images, k=config.model.k))


def series_risk(table: Any, imaging: Any, headers: Mapping[str, Json], config: RiskConfig) -> dict[str, Json]:
    """What the series of a version (its index, and their headers by name) tell of the subjects of its measured table.

    See ``told_of_series``; ``{}`` without a subject, which is what they are counted by, and without series.
    """
    if config.subject is None or imaging is None or imaging.num_rows == 0:
        return {}
    asked = replace(check_config(config), sensitive=(), model=Model(k=config.model.k))
    images = series_table(imaging, headers, subject=config.subject)
    found = _of_images(images, series_image(imaging), _prepare(table, asked, hierarchies=False), config)
    return told_of_series(found, k=config.model.k)


def _of_images(images: Any, image: Image, prepared: Prepared, config: RiskConfig) -> ImageRisk:
    if config.subject is None:
        raise InvalidError("risk: wanted a subject column to count images by, got none in the settings")
    names, subjects = encode(prepared.table.column(config.subject))
    subjects = subjects if prepared.present is None else subjects[prepared.present]
    return image_risk(
        images,
        image,
        subject=config.subject,
        of_table=(names, subjects.astype(np.int64), prepared.of_row),
        public=config.public_table,
        k=config.model.k,
    )


def blinded(table: Any, config: RiskConfig, *, key: bytes) -> Blinded:
    """What is needed to measure ``table`` and to search for its node again, without its values; forget ``key``."""
    return blind(table, check_config(config), small_areas=_small_areas(), key=key)


def stand(table: Any, config: RiskConfig) -> Standing:
    """The counts of a certified ``table``, which then tell within milliseconds what appended rows would break."""
    prepared = _prepare(table, check_config(config), hierarchies=False)
    if config.subject is None:
        return Standing(prepared, None, config)
    column = table.column(config.subject)
    values, codes = encode(column if prepared.present is None else column.filter(pa.array(prepared.present)))
    return Standing(prepared, ({value: i for i, value in enumerate(values)}, codes.astype(np.int64)), config)


def compose(tables: tuple[Any, ...], config: RiskConfig) -> JointRisk:
    """Joint classes over releases that one person can see; each counts by the quasi-identifiers that it has.

    Raises ``InvalidError`` without a subject column, which is what the releases are joined by.
    """
    check_config(config)
    if config.subject is None:
        raise InvalidError("risk: wanted a subject column to join releases by, got none in the settings")
    numbers: dict[str | None, int] = {}
    releases = []
    for table in tables:
        here = replace(
            config,
            nulls="own_category",
            qis=tuple(qi for qi in config.qis if qi.name in table.column_names),
            sensitive=(),
            model=Model(k=config.model.k),
        )
        if not here.qis:
            raise InvalidError("risk: wanted a quasi-identifier in each release, got a release without any")
        prepared = _prepare(table, here, hierarchies=False)
        values, codes = encode(table.column(config.subject))
        mapped = np.array([numbers.setdefault(value, len(numbers)) for value in values], dtype=np.int64)
        releases.append((mapped[codes], prepared.of_row))
    return joint_risk(tuple(releases), subject_count=len(numbers), k=config.model.k)


def anonymise(table: Any, config: RiskConfig) -> Anonymised:
    """Generalises and suppresses until the model holds, at the least cost.

    Columns at level 0 keep their type, others become text. Raises ``InvalidError`` (code ``not_feasible``) when no
    node is feasible within the suppression limit.
    """
    _check_table(table, check_config(config))
    coded = coded_table(table, config.qis, small_areas=_small_areas())
    prepared = _prepare(coded, config, hierarchies=True)
    model = steered(config)
    lattice = _lattice(prepared, model, config)
    found = search(lattice.problem())
    if found.node is None or found.metric is None:
        raise InvalidError(
            f"anonymise: wanted a node that holds the model, got none of {_looked_at(found)}; "
            "raise the suppression limit, lower k, or give coarser hierarchies",
            code="not_feasible",
        )
    before = _assess(table, config)
    if config.population_table is not None:
        people = coded_table(config.population_table, config.qis, small_areas=_small_areas())
        config = replace(config, population_table=people)
    recode = {"rest": _rest, "local": _locally}.get(config.model.recoding)
    recoded = None if recode is None else recode(prepared, config, lattice, found)
    finer = None if recoded is None else _apply_levels(prepared, config, found, recoded, before=before)
    return _reached(finer or _apply(prepared, config, lattice, found, before=before))


def fewer_left_out(table: Any, config: RiskConfig, found: Anonymised) -> tuple[Alternative, ...]:
    """The best nodes that leave out at most half of the rows that ``found`` does, a tenth, and none.

    The optimum takes as many rows as the limit allows where that costs less; this says what it would cost to keep them.
    """
    prepared = _prepare(coded_table(table, config.qis, small_areas=_small_areas()), config, hierarchies=True)
    others: dict[Node, Alternative] = {}
    for limit in dict.fromkeys((found.suppressed // 2, found.suppressed // 10, 0)):
        model = replace(steered(config), suppression_limit=limit / table.num_rows)
        lattice = _lattice(prepared, model, config)
        best = search(lattice.problem())
        if best.node is None or best.metric is None:
            break
        kept = all_rows(prepared, lattice.kept(best.node)[prepared.of_row])
        levels = {column.name: level for column, level in zip(prepared.columns, best.node, strict=True)}
        others[best.node] = Alternative(node=levels, metric_value=best.metric, suppressed=int((~kept).sum()))
    return tuple(others.values())


def _looked_at(found: Found) -> str:
    whole = found.nodes_total <= MAX_NODES
    return str(found.nodes_total) if whole else f"the {found.nodes_evaluated} that were tried of {found.nodes_total}"


def _lattice(prepared: Prepared, model: Model, config: RiskConfig) -> Lattice:
    return Lattice(
        prepared.columns,
        prepared.base,
        prepared.sensitive,
        model,
        row_count=prepared.table.num_rows,
        nulls=config.nulls,
    )


def _reached(found: Anonymised) -> Anonymised:
    """What the search does not steer by must hold, too; images are not a matter of levels and are only told of."""
    holds = found.assessment_after.holds
    missed = sorted(name for name, reached in holds.items() if not reached and not name.startswith("image_"))
    if missed:
        raise InvalidError(
            f"anonymise: wanted a table that holds the model, got one that misses {', '.join(missed)}; "
            "ask for a larger k, or for less of these",
            code="not_feasible",
        )
    return found


# ── reading ─────────────────────────────────────────────────────────────────


def _prepare(table: Any, config: RiskConfig, *, hierarchies: bool) -> Prepared:
    _check_table(table, config)
    present = complete_rows(table, config) if config.nulls == "drop" else None
    wanted = table.select(_names(config))
    kept = wanted if present is None else wanted.filter(pa.array(present))  # others are no part of the columns
    if not kept.num_rows:
        raise InvalidError("risk: wanted rows without nulls in the quasi-identifiers, got none")
    columns = tuple(
        code(kept.column(qi.name), qi.name, hierarchy=qi.hierarchy if hierarchies else None) for qi in config.qis
    )
    subjects = _subject_codes(kept, config)
    of_row, count = number([c.codes for c in columns], [len(c.labels[0]) for c in columns], len(subjects))
    base = _base_classes(columns, of_row, count, subjects, by_subject=config.subject is not None)
    sensitive = tuple(_sensitive_counts(kept, one, of_row=of_row) for one in config.sensitive)
    return Prepared(table, columns, base, of_row, sensitive, present)


def _names(config: RiskConfig) -> list[str]:
    """The columns that are measured."""
    names = [qi.name for qi in config.qis] + [one.name for one in config.sensitive]
    return names + ([config.subject] if config.subject else [])


def _check_table(table: Any, config: RiskConfig) -> None:
    wanted, known = _names(config), set(table.column_names)
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


def _base_classes(
    columns: tuple[CodedColumn, ...], of_row: Ints, count: int, subjects: Ints, *, by_subject: bool
) -> BaseClasses:
    codes = np.empty((count, len(columns)), dtype=np.int32)
    for i, column in enumerate(columns):
        codes[of_row, i] = column.codes
    if not by_subject:
        rows = np.bincount(of_row, minlength=count).astype(np.int64)
        return BaseClasses(codes, rows, rows, len(subjects))
    rows = np.bincount(of_row, minlength=count).astype(np.int64)
    subject_count = int(subjects.max()) + 1
    last = np.full(subject_count, -1, dtype=np.int64)
    last[subjects] = of_row
    if np.array_equal(last[subjects], of_row):  # each subject in one combination: subjects can be added
        held = last[last >= 0]
        return BaseClasses(codes, rows, np.bincount(held, minlength=count).astype(np.int64), len(held))
    pairs = _query("select distinct c, s from scanned order by c, s", c=of_row, s=subjects)
    each = np.bincount(pairs["c"], minlength=count).astype(np.int64)
    return BaseClasses(codes, rows, each, subject_count, pairs["c"], pairs["s"])


def _sensitive_counts(table: Any, column: Sensitive, *, of_row: Ints) -> SensitiveCounts:
    name = column.name
    values, codes = encode(table.column(name))
    ordered = column.distance == "ordered"
    order = value_order(values, column.order if ordered else (), name)
    span = max([len(column.order) if ordered else 0, *(order + 1).tolist()])
    levels: tuple[Ints, ...] = ()
    if column.hierarchy is not None and column.distance == "hierarchical":
        coded = code_column(name, [values[i] for i in np.argsort(order)], codes, hierarchy=column.hierarchy)
        levels = tuple(next_level(coded, level) for level in range(1, coded.height))
        roots = {row[-1] for row in column.hierarchy.rows} | set(coded.labels[-1])
        if len(roots) > 1:  # several trees, or a null beside one: they meet in a root above
            levels = (*levels, np.zeros(len(coded.labels[-1]), dtype=np.int64))
    counted = _pairs(of_row, order[codes], span)
    numbers = {value: int(rank) for value, rank in zip(values, order, strict=True)}
    return SensitiveCounts(
        name, column.distance, counted["c"], counted["v"], counted["n"], span, levels, numbers=numbers
    )


def _pairs(combination: Ints, value: Ints, value_count: int) -> dict[str, Ints]:
    """How often each value stands in each combination, sorted by both."""
    span = (int(combination.max()) + 1) * value_count
    if span > _DENSE:
        sql = "select c, v, count(*) as n from scanned group by c, v order by c, v"
        return _query(sql, c=combination, v=value)
    counts = np.bincount(combination * value_count + value, minlength=span)
    present = np.flatnonzero(counts)
    return {"c": present // value_count, "v": present % value_count, "n": counts[present].astype(np.int64)}


def _query(sql: str, **arrays: npt.NDArray[Any]) -> dict[str, Ints]:
    """One statement over the arrays as table ``scanned``, in memory, without any access to files."""
    with duckdb.connect(":memory:", config={"enable_external_access": "false"}) as db:
        db.register("scanned", pa.table(arrays))
        return {name: np.asarray(column).astype(np.int64) for name, column in db.execute(sql).fetchnumpy().items()}


def _small_areas() -> frozenset[str]:
    return parse_zip3(files("enclave.risk").joinpath("zip3.toml").read_text("utf-8"))


# ── lowering ────────────────────────────────────────────────────────────────


def _apply(prepared: Prepared, config: RiskConfig, lattice: Lattice, found: Found, *, before: Assessment) -> Anonymised:
    """One node for all rows."""
    node = found.node or ()
    released = lattice.kept(node)
    kept = all_rows(prepared, released[prepared.of_row])
    table = generalised(prepared, node).filter(pa.array(kept))
    return Anonymised(
        table=table,
        assessment_before=before,
        assessment_after=_assess(table, replace(config, population_table=general_population(config, node))),
        node={column.name: level for column, level in zip(prepared.columns, node, strict=True)},
        metric_value=found.metric or 0.0,
        suppressed=int((~kept).sum()),
        nodes_total=found.nodes_total,
        nodes_evaluated=found.nodes_evaluated,
        optimal=found.optimal,
        kept=kept,
        entropy=entropy_of(prepared.columns, prepared.base, _one_node(node, released)),
    )


def _one_node(node: Node, kept: Mask) -> npt.NDArray[np.int16]:
    return np.where(kept[:, None], np.array(node, dtype=np.int16), np.int16(-1))


def _locally(prepared: Prepared, config: RiskConfig, lattice: Lattice, found: Found) -> LocalRecoding | None:
    """None when one node for all is as good."""
    base, columns, node = prepared.base, prepared.columns, found.node or ()
    local = recode_locally(columns, base, prepared.sensitive, steered(config), row_count=prepared.table.num_rows)
    if local is None or local.cost >= entropy_of(columns, base, _one_node(node, lattice.kept(node))):
        return None
    return local


def _rest(prepared: Prepared, config: RiskConfig, lattice: Lattice, found: Found) -> LocalRecoding | None:
    """None when the one node leaves nothing out, or nothing of it can be kept."""
    node = found.node or ()
    kept = lattice.kept(node)
    rest = recode_rest(prepared.columns, prepared.base, prepared.sensitive, steered(config), node=node, kept=kept)
    return rest if len(rest.passes) > 1 else None


def _apply_levels(
    prepared: Prepared, config: RiskConfig, found: Found, recoded: LocalRecoding, *, before: Assessment
) -> Anonymised | None:
    """The table with several nodes, or None when the parts do not hold the model together."""
    kept = all_rows(prepared, recoded.kept[prepared.of_row])
    table = locally_generalised(prepared, recoded.levels).filter(pa.array(kept))
    after = _assess(table, replace(config, population_table=None))
    if not all(after.holds[name] for name in ("k", "l", "t", "beta", "delta") if name in after.holds):
        return None
    names = [column.name for column in prepared.columns]
    rest = config.model.recoding == "rest"
    node = recoded.passes[0].node if rest else recoded.levels.max(axis=0).tolist()
    return Anonymised(
        table=table,
        assessment_before=before,
        assessment_after=after,
        node=dict(zip(names, node, strict=True)),
        metric_value=found.metric or 0.0 if rest else recoded.cost,
        suppressed=int((~kept).sum()),
        nodes_total=found.nodes_total,
        nodes_evaluated=found.nodes_evaluated + recoded.nodes_evaluated,
        optimal=found.optimal and rest,
        kept=kept,
        entropy=recoded.cost,
        recoding=config.model.recoding,
        passes=tuple({"node": dict(zip(names, one.node, strict=True)), "rows": one.rows} for one in recoded.passes),
    )


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise NotFoundError(f"{path.name}: wanted a file, got none") from None
    except (OSError, UnicodeDecodeError):
        raise InvalidError(f"{path.name}: wanted UTF-8 text, got something else") from None


def _plain_text(table: Any) -> Any:
    """Text in the form that all kernels of Arrow know."""
    for i, field in enumerate(table.schema):
        if pa.types.is_string_view(field.type):
            table = table.set_column(i, field.name, table.column(i).cast(pa.string()))
    return table


def _read_csv(path: Path) -> Any:
    import pyarrow.csv as pv

    with path.open(encoding="utf-8-sig", newline="") as file:
        header = _first_record(file.read(_MOST_HEADER))
    outside = re.sub(r'"[^"]*"', "", header)
    delimiter = max(",;\t|", key=outside.count)
    names = next(csv_records(header, delimiter=delimiter), [])
    return pv.read_csv(
        path,
        parse_options=pv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=pv.ConvertOptions(
            column_types={name: pa.string() for name in names}, strings_can_be_null=True, null_values=[""]
        ),
    )


def _first_record(text: str) -> str:
    """Up to the first line end that is not inside quotes."""
    found = re.match(r'(?:"[^"]*"|[^"\r\n])*', text)
    return found[0] if found else ""
