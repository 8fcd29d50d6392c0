"""What reopens an assessment: a later version of the cohort beside what a certificate states. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from enclave.determination.certificate import Certificate
from enclave.wire.messages.schema import Json


def fired(certificate: Certificate, *, summary: Json) -> tuple[str, ...]:
    """Which of the certificate's own triggers a new version of its dataset with this summary fires, in their order.

    What the summary does not tell counts as changed: nobody can say that it is not.
    """
    found = set(_changes(certificate, summary if isinstance(summary, dict) else {}))
    return tuple(trigger for trigger in certificate.triggers if trigger in found)


def software_differs(certificate: Certificate, software_sha256: str) -> bool:
    """Whether the certificate names a change of software as a trigger, and states other software than this."""
    stated = _named(certificate.deidentification, "software_sha256")
    return "software_changed" in certificate.triggers and stated != software_sha256


def _changes(certificate: Certificate, summary: dict[str, Any]) -> Iterator[str]:
    yield "new_release_of_cohort"
    if _columns(summary.get("column_roles")) - _columns(certificate.column_roles) or "column_roles" not in summary:
        yield "columns_added"
    if _of(summary, "counts", "rows") is None or _of(summary, "counts", "rows") != _named(certificate.counts, "rows"):
        yield "rows_changed"
    software = _of(summary, "deidentification", "software_sha256")
    if software is None or software != _named(certificate.deidentification, "software_sha256"):
        yield "software_changed"


def _columns(roles: Any) -> set[tuple[str, str]]:
    tables = roles if isinstance(roles, dict) else {}
    return {
        (str(table), str(column))
        for table, columns in tables.items()
        if isinstance(columns, dict)
        for column in columns
    }


def _of(summary: dict[str, Any], section: str, name: str) -> Any:
    return _named(summary.get(section), name)


def _named(section: Any, name: str) -> Any:
    return section.get(name) if isinstance(section, dict) else None
