"""A whole enclave as `enclave demo up` starts it, and a way to run code as a part of it that an attacker took over."""

from __future__ import annotations

import base64
import contextlib
import importlib
import json
import pkgutil
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ports import free_ports

from enclave.audit.segments import Record, read_segment, segment_files
from enclave.cli import demo
from enclave.cli.demo_notebook import Notebook
from enclave.cli.demo_people import PersonSession, sign_in, start_server
from enclave.core.errors import EnclaveError
from enclave.runtime.home import Home
from enclave.sandbox.seccomp import filter_bytes
from enclave.wire import messages
from enclave.wire.client import WireClient
from enclave.wire.messages import launcher, schema

PYTHON = "/run/enclave-runtime/env/bin/python"
LIMITS = {
    "Max core file size": resource.RLIMIT_CORE,
    "Max file size": resource.RLIMIT_FSIZE,
    "Max open files": resource.RLIMIT_NOFILE,
    "Max processes": resource.RLIMIT_NPROC,
}
# no_new_privs and the same filter first, then the attack: what a process of the server has had since its birth.
CONFINE = """
import base64, ctypes, os, sys
rules = base64.b64decode(sys.argv.pop(1))
class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Program(len(rules) // 8, rules)), 0, 0) == 0
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@dataclass
class Enclave:
    """One running demo. ``command`` runs ``enclave …`` on its home."""

    home: Home
    port: int

    def command(self, *words: str, timeout: float = 150) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*enclave_words(), *words, "--home", str(self.home.root)],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def status(self) -> dict[str, Any]:
        """What the supervisor says; it must run."""
        found = demo.read_status(self.home)
        assert found is not None, (self.home.state("logs") / "supervisor.log").read_text()
        return found

    def pid(self, service: str) -> int:
        return int(self.status()["pids"][service])

    def launcher(self) -> WireClient:
        return WireClient(self.home.socket("launcherd"), timeout_s=60)

    def kernels(self) -> tuple[launcher.KernelInfo, ...]:
        client = self.launcher()
        try:
            return client.call(launcher.ListKernels()).kernels
        finally:
            client.close()

    def events(self, **match: Any) -> list[dict[str, Any]]:
        """All durable events whose fields equal ``match``, oldest first."""
        found = [
            json.loads(item.payload)["event"]
            for path in segment_files(self.home.state("audit") / "segments")
            for item in read_segment(path)
            if isinstance(item, Record)
        ]
        return [event for event in found if all(event.get(key) == value for key, value in match.items())]

    def notebook(self, session: PersonSession, name: str = "attack") -> Notebook:
        """A notebook with a kernel of its own: Jupyter gives one kernel to all sessions of one path."""
        return Notebook(session, "rosa", f"demo/{name}.ipynb")


def enclave_words() -> tuple[str, ...]:
    """The command line of this checkout's ``enclave``."""
    return (sys.executable, "-P", "-m", "enclave.cli.main")


def descendants(pid: int) -> list[int]:
    """Children, their children, and so on."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, task.read_text().split()):
                found += [child, *descendants(child)]
    return found


@pytest.fixture(scope="session")
def request_names() -> tuple[str, ...]:
    """The names of all requests of all services."""
    for module in pkgutil.iter_modules(messages.__path__):
        importlib.import_module(f"{messages.__name__}.{module.name}")
    return tuple(sorted(one.name for one in schema._types.values()))


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Callable[[], Path]]:
    """Makes folders with names short enough for sockets; takes them away at the end."""
    made: list[Path] = []

    def make() -> Path:
        folder = Path(tempfile.mkdtemp(prefix="ea"))
        made.append(folder)
        return folder

    yield make
    for folder in made:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def enclave(short_folder: Callable[[], Path]) -> Iterator[Enclave]:
    """``enclave demo up`` on a fresh home, shared by all attacks; down at the end."""
    found = Enclave(Home(short_folder() / "h"), free_ports(6))
    try:
        done = found.command("demo", "up", "--port", str(found.port))
        assert done.returncode == 0, done.stdout + done.stderr
        yield found
    finally:
        if found.home.format_file.exists():
            demo.stop(found.home)


@pytest.fixture
def free_port() -> int:
    """The first of six free ports."""
    return free_ports(6)


@pytest.fixture(scope="module")
def rosa(enclave: Enclave) -> Iterator[PersonSession]:
    """Rosa, signed in, with her server running."""
    session = sign_in(enclave.home, "rosa")
    start_server(session)
    yield session
    session.close()


@pytest.fixture(scope="module")
def notebook(enclave: Enclave, rosa: PersonSession) -> Iterator[Notebook]:
    """Rosa's notebook with its kernel."""
    found = enclave.notebook(rosa)
    yield found
    with contextlib.suppress(EnclaveError):
        found.close()


@dataclass(frozen=True)
class Taken:
    """A sandboxed process that an attacker took over, by its host pid."""

    pid: int

    def run(self, script: Path, facts: dict[str, Any], *, timeout: float = 100) -> dict[str, Any]:
        """Runs ``script`` with that process's uid, namespaces, root, environment, limits and filter; its JSON."""
        environment = Path(f"/proc/{self.pid}/environ").read_bytes().split(b"\0")
        rules = base64.b64encode(filter_bytes()).decode()
        enter = ("nsenter", f"--target={self.pid}", "--user", "--mount", "--net", "--ipc", "--uts", "--pid", "--cgroup")
        limits = limits_of(self.pid)

        def limit() -> None:
            for kind, pair in limits.items():
                resource.setrlimit(kind, pair)

        done = subprocess.run(
            [*enter, "--root", "--wd", "--setuid=1000", "--setgid=1000", "--", PYTHON, "-P", "-c", CONFINE, rules,
             "-P", "-c", script.read_text(), json.dumps(facts)],
            env=dict(item.decode().partition("=")[::2] for item in environment if item),
            capture_output=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL,
            preexec_fn=limit,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()[-4000:]
        found: dict[str, Any] = json.loads(done.stdout)
        return found


def limits_of(pid: int) -> dict[int, tuple[int, int]]:
    """The soft and the hard limits of a process, as setrlimit(2) takes them."""
    found = {}
    for line in Path(f"/proc/{pid}/limits").read_text().splitlines()[1:]:
        name, soft, hard = re.split(r"\s{2,}", line)[:3]
        if name in LIMITS:
            numbers = [resource.RLIM_INFINITY if text == "unlimited" else int(text) for text in (soft, hard)]
            found[LIMITS[name]] = (numbers[0], numbers[1])
    assert len(found) == len(LIMITS)
    return found


def sandboxed_pids(word: str, below: int) -> list[int]:
    """Host pids below ``below`` of programs inside a sandbox whose command line holds ``word``."""
    here = Path("/proc/self/ns/pid").readlink()
    found = []
    for pid in descendants(below):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            if any(word in one for one in words) and Path(f"/proc/{pid}/ns/pid").readlink() != here:
                found.append(pid)
    return found


@pytest.fixture(scope="module")
def server(enclave: Enclave, rosa: PersonSession) -> Taken:
    """Rosa's single-user server, taken over: its last process is the server itself, behind pid 1 of its sandbox."""
    return Taken(sandboxed_pids("jupyterhub.singleuser", enclave.pid("launcherd"))[-1])
