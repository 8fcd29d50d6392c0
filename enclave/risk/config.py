"""``risk.toml``: which columns identify, which are sensitive, and what is asked of the classes. Pure."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from enclave.core.errors import InvalidError
from enclave.core.settings import build
from enclave.risk.hierarchy import Hierarchy, parse_hierarchy

NULLS: Final = ("own_category", "wildcard", "drop")
DISTANCES: Final = ("equal", "ordered", "hierarchical")
L_KINDS: Final = ("distinct", "entropy", "recursive")
METRICS: Final = ("entropy", "loss", "discernibility", "average_class_size")
RECODINGS: Final = ("full_domain", "local")


@dataclass(frozen=True, slots=True)
class Qi:
    """A quasi-identifier; without a hierarchy it is kept or replaced by ``*``."""

    name: str
    hierarchy: Hierarchy | None = None


@dataclass(frozen=True, slots=True)
class Sensitive:
    """A sensitive column; ``order`` lists its values from low to high for the ordered distance."""

    name: str
    distance: str = "equal"
    order: tuple[str, ...] = ()
    hierarchy: Hierarchy | None = None


@dataclass(frozen=True, slots=True)
class LDiversity:
    """``kind`` distinct | entropy | recursive; ``c`` is for recursive (c,l) only."""

    kind: str = "distinct"
    value: float = 2.0
    c: float = 3.0


@dataclass(frozen=True, slots=True)
class Model:
    """What a released table must reach. ``suppression_limit`` is the share of rows that may be left out."""

    k: int = 2
    l: LDiversity | None = None  # noqa: E741 - the name in the literature and in risk.toml
    t: float | None = None
    suppression_limit: float = 0.0
    metric: str = "entropy"
    recoding: str = "full_domain"


@dataclass(frozen=True, slots=True)
class Population:
    """What is known about everybody: their number, or a table with one count per row."""

    size: int | None = None
    table: str | None = None
    count: str = "n"


@dataclass(frozen=True, slots=True)
class RiskConfig:
    """All of it; ``subject`` None: each row is a subject. ``population_table`` is an Arrow table when there is one."""

    qis: tuple[Qi, ...]
    subject: str | None = None
    nulls: str = "own_category"
    sensitive: tuple[Sensitive, ...] = ()
    model: Model = field(default_factory=Model)
    population: Population = field(default_factory=Population)
    population_table: Any = None


@dataclass(frozen=True, slots=True)
class _QiTable:
    hierarchy: str | None = None


@dataclass(frozen=True, slots=True)
class _SensitiveTable:
    distance: str = "equal"
    order: tuple[str, ...] = ()
    hierarchy: str | None = None


@dataclass(frozen=True, slots=True)
class _Document:
    qi: dict[str, _QiTable]
    subject: str | None = None
    nulls: str = "own_category"
    population: Population = field(default_factory=Population)
    sensitive: dict[str, _SensitiveTable] = field(default_factory=dict)
    model: Model = field(default_factory=Model)


def parse_risk_config(text: str, *, read: Callable[[str], str]) -> RiskConfig:
    """The configuration in ``text``; ``read`` gives the text of a file it names. Raises ``InvalidError``."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidError(f"risk settings: wanted TOML, got a syntax error: {error}") from None
    document = build(_Document, _with_plain_numbers(table), where="risk")
    files = {name: part.hierarchy for name, part in document.qi.items()}
    files.update({name: part.hierarchy for name, part in document.sensitive.items()})
    hierarchies = {name: parse_hierarchy(read(file), name=name) for name, file in files.items() if file is not None}
    return check_config(
        RiskConfig(
            qis=tuple(Qi(name, hierarchies.get(name)) for name in document.qi),
            subject=document.subject,
            nulls=document.nulls,
            sensitive=tuple(
                Sensitive(name, part.distance, part.order, hierarchies.get(name))
                for name, part in document.sensitive.items()
            ),
            model=document.model,
            population=document.population,
        )
    )


def check_config(config: RiskConfig) -> RiskConfig:
    """Raises ``InvalidError`` for what the engine cannot do as asked."""
    if not config.qis:
        raise InvalidError("risk settings: wanted at least one [qi.NAME], got none")
    _one_of(config.nulls, NULLS, "nulls")
    _check_model(config.model, has_sensitive=bool(config.sensitive))
    for column in config.sensitive:
        _one_of(column.distance, DISTANCES, f"sensitive.{column.name}.distance")
        if column.distance == "hierarchical" and column.hierarchy is None:
            raise InvalidError(f"risk settings: wanted a hierarchy for the distance of {column.name}, got none")
    if config.population.size is not None and config.population.size < 1:
        raise InvalidError("risk settings: wanted a population size of at least 1, got less")
    _check_disjoint(config)
    return config


def _check_model(model: Model, *, has_sensitive: bool) -> None:
    _one_of(model.metric, METRICS, "model.metric")
    _one_of(model.recoding, RECODINGS, "model.recoding")
    if model.recoding != "full_domain":
        raise InvalidError('risk settings: wanted recoding = "full_domain", got local, which is not available yet')
    if model.k < 1 or not 0 <= model.suppression_limit <= 1:
        raise InvalidError("risk settings: wanted k of at least 1 and a suppression limit from 0 to 1, got others")
    if model.l is not None:
        _one_of(model.l.kind, L_KINDS, "model.l.kind")
        if model.l.value < 1:
            raise InvalidError("risk settings: wanted l of at least 1, got less")
    if model.t is not None and not 0 <= model.t <= 1:
        raise InvalidError("risk settings: wanted t from 0 to 1, got another number")
    if (model.l or model.t is not None) and not has_sensitive:
        raise InvalidError("risk settings: wanted a [sensitive.NAME] for l or t, got none")


def _check_disjoint(config: RiskConfig) -> None:
    qis, sensitive = {qi.name for qi in config.qis}, {column.name for column in config.sensitive}
    both = (qis & sensitive) | ({config.subject} & (qis | sensitive))
    if both:
        raise InvalidError(
            f"risk settings: wanted one role per column, got two for {', '.join(sorted(map(str, both)))}"
        )


def _one_of(value: str, known: tuple[str, ...], where: str) -> None:
    if value not in known:
        raise InvalidError(f"risk settings: wanted one of {', '.join(known)} for {where}, got another word")


def _with_plain_numbers(table: Mapping[str, Any]) -> dict[str, Any]:
    """Orders may list numbers; columns are compared as text."""
    result = dict(table)
    sensitive = result.get("sensitive")
    if isinstance(sensitive, dict):
        result["sensitive"] = {
            name: {**part, "order": [str(one) for one in part["order"]]}
            if isinstance(part, dict) and isinstance(part.get("order"), list)
            else part
            for name, part in sensitive.items()
        }
    return result
