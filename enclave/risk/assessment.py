"""The measures of one table, as numbers that a report and the certificate carry. Pure; None is *not available*."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from enclave.risk.classes import BaseClasses, Classes
from enclave.risk.diversity import (
    SensitiveCounts,
    beta,
    closeness,
    delta,
    distinct_l,
    entropy_l,
    recursive_c,
    value_counts,
)
from enclave.risk.population import PopulationUniqueness
from enclave.wire.messages.schema import Json

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Prosecutor:
    """The attacker who knows that the person is in the table: 1/size per subject."""

    max: float | None = None
    average: float | None = None
    share_at_risk: float | None = None


@dataclass(frozen=True, slots=True)
class Journalist:
    """The attacker who looks for anybody: 1/size in the population table."""

    max: float | None = None
    average: float | None = None


@dataclass(frozen=True, slots=True)
class Diversity:
    """The weakest class of one sensitive column."""

    distinct: int | None = None
    entropy: float | None = None
    recursive_c: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """What ``risk assess`` says; the names are those of its JSON.

    ``share_at_risk``: share of subjects in classes smaller than ``model.k``. ``conflicting_subjects``: subjects
    whose rows stand in more than one class. ``null_semantics``: k under each reading of null.
    """

    records: int
    subjects: int
    classes: int
    k: int | None
    unique_records: int
    sample_uniqueness: float | None
    prosecutor: Prosecutor
    journalist: Journalist
    marketer: float | None
    population_uniqueness: PopulationUniqueness
    null_semantics: dict[str, int | None]
    l: dict[str, Diversity] = field(default_factory=dict)  # noqa: E741 - the name in the literature
    t: dict[str, float | None] = field(default_factory=dict)
    beta: dict[str, float | None] = field(default_factory=dict)
    delta: dict[str, float | None] = field(default_factory=dict)
    conflicting_subjects: int = 0

    def to_json(self) -> dict[str, Json]:
        """Plain JSON values, null for what is not available."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Per class: how many subjects look alike (``alike``), how many subjects and rows it holds, and 1 of how many."""

    alike: Ints
    subjects: Ints
    rows: Ints


def sizes_of(classes: Classes) -> Sizes:
    """The plain reading: those in the class look alike."""
    return Sizes(classes.subjects, classes.subjects, classes.rows)


def prosecutor(sizes: Sizes, *, k: int) -> Prosecutor:
    """Highest and average chance of success per subject, and the share of subjects below ``k``."""
    total = int(sizes.subjects.sum())
    if total == 0:
        return Prosecutor()
    return Prosecutor(
        max=1.0 / int(sizes.alike.min()),
        average=_average(sizes.subjects, sizes.alike),
        share_at_risk=int(sizes.subjects[sizes.alike < k].sum()) / total,
    )


def journalist(sizes: Sizes, population: Ints) -> Journalist:
    """The same against ``population``: how many in the population look alike, per class."""
    if int(sizes.subjects.sum()) == 0:
        return Journalist()
    return Journalist(max=1.0 / int(population.min()), average=_average(sizes.subjects, population))


def _average(weights: Ints, alike: Ints) -> float:
    if np.array_equal(weights, alike):
        return len(alike) / int(weights.sum())  # exact: each class adds 1
    return math.fsum((weights / alike).tolist()) / int(weights.sum())


def attribute_measures(
    counts: tuple[SensitiveCounts, ...],
    classes: Classes,
    *,
    l: int,  # noqa: E741 - the name in the literature
) -> tuple[dict[str, Diversity], dict[str, float | None], dict[str, float | None], dict[str, float | None]]:
    """l, t, β and δ of the weakest class, per sensitive column."""
    diversity, t, b, d = {}, {}, {}, {}
    for one in counts:
        found = value_counts(one, classes.of, len(classes.rows))
        diversity[one.name] = Diversity(
            int(distinct_l(found).min()), float(entropy_l(found).min()), finite(float(recursive_c(found, l=l).max()))
        )
        t[one.name] = finite(float(closeness(found, one).max()))
        b[one.name] = finite(float(beta(found).max()))
        d[one.name] = finite(float(delta(found).max()))
    return diversity, t, b, d


def finite(value: float) -> float | None:
    """The value, or None when it is infinite or not a number."""
    return value if math.isfinite(value) else None


def conflicting(base: BaseClasses) -> int:
    """How many subjects stand in more than one combination."""
    if base.pair_subject is None:
        return 0
    return int((np.bincount(base.pair_subject, minlength=base.subject_count) > 1).sum())
