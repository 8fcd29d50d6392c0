"""From the counted classes of a table to its assessment. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from enclave.core.errors import InvalidError
from enclave.risk.assessment import (
    Assessment,
    Journalist,
    NullReading,
    Presence,
    Sizes,
    attribute_measures,
    conflicting,
    journalist,
    model_holds,
    null_reading,
    prosecutor,
    sizes_of,
)
from enclave.risk.classes import BaseClasses, Classes, Ints, number, roll_up, too_many_patterns, wildcard_sizes
from enclave.risk.config import MOST_PEOPLE, RiskConfig
from enclave.risk.context import context_risk, strict_average
from enclave.risk.diversity import SensitiveCounts
from enclave.risk.encoding import encode
from enclave.risk.hierarchy import CodedColumn
from enclave.risk.individual import IndividualRisk, individual_risk
from enclave.risk.population import PopulationUniqueness, estimate

Mask = npt.NDArray[np.bool_]
MANY_QIS: Final = 11  # above, classes are small by chance and a lattice is large


@dataclass(frozen=True, slots=True)
class Prepared:
    """A table as integers: its columns, distinct combinations, the combination of each row, sensitive counts.

    ``present``: the rows that stay when nulls are dropped; None: all.
    """

    table: Any
    columns: tuple[CodedColumn, ...]
    base: BaseClasses
    of_row: Ints
    sensitive: tuple[SensitiveCounts, ...]
    present: Mask | None


def measure(prepared: Prepared, whole: Prepared, config: RiskConfig) -> Assessment:
    """All measures. ``whole`` is the same table with no row left out for its nulls (the same object without nulls)."""
    classes = roll_up(prepared.base, prepared.columns, (0,) * len(prepared.columns))
    readings = _readings(whole)
    sizes = _available(readings["wildcard"]) if config.nulls == "wildcard" else sizes_of(classes)
    recursive = round(config.model.l.value) if config.model.l else 2
    values = attribute_measures(prepared.sensitive, classes, l=recursive)
    risk = prosecutor(sizes, k=config.model.k)
    people = _population(prepared, config, classes, sizes)
    k = int(sizes.alike.min())
    unique = sizes.alike == 1
    found = Assessment(
        records=prepared.table.num_rows,
        subjects=_subjects(prepared.base),
        classes=len(classes.rows),
        k=k,
        unique_records=int(classes.rows[unique].sum()),
        sample_uniqueness=int(sizes.subjects[unique].sum()) / int(sizes.subjects.sum()),
        prosecutor=risk,
        journalist=people.journalist,
        marketer=risk.average if config.population_table is None else people.journalist.average,
        population_uniqueness=people.uniqueness,
        null_semantics={name: None if one is None else _smallest(one) for name, one in readings.items()},
        l=values.l,
        t=values.t,
        beta=values.beta,
        delta=values.delta,
        conflicting_subjects=conflicting(prepared.base),
        enhanced_beta=values.enhanced_beta,
        strict_average=strict_average(risk.average, smallest=k, floor=config.model.floor),
        context=context_risk(config.context, average=risk.average, highest=risk.max),
        individual=people.individual,
        presence=people.presence,
        null_readings=_told(readings, k=config.model.k),
    )
    holds = model_holds(found, config.model, context_threshold=config.context.threshold)
    return replace(found, holds=holds, flags=_flags(prepared, whole, found, inconsistent=people.inconsistent))


def complete_rows(table: Any, config: RiskConfig) -> Mask:
    """Rows without a null in any of the quasi-identifiers."""
    complete = np.ones(table.num_rows, dtype=bool)
    for qi in config.qis:
        values, codes = encode(table.column(qi.name))
        if None in values:
            complete &= codes != values.index(None)
    return complete


def _subjects(base: BaseClasses) -> int:
    return base.subject_count if base.pair_subject is None else len(np.unique(base.pair_subject))


def _first_of(classes: Classes) -> Ints:
    first: Ints = np.zeros(len(classes.rows), dtype=np.int64)
    first[classes.of[::-1]] = np.arange(len(classes.of))[::-1]
    return first


def _available(sizes: Sizes | None) -> Sizes:
    if sizes is None:
        raise too_many_patterns()
    return sizes


def _smallest(sizes: Sizes) -> int | None:
    return int(sizes.alike.min()) if len(sizes.alike) else None


def _readings(whole: Prepared) -> dict[str, Sizes | None]:
    """The classes by each reading of null; at level 0 a class is one combination."""
    base = whole.base
    own = Sizes(base.subjects, base.subjects, base.rows)
    complete = _complete_combinations(whole)
    if complete.all():
        return {"own_category": own, "wildcard": own, "drop": own}
    classes = roll_up(base, whole.columns, (0,) * len(whole.columns))
    first = _first_of(classes)
    wild = wildcard_sizes(base, whole.columns)
    kept = complete[first]
    return {
        "own_category": sizes_of(classes),
        "wildcard": None if wild is None else Sizes(wild[first], classes.subjects, classes.rows),
        "drop": Sizes(classes.subjects[kept], classes.subjects[kept], classes.rows[kept]),
    }


def _told(readings: dict[str, Sizes | None], *, k: int) -> dict[str, NullReading]:
    return {name: null_reading(sizes, k=k) for name, sizes in readings.items() if sizes is not None}


def _complete_combinations(prepared: Prepared) -> Mask:
    complete = np.ones(len(prepared.base.rows), dtype=bool)
    for i, column in enumerate(prepared.columns):
        code = column.null_code()
        if code is not None:
            complete &= prepared.base.codes[:, i] != code
    return complete


def _flags(prepared: Prepared, whole: Prepared, found: Assessment, *, inconsistent: bool) -> tuple[str, ...]:
    flags = []
    if whole.table.num_rows == 1:
        flags.append("one_row")
    if len(prepared.columns) > MANY_QIS:
        flags.append("more_than_11_quasi_identifiers")
    flags += [f"all_null:{column.name}" for column in whole.columns if column.labels[0] == (None,)]
    if found.conflicting_subjects:
        flags.append("subjects_with_conflicting_attributes")
    if inconsistent:
        flags.append("population_smaller_than_sample")
    return tuple(flags)


# ── against the population ──────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _People:
    journalist: Journalist
    uniqueness: PopulationUniqueness
    individual: IndividualRisk
    presence: Presence
    inconsistent: bool = False


def _population(prepared: Prepared, config: RiskConfig, classes: Classes, sizes: Sizes) -> _People:
    table, size = config.population_table, config.population.size
    sample = int(classes.subjects.sum())
    if table is None:
        if size is None:
            return _People(Journalist(), PopulationUniqueness(), IndividualRisk(), Presence())
        fraction = np.full(len(classes.subjects), min(1.0, sample / size))
        risk = individual_risk(classes.subjects, fraction, k=config.model.k) if size >= sample else IndividualRisk()
        estimated = estimate(classes.subjects, population=size)
        return _People(Journalist(), estimated, risk, Presence(), inconsistent=size < sample)
    counts, others = _counts_in_population(prepared, config, table)
    of_class = counts[_first_of(classes)]
    alike = np.maximum(of_class, sizes.alike)
    share = classes.subjects / np.maximum(of_class, classes.subjects)
    size = size or int(np.asarray(pc.sum(table.column(config.population.count)).as_py() or 0))
    return _People(
        journalist(sizes, alike),
        estimate(classes.subjects, population=size),
        individual_risk(classes.subjects, share, k=config.model.k),
        Presence(min=0.0 if others else float(share.min()), max=float(share.max())),
        inconsistent=bool((of_class < classes.subjects).any()),
    )


def _counts_in_population(prepared: Prepared, config: RiskConfig, table: Any) -> tuple[Ints, bool]:
    """How many in the population table have each base combination; whether somebody there has none of them."""
    missing = [
        name for name in (*(q.name for q in config.qis), config.population.count) if name not in table.column_names
    ]
    if missing:
        raise InvalidError(f"population table: wanted the columns {', '.join(missing)}, got a table without them")
    amounts = _amounts(table.column(config.population.count))
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
    sampled = np.zeros(count, dtype=bool)
    sampled[of[:combinations]] = True
    return totals[of[:combinations]], bool((totals[~sampled] > 0).any())


def _amounts(column: Any) -> Ints:
    try:
        amounts = np.asarray(pc.cast(column, pa.int64()).fill_null(0)).astype(np.int64)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise InvalidError("population table: wanted whole numbers as counts, got others") from None
    if (amounts < 0).any():
        raise InvalidError("population table: wanted counts of 0 or more, got less")
    if float(amounts.sum(dtype=np.float64)) > MOST_PEOPLE:
        raise InvalidError("population table: wanted at most 2^53 persons in all, got more")
    return amounts
