"""The measures of one table, as numbers that a report and the certificate carry. Pure; None is *not available*."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from enclave.risk.classes import BaseClasses, Classes
from enclave.risk.config import Model
from enclave.risk.context import ContextRisk, StrictAverage
from enclave.risk.diversity import (
    SensitiveCounts,
    beta,
    closeness,
    delta,
    distinct_l,
    enhanced_beta,
    entropy_l,
    recursive_c,
    value_counts,
)
from enclave.risk.image import ImageRisk
from enclave.risk.individual import IndividualRisk
from enclave.risk.population import PopulationUniqueness
from enclave.wire.messages.schema import Json

Ints = npt.NDArray[np.int64]
TOLERANCE: Final = 1e-12  # rounding of sums of shares; classes are compared as integers


@dataclass(frozen=True, slots=True)
class Prosecutor:
    """The attacker who knows that the person is in the table: 1/size per subject."""

    max: float | None = None
    average: float | None = None
    share_at_risk: float | None = None


@dataclass(frozen=True, slots=True)
class Journalist:
    """The attacker who looks for anybody: 1/size in the population table; ``k_map`` is the smallest such size."""

    max: float | None = None
    average: float | None = None
    k_map: int | None = None


@dataclass(frozen=True, slots=True)
class Presence:
    """δ-presence (Nergiz, Atzori, Clifton 2007): bounds of the share of a population class that is in the table."""

    min: float | None = None
    max: float | None = None


@dataclass(frozen=True, slots=True)
class NullReading:
    """The table when null is read in one way: as a value of its own, as any value, or as a reason to leave rows out."""

    records: int
    k: int | None = None
    unique_records: int = 0
    average: float | None = None
    share_at_risk: float | None = None


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
    whose rows stand in more than one class. ``null_semantics``: k under each reading of null, of which
    ``null_readings`` says more. ``holds``: for each part of the model whether the table reaches it. ``flags``: what a
    reader has to know, as words and names of columns.
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
    enhanced_beta: dict[str, float | None] = field(default_factory=dict)
    strict_average: StrictAverage | None = None
    context: ContextRisk = field(default_factory=ContextRisk)
    individual: IndividualRisk = field(default_factory=IndividualRisk)
    presence: Presence = field(default_factory=Presence)
    null_readings: dict[str, NullReading] = field(default_factory=dict)
    holds: dict[str, bool] = field(default_factory=dict)
    image: ImageRisk | None = None
    flags: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """Plain JSON values, null for what is not available."""
        found = dataclasses.asdict(self)
        found["flags"] = list(self.flags)
        return found


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
    smallest = int(population.min())
    return Journalist(max=1.0 / smallest, average=_average(sizes.subjects, population), k_map=smallest)


def null_reading(sizes: Sizes, *, k: int) -> NullReading:
    """The measures of these classes that depend on how null is read."""
    if not len(sizes.rows):
        return NullReading(records=0)
    risk = prosecutor(sizes, k=k)
    return NullReading(
        records=int(sizes.rows.sum()),
        k=int(sizes.alike.min()),
        unique_records=int(sizes.rows[sizes.alike == 1].sum()),
        average=risk.average,
        share_at_risk=risk.share_at_risk,
    )


def _average(weights: Ints, alike: Ints) -> float:
    if np.array_equal(weights, alike):
        return len(alike) / int(weights.sum())  # exact: each class adds 1
    return math.fsum((weights / alike).tolist()) / int(weights.sum())


@dataclass(frozen=True, slots=True)
class AttributeMeasures:
    """The weakest class per sensitive column."""

    l: dict[str, Diversity]  # noqa: E741 - the name in the literature
    t: dict[str, float | None]
    beta: dict[str, float | None]
    enhanced_beta: dict[str, float | None]
    delta: dict[str, float | None]


def attribute_measures(counts: tuple[SensitiveCounts, ...], classes: Classes, *, l: int) -> AttributeMeasures:  # noqa: E741 - the name in the literature
    """l, t, β (basic and enhanced) and δ of the weakest class, per sensitive column."""
    measures = AttributeMeasures({}, {}, {}, {}, {})
    for one in counts:
        found = value_counts(one, classes.of, len(classes.rows))
        measures.l[one.name] = Diversity(
            int(distinct_l(found).min()), float(entropy_l(found).min()), finite(float(recursive_c(found, l=l).max()))
        )
        measures.t[one.name] = finite(float(closeness(found, one).max()))
        measures.beta[one.name] = finite(float(beta(found).max()))
        measures.enhanced_beta[one.name] = finite(float(enhanced_beta(found).max()))
        measures.delta[one.name] = finite(float(delta(found).max()))
    return measures


def model_holds(found: Assessment, model: Model, *, context_threshold: float | None) -> dict[str, bool]:
    """For each part of the model that was asked for; what is not available does not hold."""
    holds = {"k": found.k is not None and found.k >= model.k}
    if model.average is not None:
        strict = found.strict_average
        holds["average"] = _at_most(None if strict is None else strict.average, model.average)
    if model.l is not None:
        holds["l"] = all(_diverse(one, model) for one in found.l.values())
    if model.t is not None:
        holds["t"] = all(_at_most(value, model.t) for value in found.t.values())
    if model.beta is not None:
        measured = found.enhanced_beta if model.beta.kind == "enhanced" else found.beta
        holds["beta"] = all(_at_most(value, model.beta.value) for value in measured.values())
    if model.delta is not None:
        holds["delta"] = all(_at_most(value, model.delta) for value in found.delta.values())
    if model.presence:
        low, high = model.presence
        holds["presence"] = _at_most(found.presence.max, high) and low <= (found.presence.min or 0.0) + TOLERANCE
    if context_threshold is not None:
        holds["context"] = _at_most(found.context.average, context_threshold)
    return holds


def _diverse(found: Diversity, model: Model) -> bool:
    if model.l is None or found.distinct is None or found.entropy is None:
        return False
    if model.l.kind == "distinct":
        return found.distinct >= model.l.value
    if model.l.kind == "entropy":
        return found.entropy >= model.l.value - TOLERANCE
    return found.recursive_c is not None and found.recursive_c < model.l.c


def _at_most(value: float | None, limit: float) -> bool:
    return value is not None and value <= limit + TOLERANCE


def finite(value: float) -> float | None:
    """The value, or None when it is infinite or not a number."""
    return value if math.isfinite(value) else None


def conflicting(base: BaseClasses) -> int:
    """How many subjects stand in more than one combination."""
    if base.pair_subject is None:
        return 0
    return int((np.bincount(base.pair_subject, minlength=base.subject_count) > 1).sum())
