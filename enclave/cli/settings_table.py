"""Every table that ``enclave.toml`` may have, and the dataclass that reads it."""

from __future__ import annotations

import importlib
from typing import Any

from enclave.core.settings import check_sections, parse_settings

SECTIONS: dict[str, str] = {
    "hub": "enclave.hub.settings:HubSettings",
    "audit": "enclave.audit.settings:AuditSettings",
    "copies": "enclave.audit.copies:CopySettings",
    "retention": "enclave.audit.retention:RetentionSettings",
    "watch": "enclave.audit.alerts.settings:WatchSettings",
    "registry": "enclave.registry.settings:RegistrySettings",
    "intake": "enclave.intake.settings:IntakeSettings",
    "vault": "enclave.reidentification.settings:VaultSettings",
    "broker": "enclave.broker.settings:BrokerSettings",
    "airlock": "enclave.airlock.settings:AirlockSettings",
    "launcher": "enclave.sandbox.settings:LauncherSettings",
    "reports": "enclave.reports.settings:ReportSettings",
    "console": "enclave.console.settings:ConsoleSettings",
    "peers": "enclave.runtime.home:PeerSettings",
}


def settings_class(section: str) -> type[Any]:
    """The dataclass of one table."""
    module, _, name = SECTIONS[section].partition(":")
    found: type[Any] = getattr(importlib.import_module(module), name)
    return found


def check_settings(text: str) -> None:
    """Raises ``InvalidError`` for an unknown table, an unknown key or a value of another type, in any table."""
    check_sections(text, SECTIONS)
    for section in SECTIONS:
        parse_settings(text, settings_class(section), section=section)
