"""``enclave egress check``: exact JSON and exit codes, without an enclave."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

KEYS = {"path", "sha256", "type", "verdict", "findings", "checks_not_run"}
FINDING = {"rule", "severity", "where", "message", "remedy"}


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "enclave.cli.main", "egress", "check", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("name", "text", "verdict", "code"),
    [
        ("ok.csv", "group,n,mean\nx,20,1.5\n", "pass", 0),
        ("ex.csv", "what,age\nmax,95.5\n", "review", 3),
        ("small.csv", "group,n\nx,3\n", "block", 4),
    ],
)
def test_verdict_and_exit_code_agree(tmp_path: Path, name: str, text: str, verdict: str, code: int) -> None:
    (tmp_path / name).write_text(text)
    done = run(name, "--json", "-", cwd=tmp_path)
    assert done.returncode == code, done.stderr
    (result,) = json.loads(done.stdout)["files"]
    assert set(result) == KEYS
    assert result["verdict"] == verdict
    assert result["checks_not_run"] == ["differencing", "subject_threshold"]
    assert all(set(finding) == FINDING and finding["where"] for finding in result["findings"])
    assert "differencing" in done.stderr


def test_the_worst_file_decides_and_each_is_told(tmp_path: Path, png: Any) -> None:
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "b.zip").write_bytes(b"PK\x03\x04")
    done = run("a.png", "b.zip", "--json", str(tmp_path / "out.json"), cwd=tmp_path)
    assert done.returncode == 4
    assert done.stdout == ""
    assert [f["verdict"] for f in json.loads((tmp_path / "out.json").read_text())["files"]] == ["pass", "block"]


def test_a_file_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    assert run("nothing.png", cwd=tmp_path).returncode == 11


def test_a_parser_that_dies_is_a_finding_and_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from enclave.cli import egress_check

    (tmp_path / "a.csv").write_text("a\n")
    for parser in (("-c", "import os; os.abort()"), ("-c", "print('{}')"), ("-c", "import time; time.sleep(9)")):
        monkeypatch.setattr(egress_check, "_PARSER", parser)
        monkeypatch.setattr(egress_check, "TIMEOUT_S", 1.0)
        judged = egress_check.check_file(tmp_path / "a.csv")
        assert ([f.rule for f in judged.findings], judged.verdict) == (["check_failed"], "block")
        assert len(judged.sha256) == 64
