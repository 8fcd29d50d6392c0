"""``enclave report`` and ``enclave-reportd`` as processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from enclave.cli import report
from enclave.core.errors import ConflictError, DeniedError


@pytest.fixture
def as_stella(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell in which stella is signed in."""
    monkeypatch.setattr(report, "read_token", lambda _home: "t-stella")


def test_run_list_and_show_from_a_shell(reportd: Any, as_stella: None, tmp_path: Path) -> None:
    reportd.runner.go.set()
    report.run("demo-validation", reportd.home.root, str(tmp_path / "queued.json"))
    run = json.loads((tmp_path / "queued.json").read_text())["id"]
    listed = tmp_path / "listed.json"

    def is_done() -> bool:
        report.list_runs(reportd.home.root, str(listed))
        return [found["state"] for found in json.loads(listed.read_text())["runs"]] == ["done"]

    reportd.wait_for(is_done)
    page = tmp_path / "page.html"
    report.show(run, page, reportd.home.root, None)
    assert page.read_bytes() == reportd.runner.result.page
    assert page.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConflictError):
        report.show(run, page, reportd.home.root, None)


def test_without_a_sign_in_the_shell_is_nobody(reportd: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(DeniedError):
        report.list_runs(reportd.home.root, None)


def test_the_daemon_says_in_one_line_why_it_does_not_start(tmp_path: Path) -> None:
    argv = (sys.executable, "-m", "enclave.cli.reportd", "--home", str(tmp_path / "none"))
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 11
    assert "run `enclave init`" in done.stderr
    assert "Traceback" not in done.stderr
