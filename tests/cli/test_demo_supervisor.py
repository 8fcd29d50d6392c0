"""One process starts, watches and ends all others."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ports import free_ports

from enclave.cli.init import make_home
from enclave.runtime.home import Home

SERVICE = """
import socket, subprocess, sys, time
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
if "orphan" in sys.argv:
    stubborn = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    subprocess.Popen([sys.executable, "-c", stubborn], start_new_session=True)
time.sleep(600)
"""

RUN = """
import sys
from pathlib import Path
from enclave.cli.demo_services import Service
from enclave.cli.demo_supervisor import Supervisor
from enclave.cli.output import tell_error
from enclave.core.errors import EnclaveError
from enclave.runtime.home import Home
from enclave.runtime.log import Log

home = Home(Path(sys.argv[1]))
def service(name, *extra):
    path = home.run_dir / f"{name}.sock"
    shell = 'rm -f "$2"; exec "$0" "$1" "$2" $3'
    argv = ("sh", "-c", shell, sys.executable, sys.argv[2], str(path), *extra)
    return Service(name, argv, ready_socket=path)
services = [service("one"), service("two", "orphan")]
if "broken" in sys.argv:
    argv = (sys.executable, "-c", "raise SystemExit('the reason in words')")
    services.append(Service("broken", argv, ready_socket=home.run_dir / "never"))
try:
    Supervisor(home, services=tuple(services), log=Log("supervisor")).run()
except EnclaveError as error:
    sys.exit(tell_error(error))
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return make_home(tmp_path / "home", port=free_ports(6))


class Running:
    def __init__(self, home: Home, tmp_path: Path, *extra: str) -> None:
        service = tmp_path / "service.py"
        service.write_text(textwrap.dedent(SERVICE))
        self.home = home
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(home.root), str(service), *extra], stderr=subprocess.PIPE, text=True
        )

    def status(self) -> dict[str, object]:
        return json.loads((self.home.run_dir / "demo.json").read_text())

    def wait_up(self) -> dict[str, object]:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            try:
                if self.status()["state"] == "up":
                    return self.status()
            except (FileNotFoundError, ValueError):
                pass
            time.sleep(0.05)
        raise AssertionError("not up")

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@pytest.fixture
def running(home: Home, tmp_path: Path) -> Iterator[Running]:
    found = Running(home, tmp_path)
    yield found
    if found.process.poll() is None:
        found.end()


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def _processes_with(text: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if text.encode() in (entry / "cmdline").read_bytes() and int(entry.name) != os.getpid():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def test_a_killed_process_is_started_again(running: Running) -> None:
    pid = running.wait_up()["pids"]["one"]
    os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        status = running.status()
        if status["pids"]["one"] != pid and status["state"] == "up":
            break
        time.sleep(0.05)
    assert running.status()["pids"]["one"] != pid
    assert _alive(running.status()["pids"]["one"])


def test_all_processes_end_with_it_even_those_whose_parent_died(running: Running, tmp_path: Path) -> None:
    running.wait_up()
    assert running.end() == 0
    assert _processes_with(str(tmp_path)) == []
    assert _processes_with("signal.SIG_IGN); time.sleep(600)") == []


def test_a_killed_supervisor_takes_its_processes_along(running: Running) -> None:
    pids = running.wait_up()["pids"]
    running.process.kill()
    running.process.wait(10)
    end = time.monotonic() + 30
    while any(_alive(pid) for pid in pids.values()) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(_alive(pid) for pid in pids.values())
    for pid in _processes_with("signal.SIG_IGN); time.sleep(600)"):
        os.kill(pid, signal.SIGKILL)


def test_a_second_one_on_the_same_home_is_refused(running: Running, home: Home, tmp_path: Path) -> None:
    running.wait_up()
    second = Running(home, tmp_path)
    _, errors = second.process.communicate(timeout=60)
    assert second.process.returncode == 13
    assert "got one running on this home" in errors


def test_a_process_that_does_not_start_is_named_with_its_last_words(home: Home, tmp_path: Path) -> None:
    broken = Running(home, tmp_path, "broken")
    _, errors = broken.process.communicate(timeout=60)
    assert broken.process.returncode == 14
    assert "broken" in errors
    assert "the reason in words" in errors


def test_a_port_in_use_is_named_with_the_way_out(home: Home, tmp_path: Path) -> None:
    from enclave.hub.settings import HubSettings

    port = home.settings(HubSettings, section="hub").port
    with socket.create_server(("127.0.0.1", port + 2)):
        process = Running(home, tmp_path).process
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 14
    assert f"port {port + 2}" in errors
    assert "make demo PORT=" in errors
