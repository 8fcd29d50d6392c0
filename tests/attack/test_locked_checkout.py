"""Started by root from a checkout that only root can enter: nothing of a user runs as root, and no mode changes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from optional import need

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CHECKOUT = Path(__file__).parents[2]
PARTS = ("enclave", "kernels", "hub_config", "notebooks", "requirements")


def _copy(target: Path) -> Path:
    target.mkdir(mode=0o700)
    for part in PARTS:
        shutil.copytree(CHECKOUT / part, target / part, symlinks=True)
    (target / ".venv-kernel").symlink_to(CHECKOUT / ".venv-kernel")
    return target


def _modes(folder: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for path in [folder, *folder.rglob("*")]:
        if "__pycache__" not in path.parts:
            state = path.lstat()
            found[str(path.relative_to(folder))] = (state.st_mode, state.st_uid)
    return found


def test_the_story_passes_below_a_folder_that_is_roots_alone(short_folder: Callable[[], Path], free_port: int) -> None:
    need("root")
    locked = short_folder() / "locked"
    locked.mkdir(mode=0o700)
    checkout = _copy(locked / "checkout")
    before = _modes(checkout)
    environment = {**os.environ, "PYTHONPATH": f"{checkout}:{checkout / 'kernels'}"}
    command = [sys.executable, "-P", "-m", "enclave.cli.main", "demo", "check"]
    done = subprocess.run(
        [*command, "--home", str(locked / "h"), "--port", str(free_port)],
        cwd=checkout, env=environment, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["kernel_uid"] > 0
    assert found["cells_audited"] == found["cells_executed"] > 0
    assert (found["survivors"], found["kernel_network"], found["egress_state"]) == (0, "blocked", "released")
    assert _modes(checkout) == before
