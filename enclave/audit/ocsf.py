"""A record of the ledger as an OCSF event, for a SIEM. Pure.

Source: Open Cybersecurity Schema Framework 1.4: Authentication (3002) for sign-ins, Datastore Activity (6005) for what
is done with data, API Activity (6003) for every other kind. Times in milliseconds since 1970. What OCSF has no word for
stands under ``unmapped``; ``metadata.sequence`` and ``unmapped.leaf_hash`` lead back to the record that is proven.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from enclave.audit.vocabulary import known_kinds
from enclave.core.clock import parse_time
from enclave.core.errors import InvalidError

VERSION: Final = "1.4.0"
OTHER: Final = 99
AUTHENTICATION: Final = (3002, "Authentication", 3, "Identity & Access Management")
DATASTORE: Final = (6005, "Datastore Activity", 6, "Application Activity")
API: Final = (6003, "API Activity", 6, "Application Activity")
# What a kind is in the words of its class; a kind that is not here is activity 99 under its own name.
ACTIVITIES: Final[Mapping[str, tuple[int, str]]] = MappingProxyType(
    {
        "login.ok": (1, "Logon"),
        "login.refused": (1, "Logon"),
        "login.out": (2, "Logoff"),
        "dataset.read": (1, "Read"),
        "dataset.open": (3, "Connect"),
        "dataset.list": (4, "Query"),
        "dataset.seal": (5, "Write"),
    }
)
_STATUSES: Final = MappingProxyType(
    {"ok": (1, "Success"), "refused": (2, "Failure"), "failed": (2, "Failure"), "intent": (OTHER, "intent")}
)
_LEFT: Final = ("role", "project", "dataset", "version", "objects", "session", "kernel", "cell", "ticket", "trace")


def event_of(record: Mapping[str, Any], *, leaf: bytes, origin: str, product_version: str) -> dict[str, Any]:
    """The OCSF event of one record; pseudonymous ids, counts and codes only, as the record has them."""
    event = record["event"]
    kind, outcome = event["kind"], event["outcome"]
    class_uid, class_name, category_uid, category_name = _class_of(kind)
    activity_id, activity = ACTIVITIES.get(kind, (OTHER, kind.rpartition(".")[2]))
    status_id, status = _STATUSES[outcome]
    declared = known_kinds().get(kind)
    found: dict[str, Any] = {
        "activity_id": activity_id,
        "activity_name": activity,
        "category_uid": category_uid,
        "category_name": category_name,
        "class_uid": class_uid,
        "class_name": class_name,
        "type_uid": class_uid * 100 + activity_id,
        "time": _moment(event, record["received"]),
        "severity_id": 2 if status_id == 2 else 1,
        "severity": "Low" if status_id == 2 else "Informational",
        "status_id": status_id,
        "status": status,
        "message": declared.what if declared else kind,
        "metadata": {
            "version": VERSION,
            "product": {"name": "enclave", "vendor_name": "enclave", "version": product_version},
            "profiles": [],
            "uid": event["id"],
            "log_name": origin,
            "sequence": record["seq"],
            "event_code": kind,
            "logged_time": milliseconds(record["received"]),
        },
        "src_endpoint": _endpoint(event, declared.writer if declared else "unknown"),
        **_parties(class_uid, event),
        "unmapped": {name: event[name] for name in _LEFT if name in event}
        | {"outcome": outcome, "detail": event.get("detail", {}), "leaf_hash": leaf.hex()},
    }
    if "reason" in event:
        found["status_code"] = event["reason"]
    return found


def line_of(event: Mapping[str, Any]) -> str:
    """One line of JSON in ASCII: no letter of a name ends a line or is acted on, whoever reads it with whatever."""
    return json.dumps(event, ensure_ascii=True, sort_keys=True, separators=(",", ":"))


def _class_of(kind: str) -> tuple[int, str, int, str]:
    if kind.startswith("login."):
        return AUTHENTICATION
    return DATASTORE if kind.startswith("dataset.") else API


def _parties(class_uid: int, event: Mapping[str, Any]) -> dict[str, Any]:
    """Who, and what with: each class wants it under another name."""
    user = {"uid": event["actor"]}
    if class_uid == AUTHENTICATION[0]:
        return {"user": user, "service": {"name": "enclave"}}
    if class_uid == API[0]:
        return {"actor": {"user": user}, "api": {"operation": event["kind"], "service": {"name": "enclave"}}}
    version = f"@{event['version']}" if "version" in event else ""
    name = f"{event.get('dataset', '')}{version}" or "unknown"
    return {"actor": {"user": user}, "databucket": {"name": name, "type_id": OTHER, "type": "dataset version"}}


def _endpoint(event: Mapping[str, Any], writer: str) -> dict[str, str]:
    """The service that wrote the event, and the address that the person came from when the event has it."""
    source = str(event.get("source", ""))
    if not source:
        return {"svc_name": writer}
    try:
        return {"svc_name": writer, "ip": str(ipaddress.ip_address(source))}
    except ValueError:
        return {"svc_name": writer, "uid": source}


def _moment(event: Mapping[str, Any], received: str) -> int:
    """When the writer says that it was; what is no time counts as when the ledger took it."""
    try:
        return milliseconds(event["time"])
    except InvalidError:
        return milliseconds(received)


def milliseconds(at: str) -> int:
    """An RFC 3339 time as OCSF has it."""
    return round(parse_time(at).timestamp() * 1000)
