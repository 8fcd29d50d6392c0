"""``enclave deid run`` and ``check`` as scripts meet them: exact JSON, exit codes, progress on stderr."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

RUN_KEYS = {
    "files_in": int, "files_out": int, "quarantined": int, "reasons": dict, "actions": dict, "options": list,
    "table_edition": str, "seconds": float, "stage_seconds": dict, "images_per_second": float, "redacted_boxes": int,
    "canaries": dict,
}  # fmt: skip
LINE_KEYS = {"stage", "done", "total", "files_per_second", "eta_s"}


def enclave(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "enclave.cli.main", "deid", *map(str, arguments)]


def call(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(enclave(*arguments), capture_output=True, text=True, check=False, timeout=110)


@pytest.fixture
def small(source: Any, tmp_path: Path) -> Path:
    """One patient and one file that cannot be read."""
    folder = tmp_path / "in"
    shutil.copytree(min((source[0] / "dicom").iterdir()), folder / "p")
    (folder / "empty.dcm").write_bytes(b"")
    (tmp_path / "r.toml").write_text(
        'options = ["retain_modified_dates", "clean_descriptors"]\n[canaries]\ncount = 1\n'
    )
    assert call("key", "new", tmp_path / "key").returncode == 0
    return folder


def test_run_and_check_say_what_they_found(small: Path, tmp_path: Path) -> None:
    out, fixed = tmp_path / "out", ("--key-file", tmp_path / "key", "--recipe", tmp_path / "r.toml")
    ran = call("run", small, "--output", out, *fixed, "--json", "-", "--quarantine-copies", "--jobs", 2)
    assert ran.returncode == 3, ran.stderr  # done, with quarantine
    report = json.loads(ran.stdout)
    assert {name: type(report[name]) for name in RUN_KEYS} == RUN_KEYS
    assert report["reasons"] == {"empty": 1}
    assert set(report["canaries"]) == {"planted", "found", "bound95"}
    assert set(report["stage_seconds"]) >= {"harvest", "read", "clean", "sweep", "write"}
    lines = [json.loads(line) for line in ran.stderr.splitlines() if line.startswith("{")]
    assert all(set(line) == LINE_KEYS for line in lines)
    assert {line["stage"] for line in lines} == {"read", "clean"}
    assert lines[-1]["done"] == lines[-1]["total"] == report["files_in"]
    (verdict,) = (out / "quarantine").glob("*.json")
    assert json.loads(verdict.read_text())["reason"] == "empty"

    checked = call("check", out, "--against", small, *fixed, "--json", "-")
    assert checked.returncode == 3, checked.stderr
    found = json.loads(checked.stdout)
    assert set(found) == {"ok", "checks", "residual_hits", "canaries", "review_sample"}
    assert all(set(check) >= {"id", "ok", "count"} for check in found["checks"])

    made = min((out / "dicom").rglob("*.dcm"))
    data = bytearray(made.read_bytes())
    data[-1] ^= 0xFF
    made.write_bytes(data)
    assert call("check", out, "--against", small, *fixed).returncode == 15
    assert call("run", small, "--output", out, *fixed).returncode == 13
    assert call("run", small, "--output", out, *fixed, "--resume").returncode == 3


def test_wrong_calls_are_refused_before_any_work(small: Path, tmp_path: Path) -> None:
    base = ("run", small, "--output", tmp_path / "out", "--key-file", tmp_path / "key")
    (tmp_path / "map").write_text("")
    assert call(*base, "--map", tmp_path / "map").returncode == 13
    assert call(*base, "--map", tmp_path / "none" / "map").returncode == 11
    assert call(*base, "--scheduler", "nowhere").returncode == 12
    assert call(*base, "--jobs", "0").returncode == 2
    assert call("check", tmp_path / "out", "--against", small, "--key-file", tmp_path / "key").returncode == 11
    assert call("run", small, "--output", small / "out", "--key-file", tmp_path / "key").returncode == 12
    assert call("run", small, "--output", tmp_path / "map", "--key-file", tmp_path / "key").returncode == 13
    assert call("run", small, "--output", "/proc/none", "--key-file", tmp_path / "key").returncode == 12
    assert not (tmp_path / "out").exists()
    assert not (small / "out").exists()


def test_a_terminal_sees_a_bar_and_no_json(small: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = enclave("run", small, "--output", tmp_path / "out", "--key-file", tmp_path / "key")
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    child = subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    seen = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:
            break
        if not piece:
            break
        seen += piece
    os.close(ours)
    assert child.wait() == 3
    assert b"clean" in seen
    assert b"0:00:00" in seen  # time left
    assert b'"stage"' not in seen
