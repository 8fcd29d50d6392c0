"""From what was measured and what the expert declares (D.toml) to the text that they will sign. Pure."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from enclave.core.clock import format_time, parse_time
from enclave.core.errors import InvalidError
from enclave.core.ids import VersionName
from enclave.core.settings import build
from enclave.determination.certificate import Certificate, Expert, ReleaseTerms, check_certificate
from enclave.determination.completeness import TRIGGERS
from enclave.wire.messages.schema import Json

_FREE: Final[tuple[str, ...]] = (
    *("assumptions", "methods", "thresholds", "quality", "column_roles"),
    *("counts", "deidentification", "results"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Validity:
    """How long it holds: from ``not_before`` (RFC 3339, default: now) for ``days``."""

    days: int = 365
    not_before: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftConfig:
    """What a person declares; the tables of ``declared`` go into the text as they are."""

    expert: Expert
    release: ReleaseTerms
    validity: Validity = field(default_factory=Validity)
    conditions: tuple[str, ...] = ()
    triggers: tuple[str, ...] = TRIGGERS
    supersedes: str | None = None
    declared: dict[str, str] = field(default_factory=dict)


def parse_draft_config(text: str) -> tuple[DraftConfig, dict[str, Json]]:
    """D.toml: the declared part, and its free tables: one per section of the certificate that holds statements."""
    try:
        document: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidError(f"determination settings: wanted TOML, got a syntax error: {error}") from None
    free = {name: document.pop(name) for name in _FREE if name in document}
    if not all(isinstance(table, dict) for table in free.values()):
        raise InvalidError("determination settings: wanted tables for assumptions, thresholds and the like")
    return build(DraftConfig, document, where="determination"), free


def draft_certificate(
    config: DraftConfig,
    free: dict[str, Json],
    *,
    certificate_id: str,
    name: VersionName,
    content_root: str,
    steward: str,
    evidence: dict[str, Json],
    at: datetime,
) -> Certificate:
    """The certificate to sign. ``evidence`` fills counts, deidentification, results, quality, methods, column_roles.

    Evidence is what the machine measured: it wins over what D.toml says about the same section.
    Raises ``InvalidError`` for an unknown section or an incomplete declaration.
    """
    known = set(_FREE)
    if not set(evidence) <= known:
        raise InvalidError("determination evidence: wanted known sections only, got another one")
    start = parse_time(config.validity.not_before) if config.validity.not_before else at
    sections: dict[str, Any] = {key: {**free.get(key, {}), **evidence.get(key, {})} for key in known}
    return check_certificate(
        Certificate(
            id=certificate_id,
            dataset=name.dataset,
            version=name.version,
            content_root=content_root,
            expert=config.expert,
            steward=steward,
            release=config.release,
            drafted=format_time(at),
            not_before=format_time(start),
            expires=_after(start, days=config.validity.days),
            conditions=config.conditions,
            triggers=config.triggers,
            supersedes=config.supersedes,
            **sections,
        )
    )


def _after(start: datetime, *, days: int) -> str:
    try:
        return format_time(start + timedelta(days=days))
    except OverflowError:
        raise InvalidError("determination settings: wanted a validity that ends by year 9999, got another") from None
