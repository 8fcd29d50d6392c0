"""``risk.toml``: which columns identify, which are sensitive, and what is asked of the classes. Pure."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from typing import Any, Final

from enclave.core.errors import InvalidError
from enclave.core.settings import build
from enclave.risk.hierarchy import Hierarchy, parse_hierarchy

NULLS: Final = ("own_category", "wildcard", "drop")
DISTANCES: Final = ("equal", "ordered", "hierarchical")
L_KINDS: Final = ("distinct", "entropy", "recursive")
BETA_KINDS: Final = ("basic", "enhanced")
METRICS: Final = ("entropy", "loss", "discernibility", "average_class_size")
RULES: Final = ("hipaa_zip3", "hipaa_age", "hipaa_date")
MOST_PEOPLE: Final = 2**53  # beyond, sizes are not exact
RECODINGS: Final = ("full_domain", "rest", "local")


@dataclass(frozen=True, slots=True)
class Qi:
    """A quasi-identifier; without a hierarchy it is kept or replaced by ``*``.

    Before its hierarchy, anonymising codes it by ``rule`` (hipaa_zip3 | hipaa_age | hipaa_date) and puts ``top`` and
    above, ``bottom`` and below together. ``as_of`` (ISO date): the column is a date of birth, for ages at that day.
    """

    name: str
    hierarchy: Hierarchy | None = None
    rule: str | None = None
    as_of: str | None = None
    top: float | None = None
    bottom: float | None = None


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
class BetaLikeness:
    """``kind`` basic | enhanced; ``value`` is the β that no class may exceed."""

    kind: str = "basic"
    value: float = 1.0


@dataclass(frozen=True, slots=True)
class Model:
    """What a released table must reach. ``suppression_limit`` is the share of rows that may be left out.

    ``risk``: the highest risk per subject, said instead of ``k``; becomes ``k`` (see ``smallest_class``).
    ``average``: the highest average risk, with no class smaller than ``floor`` (strict average).
    ``presence``: the bounds of δ-presence, which need a population table.
    ``recoding``: one node for all rows (full_domain); that, and what it leaves out coarser (rest); or local.
    """

    k: int = 2
    risk: float | None = None
    average: float | None = None
    floor: int = 2
    l: LDiversity | None = None  # noqa: E741 - the name in the literature and in risk.toml
    t: float | None = None
    beta: BetaLikeness | None = None
    delta: float | None = None
    presence: tuple[float, ...] = ()
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
class Context:
    """How likely each kind of attack is, where the data will be (El Emam 2013, chapters 16 to 18).

    ``attempt``: somebody with access tries on purpose. ``acquaintance``: somebody recognises a person they know; when
    it is not given, 1 − (1 − ``prevalence``)^``acquaintances`` with the share of people who are in such data.
    ``breach``: the data are lost. ``threshold``: the highest overall risk.
    """

    attempt: float | None = None
    acquaintance: float | None = None
    acquaintances: int = 150
    prevalence: float | None = None
    breach: float | None = None
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """``[image]``: the table of images (default: the assessed table), and which of its columns say what.

    ``fingerprint``: manufacturer, model, software, station, protocol, spacing and the like. ``study``, ``date``: when a
    subject was scanned; intervals count in steps of ``interval_days``. ``face``: none, removed, visible, or the share
    of the face that shows. ``pixel``, ``uid``: columns that ``public``, a table of public copies, has too.
    """

    table: str | None = None
    fingerprint: tuple[str, ...] = ()
    study: str | None = None
    date: str | None = None
    interval_days: int = 1
    face: str | None = None
    pixel: str | None = None
    uid: str | None = None
    public: str | None = None


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
    context: Context = field(default_factory=Context)
    image: Image | None = None
    image_table: Any = None
    public_table: Any = None


@dataclass(frozen=True, slots=True)
class _QiTable:
    hierarchy: str | None = None
    rule: str | None = None
    as_of: str | None = None
    top: float | None = None
    bottom: float | None = None


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
    context: Context = field(default_factory=Context)
    image: Image | None = None


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
            qis=tuple(
                Qi(name, hierarchies.get(name), part.rule, part.as_of, part.top, part.bottom)
                for name, part in document.qi.items()
            ),
            subject=document.subject,
            nulls=document.nulls,
            sensitive=tuple(
                Sensitive(name, part.distance, part.order, hierarchies.get(name))
                for name, part in document.sensitive.items()
            ),
            model=_with_class_size(document.model, stated="k" in table.get("model", {})),
            population=document.population,
            context=document.context,
            image=document.image,
        )
    )


def smallest_class(risk: float) -> int:
    """The class size that a highest risk stands for: 0.09 means 11, although 1/11 is more than 0.09.

    Thresholds are customarily 1/k cut to two decimals (or as many as are given). So the whole part of 1/risk is taken
    where its own 1/k, cut alike, is not above ``risk``, else the next integer. What is compared later are class sizes.
    """
    given = Decimal(repr(risk))
    if not (given.is_finite() and 0 < given <= 1):
        raise InvalidError("risk settings: wanted a risk above 0 and up to 1, got another number")
    exponent = given.as_tuple().exponent
    step = 10 ** max(2, -exponent if isinstance(exponent, int) else 2)
    size = int(1 / given)
    return size if step // size <= given * step else size + 1


def _with_class_size(model: Model, *, stated: bool) -> Model:
    if model.risk is None:
        return model
    if stated:
        raise InvalidError("risk settings: wanted k or risk in [model], got both; they say the same")
    return replace(model, k=smallest_class(model.risk))


def check_config(config: RiskConfig) -> RiskConfig:
    """Raises ``InvalidError`` for what the engine cannot do as asked."""
    if not config.qis:
        raise InvalidError("risk settings: wanted at least one [qi.NAME], got none")
    _one_of(config.nulls, NULLS, "nulls")
    for qi in config.qis:
        _check_coding(qi)
    _check_model(config.model, has_sensitive=bool(config.sensitive))
    for column in config.sensitive:
        _one_of(column.distance, DISTANCES, f"sensitive.{column.name}.distance")
        if column.distance == "hierarchical" and column.hierarchy is None:
            raise InvalidError(f"risk settings: wanted a hierarchy for the distance of {column.name}, got none")
    if config.population.size is not None and not 1 <= config.population.size <= MOST_PEOPLE:
        raise InvalidError("risk settings: wanted a population size from 1 to 2^53, got another number")
    _check_context(config.context)
    if config.image is not None:
        _check_image(config.image, subject=config.subject)
    if config.model.presence and config.population_table is None and config.population.table is None:
        raise InvalidError("risk settings: wanted a population table for presence, got none")
    _check_disjoint(config)
    return config


def _check_model(model: Model, *, has_sensitive: bool) -> None:
    _one_of(model.metric, METRICS, "model.metric")
    _one_of(model.recoding, RECODINGS, "model.recoding")
    if model.recoding == "local" and model.metric != "entropy":
        raise InvalidError("risk settings: wanted metric entropy beside local recoding, got another")
    if model.recoding != "full_domain" and model.presence:
        raise InvalidError(f"risk settings: wanted no presence beside recoding {model.recoding}, got bounds for it")
    if model.k < 1 or not 0 <= model.suppression_limit <= 1:
        raise InvalidError("risk settings: wanted k of at least 1 and a suppression limit from 0 to 1, got others")
    if model.l is not None:
        _one_of(model.l.kind, L_KINDS, "model.l.kind")
        _check_diversity(model.l)
    if model.t is not None and not 0 <= model.t <= 1:
        raise InvalidError("risk settings: wanted t from 0 to 1, got another number")
    of_values = (model.l, model.t, model.beta, model.delta)
    if any(one is not None for one in of_values) and not has_sensitive:
        raise InvalidError("risk settings: wanted a [sensitive.NAME] for l, t, beta or delta, got none")
    _check_bounds(model)


def _check_diversity(wanted: LDiversity) -> None:
    if not 1 <= wanted.value < math.inf:
        raise InvalidError("risk settings: wanted l of at least 1, got another number")
    if wanted.kind != "entropy" and wanted.value != int(wanted.value):
        raise InvalidError(f"risk settings: wanted a whole number as l of kind {wanted.kind}, got a fraction")
    if not 0 < wanted.c < math.inf:
        raise InvalidError("risk settings: wanted c above 0, got another number")


def _check_image(image: Image, *, subject: str | None) -> None:
    if subject is None:
        raise InvalidError("risk settings: wanted a subject column beside [image], got none")
    if image.interval_days < 1:
        raise InvalidError("risk settings: wanted steps of 1 day or more for intervals, got less")
    if image.study is not None and image.date is None:
        raise InvalidError("risk settings: wanted the date of a study beside it in [image], got none")
    if image.public is not None and image.pixel is None and image.uid is None:
        raise InvalidError("risk settings: wanted pixel or uid in [image] to compare with public copies, got none")


def _check_coding(qi: Qi) -> None:
    if qi.rule is not None:
        _one_of(qi.rule, RULES, f"qi.{qi.name}.rule")
    if qi.as_of is not None and (qi.rule != "hipaa_date" or not _is_date(qi.as_of)):
        raise InvalidError(f"risk settings: wanted as_of as YYYY-MM-DD beside hipaa_date for {qi.name}, got another")
    if not all(end is None or math.isfinite(end) for end in (qi.top, qi.bottom)):
        raise InvalidError(f"risk settings: wanted finite numbers as top and bottom for {qi.name}, got another")
    if qi.top is not None and qi.bottom is not None and qi.bottom >= qi.top:
        raise InvalidError(f"risk settings: wanted bottom below top for {qi.name}, got the reverse")


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _check_bounds(model: Model) -> None:
    if model.beta is not None:
        _one_of(model.beta.kind, BETA_KINDS, "model.beta.kind")
        if not 0 < model.beta.value < math.inf:
            raise InvalidError("risk settings: wanted beta above 0, got another number")
    if model.delta is not None and not 0 < model.delta < math.inf:
        raise InvalidError("risk settings: wanted delta above 0, got another number")
    if model.average is not None and not 0 < model.average <= 1:
        raise InvalidError("risk settings: wanted an average risk above 0 and up to 1, got another number")
    if model.floor < 1:
        raise InvalidError("risk settings: wanted a floor of at least 1, got less")
    if model.presence and not (len(model.presence) == 2 and 0 <= model.presence[0] <= model.presence[1] <= 1):
        raise InvalidError("risk settings: wanted two bounds from 0 to 1 for presence, lower first, got others")


def _check_context(context: Context) -> None:
    for name in ("attempt", "acquaintance", "prevalence", "breach", "threshold"):
        value = getattr(context, name)
        if value is not None and not 0 <= value <= 1:
            raise InvalidError(f"risk settings: wanted a probability from 0 to 1 for context.{name}, got another")
    if context.acquaintances < 0:
        raise InvalidError("risk settings: wanted 0 or more acquaintances, got less")
    if context.acquaintance is not None and context.prevalence is not None:
        raise InvalidError("risk settings: wanted acquaintance or prevalence in [context], got both")


def _check_disjoint(config: RiskConfig) -> None:
    if len({qi.name for qi in config.qis}) != len(config.qis):
        raise InvalidError("risk settings: wanted each quasi-identifier once, got one twice")
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
