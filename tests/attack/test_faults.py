"""Killed services, Ctrl-C at any moment, a second start, a home that is too new, a machine without namespaces."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from enclave.audit.verify import verify_log
from enclave.cli import demo
from enclave.cli.demo_people import sign_in, start_server
from enclave.cli.init import make_home
from enclave.core.errors import EnclaveError
from enclave.runtime.home import HOME_FORMAT, Home

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

WORDS = (sys.executable, "-P", "-m", "enclave.cli.main")
READ = "import enclave_kernel as enclave; print('rows', len(enclave.open('demo-ct').table('patients')))"
SERVICES = (
    "auditd", "vaultd", "registryd", "brokerd", "airlockd", "intaked", "reportd", "devidp", "proxy", "hub", "console",
)  # fmt: skip


def until(what: Callable[[], Any], *, seconds: float = 60) -> Any:
    """What ``what`` returns as soon as that is true; errors of ours and of connections count as not yet."""
    end = time.monotonic() + seconds
    last: Any = None
    while time.monotonic() < end:
        try:
            last = what()
        except (EnclaveError, OSError, ValueError, KeyError) as error:
            last = repr(error)
        else:
            if last:
                return last
        time.sleep(0.2)
    raise AssertionError(f"did not come about within {seconds:g} s; last: {last}")


def gone(pids: list[int]) -> bool:
    return not [pid for pid in pids if Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/exe").is_symlink()]


def processes_of(home: Home) -> list[int]:
    """Everything that was started for ``home``, by command line or environment."""
    found = []
    word = os.fsencode(home.root)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if word in (entry / "cmdline").read_bytes() or word in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return found


def killed(enclave: Any, service: str) -> None:
    """``kill -9``, then until the supervisor has it ready again."""
    before = enclave.pid(service)
    os.kill(before, signal.SIGKILL)
    until(lambda: enclave.pid(service) != before and enclave.status()["state"] == "up")


@pytest.mark.parametrize("service", SERVICES)
def test_a_killed_service_is_back_and_the_next_act_works(enclave: Any, rosa: Any, service: str) -> None:
    events = {event["id"] for event in enclave.events()}
    notebook = enclave.notebook(rosa, f"kill-{service}")
    try:
        assert notebook.run(READ).status == "ok"
        killed(enclave, service)
        if service in ("proxy", "hub"):  # its connections went with it, or its routes come back by and by
            until(lambda: rosa.get("/user/rosa/api").status_code == 200, seconds=60)
            notebook = until(lambda: enclave.notebook(rosa, f"after-{service}"))
        result = notebook.run(READ)
        assert result.status == "ok" or (
            service in ("auditd", "brokerd", "registryd") and "wait" in result.error.lower()
        )
        assert "rows" in until(lambda: (found := notebook.run(READ)).status == "ok" and found.text)
    finally:
        with contextlib.suppress(EnclaveError):
            notebook.close()
    assert events <= {event["id"] for event in enclave.events()}


def test_a_killed_launcher_takes_kernels_and_servers_along_and_new_ones_start(enclave: Any, rosa: Any) -> None:
    notebook = enclave.notebook(rosa, "launcher")
    assert notebook.run(READ).status == "ok"
    kernels = [kernel.host_pid for kernel in enclave.kernels()]
    below = processes_below(enclave.pid("launcherd"))
    assert set(kernels) <= set(below)
    killed(enclave, "launcherd")
    until(lambda: gone(below), seconds=60)
    assert enclave.kernels() == ()
    session = sign_in(enclave.home, "rosa")
    until(lambda: start_server(session) or True, seconds=60)
    again = until(lambda: enclave.notebook(session, "again"))
    assert until(lambda: again.run(READ).status == "ok")
    again.close()
    session.close()


def test_after_all_that_the_ledger_verifies(enclave: Any, tmp_path: Path) -> None:
    copy = tmp_path / "audit"
    shutil.copytree(enclave.home.state("audit"), copy)
    assert verify_log(copy).ok


def test_a_second_start_on_the_same_home_changes_nothing(enclave: Any) -> None:
    before = enclave.status()
    done = enclave.command("demo", "up", "--port", str(enclave.port))
    assert done.returncode == 0, done.stderr
    assert enclave.status() == before


def processes_below(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, task.read_text().split()):
                found += [child, *processes_below(child)]
    return found


def _as_in_a_terminal() -> None:
    """A shell in the background ignores the one, ``nohup`` the other."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Start:
    """``enclave demo start`` in a terminal of its own, as far as signals go."""

    def __init__(self, home: Home, port: int) -> None:
        self.home = home
        self.told = home.root.parent / "told"
        with self.told.open("wb") as file:
            self.process = subprocess.Popen(
                [*WORDS, "demo", "start", "--home", str(home.root), "--port", str(port)],
                stdout=file,
                stderr=file,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=_as_in_a_terminal,  # noqa: PLW1509 - nothing but signals, before any thread
            )

    def wait(self, moment: Callable[[str], Any]) -> None:
        def come() -> bool:
            assert self.process.poll() is None, self.told.read_text()
            return bool(moment(self.told.read_text()))

        until(come, seconds=200)

    def end_by(self, number: signal.Signals) -> int:
        os.killpg(self.process.pid, number)
        return self.process.wait(90)


@pytest.fixture
def place(short_folder: Callable[[], Path]) -> Iterator[Home]:
    home = Home(short_folder() / "h")
    yield home
    if home.format_file.exists():
        demo.stop(home)


def test_control_c_and_its_like_at_any_moment_end_all_and_the_next_start_works(place: Home, free_port: int) -> None:
    def three_started(_: str) -> bool:
        found = demo.read_status(place)
        return found is not None and len(found["pids"]) >= 3

    moments: dict[str, tuple[signal.Signals, Callable[[str], Any]]] = {
        "first": (signal.SIGINT, lambda _: place.format_file.exists()),
        "starting": (signal.SIGINT, three_started),
        "starting, and the terminal closes": (signal.SIGHUP, three_started),
        "starting, and asked to end": (signal.SIGTERM, three_started),
        "intake": (signal.SIGINT, lambda told: "handed the cohort to intake" in told),
        "ready": (signal.SIGINT, lambda told: "Press Ctrl-C" in told),
    }
    for name, (number, moment) in moments.items():
        start = Start(place, free_port)
        start.wait(moment)
        if name == "intake":
            time.sleep(0.5)
        start.end_by(number)
        until(lambda: processes_of(place) == [], seconds=60)
        assert demo.read_status(place) is None, name
        assert "Traceback" not in start.told.read_text(), (name, start.told.read_text()[-1500:])
    assert verify_log(place.state("audit")).ok


def test_a_home_of_a_newer_release_is_refused_by_name(tmp_path: Path, free_port: int) -> None:
    home = make_home(tmp_path / "home", port=free_port, demo=True)
    home.format_file.write_text(f"{HOME_FORMAT + 1}\n")
    done = subprocess.run(
        [*WORDS, "demo", "up", "--home", str(home.root)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 13
    assert "made by a newer release" in " ".join(done.stderr.split())


NO_NAMESPACES = """
import ctypes, os, pathlib, sys
assert ctypes.CDLL(None).unshare(0x10000000) == 0
sys.stdin.readline()
pathlib.Path("/proc/sys/user/max_user_namespaces").write_text("0")
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.skipif(os.getuid() != 0, reason="wanted root to make a machine without user namespaces; run as root")
def test_doctor_names_the_setting_that_forbids_user_namespaces(tmp_path: Path, free_port: int) -> None:
    """A user namespace with the host's own uids and a limit of none below it is such a machine."""
    home = make_home(tmp_path / "home", port=free_port, demo=True)
    target = tmp_path / "found.json"
    words = [*WORDS, "doctor", "--home", str(home.root), "--json", str(target)]
    process = subprocess.Popen(
        [sys.executable, "-c", NO_NAMESPACES, *words],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until(lambda: Path(f"/proc/{process.pid}/ns/user").readlink() != Path("/proc/self/ns/user").readlink())
    for name in ("uid_map", "gid_map"):
        Path(f"/proc/{process.pid}/{name}").write_text("0 0 4294967295\n")
    _, said = process.communicate("go\n", timeout=100)
    assert process.returncode == 14, said
    found = {result["id"]: result for result in json.loads(target.read_text())["checks"]}
    assert found["user-namespaces"]["ok"] is False
    assert "user.max_user_namespaces = 0" in found["user-namespaces"]["found"]
    assert "max_user_namespaces" in "".join(said.split())
