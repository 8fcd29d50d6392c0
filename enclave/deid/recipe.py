"""A recipe: the profile's options, how far dates move, which private elements stay, what each table column is."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from enclave.core.errors import InvalidError, NotFoundError
from enclave.core.settings import build
from enclave.deid.dates import TIMES
from enclave.deid.minimum import parse_attributes
from enclave.deid.profile import DEFAULT_OPTIONS, PIXEL_OPTIONS, check_options
from enclave.deid.table import PrivateElement, safe_private

ROLES: dict[str, str] = {  # role of a table column → what happens with it
    "direct_identifier": "removed; its values are searched for everywhere else",
    "link": "the patient's id: the same pseudonym as in DICOM, and the key of the date shift",
    "accession": "the accession number: the same pseudonym as in DICOM; links the row when there is no patient's id",
    "uid": "a DICOM UID: the same new UID as in DICOM; one of a study or series links the row, as accession does",
    "pseudonym": "another number (visit, order): replaced under the key",
    "quasi_identifier": "kept; risk is measured over it and it is generalised at intake",
    "age": "as quasi_identifier, in years; over 89 becomes 90",
    "sensitive": "kept; cells that identify are removed",
    "date": "moved by the patient's offset",
    "free_text": "cleaned as running text of DICOM is, and flagged for a person to read",
    "plain": "kept; cells that identify are removed",
    "not_needed": "removed: the purpose does not need it",
}
_ROLE_NAMES = {  # other words that people use for a role
    **dict.fromkeys(("qi", "quasi"), "quasi_identifier"),
    **dict.fromkeys(("direct", "identifier"), "direct_identifier"),
    **dict.fromkeys(("link_to_dicom", "dicom_link", "patient_id"), "link"),
    **dict.fromkeys(("text", "freetext"), "free_text"),
}
LINK_ROLES = ("link", "accession", "uid")  # what says whose row it is, strongest first
_ELEMENT = re.compile(r"\(?([0-9a-fA-F]{4}),\s*(?:xx|XX|[0-9a-fA-F]{2})?([0-9a-fA-F]{2})\)?")
INTAKE_TABLES = ("risk", "determination")
MAX_SHIFT_LIMIT_DAYS = 36_500


@dataclass(frozen=True, slots=True)
class DateSpec:
    """``[dates]``: how far dates move, and what stays of times of day: exact, hour or none."""

    max_shift_days: int = 730
    times: str = "exact"


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

    @property
    def key_column(self) -> str:
        """The column that says whose row it is: the patient's id, else an accession number, else a UID; '' if none."""
        return next((name for role in LINK_ROLES for name in self.of_role(role)), "")


@dataclass(frozen=True, slots=True)
class FaceSpec:
    """``[faces] removal``: ``face`` takes out what lies in front of and below the brain, ``skull``
    all but the brain."""

    removal: str = "face"


@dataclass(frozen=True, slots=True)
class MinimumSpec:
    """``[minimum]``: the purpose of the data set, and the only attributes it needs, as keywords or tags.

    Without a list all that may stay does. What stands in a sequence goes or stays with it.
    """

    purpose: str = ""
    attributes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CanarySpec:
    """``[canaries]``: synthetic patients added to a job and looked for in what comes out."""

    count: int = 0


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a run does; the defaults are those of a run without a recipe.

    ``long_text``: running text keeps known words only (``vocabulary``), or is cleaned by detectors and flagged for a
    human (``detectors``), which keeps sentences readable and may miss names of people outside of the study; ``auto``:
    by detectors where they are installed.
    ``review``: whether a version is released only after a person has said yes to its sample (``required``).
    """

    profile: str = "basic"
    options: tuple[str, ...] = DEFAULT_OPTIONS
    pseudonym_domain: str = "dataset"
    review: str = "optional"
    long_text: str = "auto"
    dates: DateSpec = field(default_factory=DateSpec)
    private: PrivateSpec = field(default_factory=PrivateSpec)
    tables: dict[str, TableSpec] = field(default_factory=dict)
    canaries: CanarySpec = field(default_factory=CanarySpec)
    faces: FaceSpec = field(default_factory=FaceSpec)
    minimum: MinimumSpec = field(default_factory=MinimumSpec)

    @property
    def pixels_cleaned(self) -> bool:
        """Whether images that may show text or a face are dealt with."""
        return all(option in self.options for option in PIXEL_OPTIONS)

    def needed(self) -> frozenset[int] | None:
        """The tags of ``[minimum]``, None when it lists none."""
        return parse_attributes(self.minimum.attributes) if self.minimum.attributes else None

    def kept_private(self) -> frozenset[PrivateElement]:
        """The private elements that stay: those of ``[private] allow``, and by option those that the standard calls
        safe; a minimum lists what it needs."""
        keeps_safe = "retain_safe_private" in self.options and self.needed() is None
        allowed = frozenset(_element(entry) for entry in self.private.allow)
        return allowed | safe_private() if keeps_safe else allowed


def parse_recipe(text: str) -> Recipe:
    """A recipe from TOML; raises ``InvalidError`` naming what is wrong in it.

    One file serves both: the tables that only intake reads are left to intake, everything else must be known.
    """
    document = _load(text)
    return build_recipe(
        {name: part for name, part in document.items() if not (name in INTAKE_TABLES and isinstance(part, dict))}
    )


def build_recipe(document: dict[str, Any]) -> Recipe:
    """A recipe from a TOML document, checked."""
    recipe = build(Recipe, document, where="recipe")
    if recipe.profile != "basic":
        raise InvalidError("recipe profile: wanted 'basic', got another; it is the only profile of PS3.15")
    if recipe.pseudonym_domain not in ("dataset", "project"):
        raise InvalidError("recipe pseudonym_domain: wanted dataset or project, got another word")
    if recipe.review not in ("optional", "required"):
        raise InvalidError("recipe review: wanted optional or required, got another word")
    if recipe.long_text not in ("auto", "vocabulary", "detectors"):
        raise InvalidError("recipe long_text: wanted auto, vocabulary or detectors, got another word")
    if recipe.faces.removal not in ("face", "skull"):
        raise InvalidError("recipe faces.removal: wanted face or skull, got another word")
    _check_dates(recipe)
    if not 0 <= recipe.canaries.count <= 100:
        raise InvalidError("recipe canaries.count: wanted 0 to 100, got another number")
    for entry in recipe.private.allow:
        _element(entry)
    recipe.needed()
    named = {name: _with_role_names(spec) for name, spec in recipe.tables.items()}
    for name, spec in named.items():
        _check_table(name, spec)
    return replace(recipe, options=check_options(recipe.options), tables=named)


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


def _check_dates(recipe: Recipe) -> None:
    if not 1 <= recipe.dates.max_shift_days <= MAX_SHIFT_LIMIT_DAYS:
        raise InvalidError(f"recipe dates.max_shift_days: wanted 1 to {MAX_SHIFT_LIMIT_DAYS}, got another number")
    if recipe.dates.times not in TIMES:
        raise InvalidError(f"recipe dates.times: wanted one of {', '.join(TIMES)}, got another word")
    if recipe.dates.times != "exact" and "retain_modified_dates" not in recipe.options:
        raise InvalidError(
            f"recipe dates.times: wanted retain_modified_dates with {recipe.dates.times}, got a recipe without; "
            "full dates keep their times, and without either option no time stays"
        )


def _with_role_names(spec: TableSpec) -> TableSpec:
    """The same roles by their own names: case, blanks and hyphens do not matter."""
    plain = {column: role.lower().replace(" ", "_").replace("-", "_") for column, role in spec.columns.items()}
    return TableSpec({column: _ROLE_NAMES.get(role, role) for column, role in plain.items()})


def _check_table(name: str, spec: TableSpec) -> None:
    for column, role in spec.columns.items():
        if role not in ROLES:
            raise InvalidError(f"recipe tables.{name}.{column}: wanted one of {', '.join(ROLES)}, got {role!r}")
    links = spec.of_role("link")
    if len(links) > 1 or (not spec.key_column and spec.of_role("date")):
        raise InvalidError(
            f"recipe tables.{name}: wanted one column of role link, or one of accession or uid (dates move by patient),"
            f" got {len(links)} of role link"
        )
