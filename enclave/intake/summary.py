"""The evidence of how a candidate was made, as the determination takes it: counts, measures, methods; no values."""

from __future__ import annotations

import dataclasses
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from enclave.deid.check_texts import SHOWN_AS
from enclave.deid.job import JobResult
from enclave.deid.profile import OPTIONS
from enclave.deid.provenance import tool_versions
from enclave.deid.tables import CleanTable
from enclave.determination.profile import class_profile
from enclave.intake.documents import Documents
from enclave.intake.recipe import IntakeRecipe
from enclave.intake.review import frontal_of, item_of, sample_of, standing
from enclave.intake.series import Collected
from enclave.intake.software import software_sha256
from enclave.risk.engine import Anonymised, series_risk
from enclave.risk.series import FINGERPRINT
from enclave.wire.messages.intake import Batch

BASIC_PROFILE = "113100"  # PS3.16 CID 7050
_IN_WORDS = 12  # as many as a page shows of a list
_MOST_ELEMENTS = 300  # the text that is signed stays one that can be read; the run's JSON has all


def evidence(
    batch: Batch,
    recipe: IntakeRecipe,
    job: JobResult,
    *,
    quality: dict[str, Any],
    measured: Anonymised,
    collected: tuple[Collected, Documents],
    tables: list[CleanTable],
) -> dict[str, Any]:
    """Sections ``counts, deidentification, results, quality, methods, column_roles``, and which batch and recipe."""
    series, documents = collected
    return {
        "batch": batch.id,
        "recipe": recipe.name,
        "counts": _counts(job, recipe, measured=measured, collected=collected, tables=tables),
        "deidentification": _deidentification(job.report, recipe),
        "results": _results(recipe, measured, job, series=series),
        "quality": {
            "checks": {check["id"]: check["count"] for check in quality["checks"]},
            "residual_hits": quality["residual_hits"],
            "canaries": job.report["canaries"],
            "faces": _heads(job, quality["review_sample"]),
            "documents": _texts_to_read(documents, quality["review_sample"]),
            "review": {
                **standing(sample_of(quality["review_sample"])),
                # No expert signs for free text of which nobody has read a part.
                "required": recipe.deid.review == "required" or documents.counts()["flagged"] > 0,
            },
        },
        "methods": _methods(recipe, job),
        "column_roles": {name: dict(spec.columns) for name, spec in recipe.deid.tables.items()},
    }


def _heads(job: JobResult, sample: list[str]) -> dict[str, Any]:
    """The heads that expert and honest broker see from the front, before and after, by their series' new UIDs."""
    shown = [(folder, head) for folder, head in sorted(job.faces.items()) if frontal_of(folder) in sample]
    return {
        "measured": len(job.faces),
        "shown": [{"series": folder.rpartition("/")[2], **head.numbers} for folder, head in shown],
    }


def _texts_to_read(documents: Documents, sample: list[str]) -> dict[str, Any]:
    """What is known of the free text that is sealed: how many texts wait for a person, how many of these are shown."""
    shown = {item_of(path) for path in sample}
    return {
        "flagged": documents.counts()["flagged"],
        "in_sample": sum(f"{row['document']}/{SHOWN_AS}" in shown for row in documents.index),
        "measured": "no: their words are not part of k; values that the measured table no longer tells were taken out",
    }


def _methods(recipe: IntakeRecipe, job: JobResult) -> dict[str, Any]:
    """All that a replay needs to measure the same again."""
    return {
        "measured_table": recipe.risk_table,
        "subject": recipe.risk.subject,
        "nulls": recipe.risk.nulls,
        "sensitive": [{"name": one.name, "distance": one.distance} for one in recipe.risk.sensitive],
        "model": {name: value for name, value in dataclasses.asdict(recipe.risk.model).items() if value is not None},
        "population_size": recipe.risk.population.size,
        "context": {
            name: value for name, value in dataclasses.asdict(recipe.risk.context).items() if value is not None
        },
        "quasi_identifiers": [qi.name for qi in recipe.risk.qis],
        "k": recipe.risk.model.k,
        "suppression_limit": recipe.risk.model.suppression_limit,
        "recoding": recipe.risk.model.recoding,
        "fingerprint": list(FINGERPRINT),
        "tools": tool_versions(long_text=job.report["long_text"]["by"]),
    }


def _counts(
    job: JobResult,
    recipe: IntakeRecipe,
    *,
    measured: Anonymised,
    collected: tuple[Collected, Documents],
    tables: list[CleanTable],
) -> dict[str, Any]:
    series, documents = collected
    link = recipe.deid.tables[recipe.risk_table].of_role("link")[0]
    return {
        "patients": len(job.patients),
        "rows": measured.table.num_rows,
        "subjects": pc.count_distinct(measured.table.column(link)).as_py(),
        "studies": len({row["study"] for row in (*series.index, *documents.index)}),
        "files_in": job.report["files_in"],
        "files_out": job.report["files_out"],
        "quarantined": job.report["quarantined"],
        "quarantine_reasons": job.report["reasons"],
        "series": len(series.objects),
        "series_left_out": dict(series.left_out),
        "documents": documents.counts(),
        "documents_left_out": dict(documents.left_out),
        "table_rows": {clean.name: clean.table.num_rows for clean in tables},
    }


def _deidentification(report: dict[str, Any], recipe: IntakeRecipe) -> dict[str, Any]:
    return {
        "profile": "PS3.15 Annex E Basic Application Level Confidentiality Profile",
        "options": report["options"],
        "option_codes": sorted({BASIC_PROFILE, *(OPTIONS[option] for option in report["options"])}),
        "recipe_sha256": recipe.sha256,
        "software_sha256": software_sha256(),
        "table_edition": report["table_edition"],
        "max_shift_days": recipe.deid.dates.max_shift_days,
        "times": recipe.deid.dates.times,
        "pseudonym_domain": recipe.deid.pseudonym_domain,
        "long_text": report["long_text"]["by"],
        "actions": report["actions"],
        "redactions": report["redactions"],
        "faces": report["faces"],
        "templates": report["templates"],
        "private_removed": _private(report["private_removed"]),
    }


def _private(account: dict[str, Any]) -> dict[str, Any]:
    """Private elements that nobody has judged and that are gone, those first that tell patients apart the most."""
    elements = account["elements"]
    return {
        "kinds": len(elements),
        "most_telling": [_in_words(row) for row in elements[:_IN_WORDS]],
        "elements": elements[:_MOST_ELEMENTS],
        "not_shown": max(0, len(elements) - _MOST_ELEMENTS),
        "not_counted": account["not_counted"],
    }


def _in_words(row: dict[str, Any]) -> str:
    share = row["own_value_share"]
    own = "not all counted" if share is None else f"{share:.0%} of patients with a value of their own"
    least, most = row["vm"]
    many = f"VM {least}" if least == most else f"VM {least} to {most}"
    return (
        f"{row['creator']} ({row['element']}) {row['vr']}, {many}: {row['files']} files, {row['values']} values, "
        f"{row['patients']} patients, {own}"
    )


def _results(recipe: IntakeRecipe, measured: Anonymised, job: JobResult, *, series: Collected) -> dict[str, Any]:
    before = next(clean.table for clean in job.tables if clean.name == recipe.risk_table)
    names, k = [qi.name for qi in recipe.risk.qis], recipe.risk.model.k
    sides = {"before": before, "after": measured.table}
    return {
        "profile": {
            side: class_profile(table, quasi_identifiers=names, subject=recipe.risk.subject, k=k)
            for side, table in sides.items()
        },
        "k_before": measured.assessment_before.k,
        "k_after": measured.assessment_after.k,
        "levels": dict(measured.node),
        "suppressed_rows": int(measured.suppressed),
        "before": measured.assessment_before.to_json(),
        "after": measured.assessment_after.to_json(),
        "images": series_risk(
            measured.table,
            pa.Table.from_pylist(series.index) if series.index else None,
            {one.name.removeprefix("series/"): one.header for one in series.objects},
            recipe.risk,
        ),
    }
