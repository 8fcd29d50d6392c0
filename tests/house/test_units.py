"""The systemd units: one per daemon, each hardened, each with its own user."""

from __future__ import annotations

import configparser
import tomllib
from pathlib import Path

import pytest
from sources import ROOT

from enclave.cli.init import SIGNING_KEYS, SYMMETRIC_KEYS

UNITS = ROOT / "hub_config" / "systemd"
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
STARTED_BY_LAUNCHER = {"enclave-gate", "enclave-tap"}
WEB = ["enclave-hub", "enclave-proxy"]  # programs of others, configured by us
DAEMONS = [*sorted(set(SCRIPTS) - {"enclave"} - STARTED_BY_LAUNCHER), *WEB]
NO_NETWORK = {"enclave-brokerd"}
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
    *("RestrictNamespaces", "CapabilityBoundingSet", "ProtectControlGroups", "ProtectKernelTunables"),
    *("ProtectKernelLogs", "PrivateDevices", "ProtectProc", "ProtectHostname", "ProtectHome"),
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
    assert families <= {"AF_UNIX", "AF_INET", "AF_INET6"} or name == "enclave-launcherd"
    if name in NO_NETWORK:
        assert (families, service["PrivateNetwork"]) == ({"AF_UNIX"}, "yes")
    elif name not in (*WEB, "enclave-launcherd"):
        assert (service["IPAddressDeny"], service["IPAddressAllow"]) == ("any", "localhost")


def test_every_key_that_init_makes_has_one_owner_who_is_not_root() -> None:
    owners = {}
    for line in (UNITS / "enclave.tmpfiles").read_text("utf-8").splitlines():
        if line.startswith("z ") and line.split()[1].endswith(".key"):
            _, path, mode, owner, *_ = line.split()
            owners[Path(path).stem] = owner
            assert (mode, owner != "root") == ("0400", True)
    assert set(owners) == {*SYMMETRIC_KEYS, *SIGNING_KEYS, "kek"}


def test_every_user_of_a_unit_is_made() -> None:
    made = {
        line.split()[1] for line in (UNITS / "enclave.sysusers").read_text("utf-8").splitlines() if line[:2] == "u "
    }
    assert {read(name)["User"] for name in DAEMONS} - {"root"} == made


@pytest.mark.parametrize("name", [name for name in DAEMONS if name not in WEB])
def test_a_unit_starts_the_installed_script_and_waits_until_it_is_ready(name: str) -> None:
    service = read(name)
    assert Path(service["ExecStart"].split()[0]).name == name
    assert service["Type"] == "notify"
    assert service["Restart"] == "on-failure"
