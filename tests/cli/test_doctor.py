"""``enclave doctor``: what it finds, what it says, and with which exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from enclave.cli import doctor_checks
from enclave.cli.doctor import doctor
from enclave.cli.doctor_checks import CHECKS, Check, Finding, run_checks
from enclave.cli.init import make_home
from enclave.core.errors import UnavailableError
from enclave.runtime.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A fresh home."""
    return make_home(tmp_path / "home", port=18000)


def only(monkeypatch: pytest.MonkeyPatch, *checks: Check) -> None:
    monkeypatch.setattr(doctor_checks, "CHECKS", checks)


def finding(results: list[dict[str, str | bool]], check: str) -> dict[str, str | bool]:
    return next(result for result in results if result["id"] == check)


def test_every_check_names_its_cost_and_its_remedy() -> None:
    assert len({check.id for check in CHECKS}) == len(CHECKS)
    assert all(check.cost and check.remedy for check in CHECKS)


def test_a_missing_requirement_is_unavailable_and_named(
    monkeypatch: pytest.MonkeyPatch, home: Home, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    missing = Check("moon", "required", lambda _: Finding(False, "none"), "no tides", "wait for night")
    only(monkeypatch, missing)
    target = tmp_path / "found.json"
    with pytest.raises(UnavailableError, match="moon"):
        doctor(home.root, str(target))
    assert json.loads(target.read_text())["ok"] is False
    said = capsys.readouterr().err
    assert "no tides" in said
    assert "wait for night" in said


def test_a_missing_recommendation_is_advice_and_no_error(
    monkeypatch: pytest.MonkeyPatch, home: Home, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    only(monkeypatch, Check("stars", "recommended", lambda _: Finding(False, "none"), "dark nights", "look up"))
    target = tmp_path / "found.json"
    doctor(home.root, str(target))
    told = json.loads(target.read_text())
    assert told["ok"] is True
    assert [(one["id"], one["ok"]) for one in told["checks"]] == [("stars", False)]
    said = capsys.readouterr().err
    assert "advice" in said
    assert "look up" in said
    assert "Everything that is required is here." in said


def test_a_check_that_breaks_counts_as_a_miss(monkeypatch: pytest.MonkeyPatch, home: Home) -> None:
    def breaks(_: Home) -> Finding:
        raise OSError("canary")

    only(monkeypatch, Check("odd", "optional", breaks, "x", "y"))
    (result,) = run_checks(home)
    assert result["ok"] is False
    assert "canary" not in str(result)


def test_an_unknown_setting_names_the_nearest(home: Home) -> None:
    home.settings_file.write_text("[reports]\ntime_limit = 3\n")
    assert "time_limit_s" in str(finding(run_checks(home), "settings")["found"])


def test_an_unknown_table_names_the_nearest(home: Home) -> None:
    home.settings_file.write_text("[report]\n")
    assert "'reports'" in str(finding(run_checks(home), "settings")["found"])


def test_a_key_that_others_may_read_is_named(home: Home) -> None:
    home.key_file("vault").chmod(0o644)
    assert "vault.key" in str(finding(run_checks(home), "home")["found"])


def test_a_port_in_use_is_named(home: Home) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 18002))
        taken.listen()
        found = finding(run_checks(home), "ports")
    assert (found["ok"], found["found"]) == (False, "18002 is in use")


def test_the_setting_that_forbids_namespaces_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    setting = tmp_path / "kernel" / "apparmor_restrict_unprivileged_userns"
    setting.parent.mkdir()
    setting.write_text("1\n")
    monkeypatch.setattr(doctor_checks, "SYSCTLS", tmp_path)
    assert "kernel.apparmor_restrict_unprivileged_userns = 1" in doctor_checks.namespace_blocker()
