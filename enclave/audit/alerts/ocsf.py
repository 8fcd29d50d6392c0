"""An alert as an OCSF event. Pure.

Source: Open Cybersecurity Schema Framework 1.4, class Detection Finding (2004); times in milliseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from enclave.audit.alerts.model import Alert, Change
from enclave.audit.alerts.rules import Rule
from enclave.audit.ocsf import VERSION, milliseconds

CLASS_UID: Final = 2004
ACTIVITIES: Final[Mapping[str, tuple[int, str]]] = MappingProxyType(
    {"open": (1, "Create"), "acknowledge": (2, "Update"), "resolve": (3, "Close")}
)
STATUSES: Final[Mapping[str, tuple[int, str]]] = MappingProxyType(
    {"open": (1, "New"), "acknowledged": (2, "In Progress"), "resolved": (4, "Resolved")}
)
SEVERITY_IDS: Final[Mapping[str, int]] = MappingProxyType({"low": 2, "medium": 3, "high": 4, "critical": 5})


def finding_of(alert: Alert, *, rule: Rule, change: Change, at: str, product_version: str) -> dict[str, Any]:
    """The Detection Finding of one change of an alert; pseudonymous ids, counts and codes only."""
    activity_id, activity = ACTIVITIES[change]
    status_id, status = STATUSES[alert.state]
    found: dict[str, Any] = {
        "activity_id": activity_id,
        "activity_name": activity,
        "category_name": "Findings",
        "category_uid": 2,
        "class_name": "Detection Finding",
        "class_uid": CLASS_UID,
        "type_uid": CLASS_UID * 100 + activity_id,
        "time": milliseconds(at),
        "severity": alert.severity.capitalize(),
        "severity_id": SEVERITY_IDS[alert.severity],
        "status": status,
        "status_id": status_id,
        "is_alert": True,
        "message": rule.what,
        "metadata": {
            "version": VERSION,
            "product": {"name": "enclave", "vendor_name": "enclave", "version": product_version},
            "profiles": [],
            "labels": ["drill"] if alert.drill else [],
        },
        "remediation": {"desc": rule.remedy},
        **_evidence(alert, rule),
    }
    if alert.verdict:
        found["status_detail"] = alert.verdict
    return found


def _evidence(alert: Alert, rule: Rule) -> dict[str, Any]:
    """Which rule found what about whom."""
    hit = alert.hit
    return {
        "finding_info": {
            "uid": alert.id,
            "title": f"Drill: {rule.title}" if alert.drill else rule.title,
            "created_time": milliseconds(alert.opened),
            "last_seen_time": milliseconds(hit.moment),
            "analytic": {"uid": rule.id, "name": rule.title, "type_id": 1, "type": "Rule"},
        },
        "evidences": [{"actor": {"user": {"uid": hit.subject}}}],
        "unmapped": {
            "value": round(hit.value, 3),
            "threshold": rule.threshold,
            "first_seq": hit.first_seq,
            "last_seq": hit.last_seq,
            "events": hit.events,
            "drill": alert.drill,
        },
    }
