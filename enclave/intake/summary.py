"""The evidence of how a candidate was made, as the determination takes it: counts, measures, methods; no values."""

from __future__ import annotations

from typing import Any

from enclave.deid.job import JobResult
from enclave.deid.provenance import tool_versions
from enclave.deid.tables import CleanTable
from enclave.intake.recipe import IntakeRecipe
from enclave.intake.review import sample_of, standing
from enclave.intake.series import Collected
from enclave.risk.engine import Anonymised
from enclave.wire.messages.intake import Batch


def evidence(
    batch: Batch,
    recipe: IntakeRecipe,
    job: JobResult,
    *,
    quality: dict[str, Any],
    measured: Anonymised,
    series: Collected,
    tables: list[CleanTable],
) -> dict[str, Any]:
    """Sections ``counts, deidentification, results, quality, methods, column_roles``, and which batch and recipe."""
    return {
        "batch": batch.id,
        "recipe": recipe.name,
        "counts": _counts(job, series=series, tables=tables),
        "deidentification": _deidentification(job.report, recipe),
        "results": _results(measured),
        "quality": {
            "checks": {check["id"]: check["count"] for check in quality["checks"]},
            "residual_hits": quality["residual_hits"],
            "canaries": job.report["canaries"],
            "review": standing(sample_of(quality["review_sample"])),
        },
        "methods": {
            "quasi_identifiers": [qi.name for qi in recipe.risk.qis],
            "k": recipe.risk.model.k,
            "suppression_limit": recipe.risk.model.suppression_limit,
            "recoding": recipe.risk.model.recoding,
            "tools": tool_versions(),
        },
        "column_roles": {name: dict(spec.columns) for name, spec in recipe.deid.tables.items()},
    }


def _counts(job: JobResult, *, series: Collected, tables: list[CleanTable]) -> dict[str, Any]:
    return {
        "patients": len(job.patients),
        "files_in": job.report["files_in"],
        "files_out": job.report["files_out"],
        "quarantined": job.report["quarantined"],
        "quarantine_reasons": job.report["reasons"],
        "series": len(series.objects),
        "series_left_out": dict(series.left_out),
        "table_rows": {clean.name: clean.table.num_rows for clean in tables},
    }


def _deidentification(report: dict[str, Any], recipe: IntakeRecipe) -> dict[str, Any]:
    return {
        "profile": "PS3.15 Annex E Basic Application Level Confidentiality Profile",
        "options": report["options"],
        "table_edition": report["table_edition"],
        "max_shift_days": recipe.deid.dates.max_shift_days,
        "pseudonym_domain": recipe.deid.pseudonym_domain,
        "actions": report["actions"],
        "redactions": report["redactions"],
    }


def _results(measured: Anonymised) -> dict[str, Any]:
    return {
        "k_before": measured.assessment_before.k,
        "k_after": measured.assessment_after.k,
        "levels": dict(measured.node),
        "suppressed_rows": int(measured.suppressed),
        "before": measured.assessment_before.to_json(),
        "after": measured.assessment_after.to_json(),
    }
