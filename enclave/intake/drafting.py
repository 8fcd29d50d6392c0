"""The determination that intake drafts for its candidate; the expert named in it looks, then signs or declines."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from enclave.core.errors import InvalidError, NotFoundError
from enclave.core.ids import VersionName
from enclave.determination.certificate import certificate_text
from enclave.determination.drafting import DraftConfig, draft_certificate, parse_draft_config
from enclave.wire.messages.intake import Batch
from enclave.wire.messages.schema import Json

SECTIONS = ("counts", "deidentification", "results", "quality", "methods", "column_roles")


@dataclass(frozen=True, slots=True)
class DeterminationSpec:
    """``[determination]`` of a recipe: the file beside it with expert, release terms, validity and thresholds."""

    config: str


@dataclass(frozen=True, slots=True)
class DraftTerms:
    """What people declared for every candidate of a recipe; the rest is measured."""

    config: DraftConfig
    free: dict[str, Json]


def read_draft_terms(path: Path) -> DraftTerms:
    """The declared part in ``path``; raises ``NotFoundError``, or ``InvalidError`` when it is no such document."""
    try:
        text = path.read_text("utf-8")
    except OSError:
        raise NotFoundError(f"recipe: wanted the determination's settings {path.name} beside it, got none") from None
    except UnicodeDecodeError:
        raise InvalidError(f"{path.name}: wanted TOML in UTF-8, got other bytes") from None
    return DraftTerms(*parse_draft_config(text))


def draft_text(terms: DraftTerms, batch: Batch, *, content_root: str, version: int, at: datetime) -> str:
    """The canonical text for the version that ``batch`` became; its id follows from the batch, so it is made once."""
    certificate = draft_certificate(
        terms.config,
        terms.free,
        certificate_id=hashlib.sha256(f"determination of batch {batch.id}".encode("ascii")).hexdigest()[:32],
        name=VersionName(batch.dataset, version),
        content_root=content_root,
        steward=batch.submitted_by,
        evidence={name: batch.summary[name] for name in SECTIONS if name in batch.summary},
        at=at,
    )
    return certificate_text(certificate).decode("utf-8")
