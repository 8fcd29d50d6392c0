"""A recipe: the profile's options, how far dates move, which private elements stay, what each table column is."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from enclave.core.errors import InvalidError, NotFoundError
from enclave.core.settings import build
from enclave.deid.profile import DEFAULT_OPTIONS, PIXEL_OPTIONS, check_options
from enclave.deid.table import PrivateElement

ROLES: dict[str, str] = {  # role of a table column → what happens with it
    "direct_identifier": "removed; its values are searched for everywhere else",
    "link": "the patient's id: the same pseudonym as in DICOM, and the key of the date shift",
    "pseudonym": "another number (visit, accession): replaced under the key",
    "quasi_identifier": "kept; risk is measured over it and it is generalised at intake",
    "age": "as quasi_identifier, in years; over 89 becomes 90",
    "sensitive": "kept",
    "date": "moved by the patient's offset",
    "free_text": "removed",
    "plain": "kept",
}
_ELEMENT = re.compile(r"\(?([0-9a-fA-F]{4}),\s*(?:xx|XX|[0-9a-fA-F]{2})?([0-9a-fA-F]{2})\)?")
MAX_SHIFT_LIMIT_DAYS = 36_500


@dataclass(frozen=True, slots=True)
class DateSpec:
    """``[dates]``."""

    max_shift_days: int = 730


@dataclass(frozen=True, slots=True)
class AllowedElement:
    """One entry of ``[private] allow``: ``{creator = "GEMS_PARM_01", element = "0043,xx39"}``."""

    creator: str
    element: str


@dataclass(frozen=True, slots=True)
class PrivateSpec:
    """``[private]``: elements that stay besides the standard's safe list."""

    allow: tuple[AllowedElement, ...] = ()


@dataclass(frozen=True, slots=True)
class TableSpec:
    """``[tables.NAME]``: the role of every column of NAME.csv or NAME.parquet."""

    columns: dict[str, str] = field(default_factory=dict)

    def of_role(self, *roles: str) -> tuple[str, ...]:
        """The columns that have one of ``roles``, in order."""
        return tuple(name for name, role in self.columns.items() if role in roles)


@dataclass(frozen=True, slots=True)
class CanarySpec:
    """``[canaries]``: synthetic patients added to a job and looked for in what comes out."""

    count: int = 0


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a run does; the defaults are those of a run without a recipe.

    ``long_text``: running text keeps known words only (``vocabulary``), or is cleaned by detectors and flagged for a
    human (``detectors``), which keeps sentences readable and may miss names of people outside of the study.
    """

    profile: str = "basic"
    options: tuple[str, ...] = DEFAULT_OPTIONS
    pseudonym_domain: str = "dataset"
    long_text: str = "vocabulary"
    dates: DateSpec = field(default_factory=DateSpec)
    private: PrivateSpec = field(default_factory=PrivateSpec)
    tables: dict[str, TableSpec] = field(default_factory=dict)
    canaries: CanarySpec = field(default_factory=CanarySpec)

    @property
    def pixels_cleaned(self) -> bool:
        """Whether images that may show text or a face are dealt with."""
        return all(option in self.options for option in PIXEL_OPTIONS)

    def allowed_private(self) -> frozenset[PrivateElement]:
        """The private elements of ``[private] allow``."""
        return frozenset(_element(entry) for entry in self.private.allow)


def parse_recipe(text: str) -> Recipe:
    """A recipe from TOML; raises ``InvalidError`` naming what is wrong in it."""
    return build_recipe(_load(text))


def build_recipe(document: dict[str, Any]) -> Recipe:
    """A recipe from a TOML document, checked."""
    recipe = build(Recipe, document, where="recipe")
    if recipe.profile != "basic":
        raise InvalidError("recipe profile: wanted 'basic', got another; it is the only profile of PS3.15")
    if recipe.pseudonym_domain not in ("dataset", "project"):
        raise InvalidError("recipe pseudonym_domain: wanted dataset or project, got another word")
    if recipe.long_text not in ("vocabulary", "detectors"):
        raise InvalidError("recipe long_text: wanted vocabulary or detectors, got another word")
    if not 1 <= recipe.dates.max_shift_days <= MAX_SHIFT_LIMIT_DAYS:
        raise InvalidError(f"recipe dates.max_shift_days: wanted 1 to {MAX_SHIFT_LIMIT_DAYS}, got another number")
    if not 0 <= recipe.canaries.count <= 100:
        raise InvalidError("recipe canaries.count: wanted 0 to 100, got another number")
    for entry in recipe.private.allow:
        _element(entry)
    for name, spec in recipe.tables.items():
        _check_table(name, spec)
    return replace(recipe, options=check_options(recipe.options))


def read_recipe(path: Path) -> Recipe:
    """The recipe in a file; raises ``NotFoundError`` or ``InvalidError``."""
    try:
        return parse_recipe(path.read_text("utf-8"))
    except FileNotFoundError:
        raise NotFoundError(f"recipe: wanted a TOML file at {path}, got none") from None
    except (OSError, UnicodeDecodeError):
        raise InvalidError(f"recipe: wanted a readable TOML file at {path}, got something else") from None


def _load(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidError(f"recipe: wanted TOML, got a syntax error: {error}") from None


def _element(entry: AllowedElement) -> PrivateElement:
    found = _ELEMENT.fullmatch(entry.element.strip())
    if not found or not int(found.group(1), 16) % 2:
        raise InvalidError("recipe private.allow: wanted an odd group and an element such as 0043,xx39, got another")
    return PrivateElement(entry.creator, int(found.group(1), 16), int(found.group(2), 16))


def _check_table(name: str, spec: TableSpec) -> None:
    for column, role in spec.columns.items():
        if role not in ROLES:
            raise InvalidError(f"recipe tables.{name}.{column}: wanted one of {', '.join(ROLES)}, got {role!r}")
    links = spec.of_role("link")
    if len(links) > 1 or (not links and spec.of_role("date")):
        raise InvalidError(
            f"recipe tables.{name}: wanted one column of role link (dates move by patient), got {len(links)}"
        )
