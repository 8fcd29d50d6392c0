"""Ctrl-C at the one moment in which the supervisor runs and nobody knows of it yet."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from enclave.cli import demo
from enclave.cli.demo_supervisor import start_of, status_file
from enclave.runtime.home import Home

SLEEPER = (sys.executable, "-c", "import time; time.sleep(60)")


@pytest.fixture
def place(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.state("logs").mkdir(parents=True)
    return home


def spawner(then: Callable[[], None], started: list[subprocess.Popen[bytes]]) -> Callable[..., subprocess.Popen[bytes]]:
    """Starts a process as ``Popen`` does, another program in it; ``then`` runs before the caller has the process."""
    real = subprocess.Popen

    def start(_: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(real(SLEEPER, **options))
        then()
        return started[-1]

    return start


def test_ctrl_c_while_the_supervisor_is_being_started_ends_it(place: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    press = lambda: signal.raise_signal(signal.SIGINT)  # noqa: E731 - one line read where it is used
    monkeypatch.setattr(demo.subprocess, "Popen", spawner(press, started))
    # As a process of its own begins; what a library did with it in a test before is not asked here.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            demo.start_detached(place)
        assert started[0].poll() == -signal.SIGTERM
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
        started[0].kill()


def test_where_ctrl_c_is_ignored_it_stays_ignored(place: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell starts its background jobs so."""
    started: list[subprocess.Popen[bytes]] = []

    def press_and_end() -> None:
        signal.raise_signal(signal.SIGINT)
        started[-1].terminate()
        started[-1].wait()

    monkeypatch.setattr(demo.subprocess, "Popen", spawner(press_and_end, started))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(demo.EnclaveError, match="ended while starting"):
            demo.start_detached(place)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
        started[0].kill()


def test_a_start_waits_for_the_end_of_what_ran_before(place: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C twice, and the command again: the processes of before are ending still, and hold ports and lock."""
    place.run_dir.mkdir(parents=True)
    with subprocess.Popen(SLEEPER) as before:
        status = {"state": "stopping", "supervisor": before.pid, "started": start_of(before.pid), "pids": {}, "url": ""}
        status_file(place).write_text(json.dumps(status), "utf-8")
        threading.Timer(0.5, before.terminate).start()
        ended: list[bool] = []

        def stop_here(*_: Any, **__: Any) -> None:
            ended.append(start_of(before.pid) == "")
            raise OSError("no process is needed")

        monkeypatch.setattr(demo.subprocess, "Popen", stop_here)
        with pytest.raises(OSError, match="no process"):
            demo.start_detached(place)
    assert ended == [True]
