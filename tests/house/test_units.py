"""The systemd units: one per daemon, each hardened, each with its own user."""

from __future__ import annotations

import configparser
import tomllib
from pathlib import Path

import pytest
from sources import ROOT

UNITS = ROOT / "hub_config" / "systemd"
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
STARTED_BY_LAUNCHER = {"enclave-gate", "enclave-tap"}
DAEMONS = [*sorted(set(SCRIPTS) - {"enclave"} - STARTED_BY_LAUNCHER), "enclave-hub"]
NEEDS_NETWORK = {"enclave-hub", "enclave-console"}
ASKS_THE_HUB = {"enclave-auditd", "enclave-registryd", "enclave-airlockd", "enclave-reportd", "enclave-intaked"}
HARDENING = {
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectControlGroups": "yes",
    "ProtectClock": "yes",
    "ProtectHostname": "yes",
    "ProtectProc": "invisible",
    "RestrictNamespaces": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "LockPersonality": "yes",
    "SystemCallArchitectures": "native",
    "CapabilityBoundingSet": "",
    "UMask": "0077",
    "LimitCORE": "0",
    "MemorySwapMax": "0",
}
# The launcher makes namespaces and drops to the uids of servers and kernels: what it cannot have is listed here.
LAUNCHER_WITHOUT = {
    *("NoNewPrivileges", "RestrictNamespaces", "CapabilityBoundingSet", "ProtectControlGroups"),
    *("ProtectKernelTunables", "ProtectKernelLogs", "PrivateDevices", "ProtectProc", "ProtectHostname"),
}


def read(name: str) -> configparser.SectionProxy:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's keys are case-sensitive
    parser.read(UNITS / f"{name}.service")
    return parser["Service"]


def test_every_daemon_has_a_unit_and_every_unit_a_daemon() -> None:
    assert sorted(path.stem for path in UNITS.glob("*.service")) == sorted(DAEMONS)


@pytest.mark.parametrize("name", DAEMONS)
def test_a_unit_is_hardened(name: str) -> None:
    service = read(name)
    left_out = LAUNCHER_WITHOUT if name == "enclave-launcherd" else set()
    missing = {key: value for key, value in HARDENING.items() if key not in left_out and service.get(key) != value}
    assert missing == {}


@pytest.mark.row("S7.2")
def test_no_two_daemons_share_a_user() -> None:
    users = [read(name).get("User") for name in DAEMONS if name != "enclave-launcherd"]
    assert len(set(users)) == len(users)
    assert "root" not in users


@pytest.mark.parametrize("name", DAEMONS)
def test_a_unit_filters_system_calls_and_address_families(name: str) -> None:
    service = read(name)
    assert "SystemCallFilter" in service
    families = set(service["RestrictAddressFamilies"].split())
    may_use_ip = name in NEEDS_NETWORK | ASKS_THE_HUB
    assert families <= {"AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"}
    if not may_use_ip and name != "enclave-launcherd":
        assert families == {"AF_UNIX"}
    if may_use_ip and name not in NEEDS_NETWORK:
        assert (service["IPAddressDeny"], service["IPAddressAllow"]) == ("any", "localhost")


@pytest.mark.parametrize("name", [name for name in DAEMONS if name != "enclave-hub"])
def test_a_unit_starts_the_installed_script_and_waits_until_it_is_ready(name: str) -> None:
    service = read(name)
    assert Path(service["ExecStart"].split()[0]).name == name
    assert service["Type"] == ("simple" if name == "enclave-console" else "notify")
    assert service["Restart"] == "on-failure"
