"""Set-up says in one line what is missing; optional parts skip or fail, as asked."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import optional
import pytest
from sources import ROOT

CHECK = ROOT / ".ci" / "python-check"


def run(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, check=False, cwd=ROOT)


def fake_python(folder: Path, body: str) -> Path:
    path = folder / "python3"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_a_missing_python_is_named() -> None:
    done = run(CHECK, "python-that-is-not-there")
    assert done.returncode == 1
    assert "wanted Python 3.11 or newer" in done.stderr


def test_an_old_python_is_named_with_its_version(tmp_path: Path) -> None:
    body = """exec python3 -c 'import sys; sys.version_info = (3, 9, 2); exec(sys.stdin.read())'"""
    done = run(CHECK, fake_python(tmp_path, body))
    assert done.returncode == 1
    assert "found 3.9.2" in done.stderr


def test_a_python_without_ensurepip_names_the_package_to_install(tmp_path: Path) -> None:
    body = """exec python3 -c 'import sys; sys.modules["ensurepip"] = None; exec(sys.stdin.read())'"""
    done = run(CHECK, fake_python(tmp_path, body))
    assert done.returncode == 1
    assert "apt-get install python3." in done.stderr


@pytest.mark.parametrize("target", ["setup", "demo", "test", "lint", "types", "contracts", "docs-check", "ci"])
def test_make_knows_the_target(target: str) -> None:
    assert run("make", "--dry-run", target).returncode == 0


def test_make_hands_the_port_to_the_demo() -> None:
    assert "enclave demo check --port 9000" in run("make", "--dry-run", "demo", "CHECK=1", "PORT=9000").stdout


def test_an_absent_part_skips_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENCLAVE_REQUIRE_ALL", raising=False)
    monkeypatch.setitem(optional.PARTS, "moon", optional.Part(lambda: None, "apt-get install moon"))
    with pytest.raises(pytest.skip.Exception, match="apt-get install moon"):
        optional.need("moon")


def test_an_absent_part_fails_when_everything_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCLAVE_REQUIRE_ALL", "1")
    monkeypatch.setitem(optional.PARTS, "moon", optional.Part(lambda: None, "apt-get install moon"))
    with pytest.raises(pytest.fail.Exception, match="wanted moon"):
        optional.need("moon")


def test_a_part_that_is_there_is_given_by_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(optional.PARTS, "sun", optional.Part(lambda: "/usr/bin/sun", "-"))
    assert optional.need("sun") == "/usr/bin/sun"


def test_the_library_that_runs_networks_has_no_telemetry_in_it() -> None:
    """From 1.29 on its wheels would report to their maker, and leave a session file in the temporary folder."""
    folder = Path(str(files("onnxruntime")))
    libraries = [path.read_bytes() for path in folder.rglob("*.so*")]
    assert sum(map(len, libraries)) > 1 << 20
    for word in (b"events.data.microsoft", b"OneCollector", b"ORT_DISABLE_TELEMETRY"):
        assert not [True for library in libraries if word in library]


def test_of_the_library_that_runs_the_text_detector_the_part_that_reports_is_not_installed() -> None:
    loaded = "import openvino, sys; print([name for name in sys.modules if name.startswith('openvino_telemetry')])"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
    assert importlib.util.find_spec("openvino_telemetry") is None
    assert "openvino-telemetry==" not in (ROOT / "requirements" / "host.txt").read_text()
