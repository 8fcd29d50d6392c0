"""A recipe as intake reads it: how to de-identify, and which table is measured against which model."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from enclave.core.canonical import digest_hex
from enclave.core.errors import InvalidError, NotFoundError
from enclave.core.ids import check_name
from enclave.core.settings import build
from enclave.deid.recipe import Recipe, build_recipe
from enclave.intake.drafting import DeterminationSpec, DraftTerms, read_draft_terms
from enclave.risk.config import RiskConfig
from enclave.risk.engine import load_config

INDEXES = ("imaging", "documents")
"""The tables that intake makes of what it collected; no table that is handed in has such a name."""


@dataclass(frozen=True, slots=True)
class RiskSpec:
    """``[risk]``: the table that holds the quasi-identifiers, and the ``risk.toml`` beside the recipe."""

    table: str
    config: str


@dataclass(frozen=True, slots=True)
class IntakeRecipe:
    """What one recipe name stands for."""

    name: str
    deid: Recipe
    risk_table: str
    risk: RiskConfig
    sha256: str = ""  # over the recipe's own bytes and those of the files that it names
    determination: DraftTerms | None = None  # without it somebody drafts by hand


def read_intake_recipe(name: str, *, folder: str = "") -> IntakeRecipe:
    """The recipe ``name`` from the site's ``folder``, else the shipped one; raises ``NotFoundError``, ``InvalidError``.

    Intake seals only what was cleaned and measured: without the pixel options or without ``[risk]`` it is refused.
    """
    path = _find(check_name(name, what="recipe"), folder)
    document = _load(path)
    part = document.pop("risk", None)
    if not isinstance(part, dict):
        raise InvalidError(f"recipe {name}: wanted a table [risk] (intake measures what it seals), got none")
    spec = build(RiskSpec, part, where="risk")
    determination = document.pop("determination", None)
    deid = build_recipe(document)
    if not deid.pixels_cleaned:
        raise InvalidError(
            f"recipe {name}: wanted clean_pixel_data and clean_recognizable_features, got a recipe without; "
            "images that may show text or a face are not sealed",
            code="pixels_not_cleaned",
        )
    if taken := sorted(set(INDEXES) & set(deid.tables)):
        raise InvalidError(
            f"recipe {name}: wanted tables with names of their own, got {taken[0]}; intake makes that one"
        )
    if spec.table not in deid.tables or not deid.tables[spec.table].of_role("link"):
        raise InvalidError(f"recipe {name}: wanted [risk] table among [tables] with a link column, got another")
    risk = load_config(path.parent / spec.config)
    _check_measured(name, deid, spec.table, risk)
    terms = _draft_terms(name, determination, path.parent)
    return IntakeRecipe(name, deid, spec.table, risk, _sha256(path, spec.config), terms)


def _sha256(path: Path, config: str) -> str:
    """Of the recipe and of all that lies beside its risk settings: hierarchies are part of what was done."""
    beside = sorted(file for file in (path.parent / config).parent.glob("*") if file.is_file())
    hashed = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in (path, *beside)}
    return digest_hex(hashed)


def _draft_terms(name: str, part: Any, folder: Path) -> DraftTerms | None:
    if part is None:
        return None
    if not isinstance(part, dict):
        raise InvalidError(f"recipe {name}: wanted [determination] as a table, got something else")
    return read_draft_terms(folder / build(DeterminationSpec, part, where="determination").config)


def _check_measured(name: str, deid: Recipe, table: str, risk: RiskConfig) -> None:
    """Each declared quasi-identifier must be in the measured table and in the measure; none is forgotten."""
    declared = {column for spec in deid.tables.values() for column in spec.of_role("quasi_identifier", "age")}
    of_table = set(deid.tables[table].of_role("quasi_identifier", "age"))
    measured = {qi.name for qi in risk.qis}
    if declared != of_table or declared != measured:
        raise InvalidError(
            f"recipe {name}: wanted all quasi-identifiers in {table} and in its risk settings, "
            f"got {len(declared)} declared and {len(measured & of_table)} measured"
        )


def _find(name: str, folder: str) -> Path:
    shipped = Path(str(files("enclave.intake").joinpath("recipes")))
    places = [Path(folder), shipped] if folder else [shipped]
    for place in places:
        if (place / f"{name}.toml").is_file():
            return place / f"{name}.toml"
    known = sorted({path.stem for place in places for path in place.glob("*.toml")})
    raise NotFoundError(f"recipe: wanted one of {', '.join(known)}, got another name")


def _load(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise InvalidError(f"recipe {path.stem}: wanted TOML, got a syntax error") from None
