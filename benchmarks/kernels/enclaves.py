"""Two kinds of kernels for one client: plain ipykernel, and the product's behind launcher and tap."""

from __future__ import annotations

import contextlib
import os
import signal
import socket as unix
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

from enclave.cli.init import make_home
from enclave.core.errors import UnavailableError
from enclave.runtime.home import Home
from enclave.sandbox.installation import find_installation
from enclave.wire.client import WireClient
from enclave.wire.messages import launcher

SETTINGS = """[launcher]
max_kernels_per_person = 64
[launcher.display]
hour = { mb = 65536, images = 100000, rows = 100000000 }
day = { mb = 65536, images = 100000, rows = 100000000 }
"""


class Plain:
    """ipykernel of the same environment, started by jupyter_client over ipc, without a sandbox."""

    name = "plain"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0

    def start(self) -> tuple[KernelManager, BlockingKernelClient]:
        """A new kernel, ready."""
        self._number += 1
        python = find_installation().kernel_env / "bin" / "python"
        manager: KernelManager = KernelManager(
            transport="ipc", connection_file=str(self._folder / f"p{self._number}.json")
        )
        manager._kernel_spec = KernelSpec(  # noqa: SLF001 - no public way to give it a spec of no file
            argv=[str(python), "-m", "ipykernel", "-f", "{connection_file}", "--HistoryManager.enabled=False"]
        )
        manager.start_kernel(env={**os.environ, "PYTHONPATH": "", "IPYTHONDIR": str(self._folder)})
        return manager, _ready(manager)


class Enclave:
    """A kernel through the provisioner; ``socket`` is a person's socket of a running launcher."""

    def __init__(self, name: str, socket: str, folder: Path, process: int) -> None:
        self.name = name
        self.launcher_pid = process
        self._socket = socket
        self._folder = folder
        self._number = 0

    def start(self) -> tuple[KernelManager, BlockingKernelClient]:
        """A new kernel, ready."""
        from enclave.server.kernelspecs import KERNEL_NAME, EnclaveKernelSpecManager

        self._number += 1
        os.environ["ENCLAVE_LAUNCHER_SOCKET"] = self._socket
        manager: KernelManager = KernelManager(
            kernel_name=KERNEL_NAME,
            kernel_spec_manager=EnclaveKernelSpecManager(),
            connection_file=str(self._folder / f"{self.name}{self._number}.json"),
        )
        manager.start_kernel(env={**os.environ, "ENCLAVE_PROJECT": "benchmark"})
        return manager, _ready(manager)


def _ready(manager: KernelManager) -> BlockingKernelClient:
    client: BlockingKernelClient = manager.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    return client


@contextlib.contextmanager
def plain() -> Iterator[Plain]:
    """Plain kernels in a folder of their own."""
    with tempfile.TemporaryDirectory() as folder:
        yield Plain(Path(folder))


@contextlib.contextmanager
def enclave(name: str, *, instant_ledger: bool = False) -> Iterator[Enclave]:
    """Daemons over a new home: a real broker, airlock and launcher; a real ledger unless ``instant_ledger``."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        home = make_home(Path(folder) / "home", port=9000)
        text = home.settings_file.read_text("utf-8")
        home.settings_file.write_text(text.replace("[launcher]\n", SETTINGS), "utf-8")
        words = ["--instant-ledger"] if instant_ledger else []
        _start(stack, ["benchmarks.kernels.stand_ins", str(home.root), *words], home, "registryd")
        for daemon in (["auditd"] if not instant_ledger else []) + ["brokerd", "airlockd"]:
            _start(stack, [f"enclave.cli.{daemon}", "--home", str(home.root)], home, daemon)
        process = _start(stack, ["enclave.cli.launcherd", "--home", str(home.root)], home, "launcherd")
        client = stack.enter_context(contextlib.closing(WireClient(home.socket("launcherd"), timeout_s=30)))
        socket = client.call(launcher.OpenServiceSocket(service="reports")).socket
        yield Enclave(name, socket, Path(folder), process.pid)


def _start(stack: contextlib.ExitStack, words: list[str], home: Home, socket: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-m", *words], stderr=(home.root / f"{socket}.log").open("wb"))
    stack.callback(_end, process)
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if process.poll() is not None:
            raise UnavailableError(f"{socket}: wanted it to run, got its end; see {home.root}")
        with contextlib.suppress(OSError), contextlib.closing(unix.socket(unix.AF_UNIX)) as probe:
            probe.connect(str(home.socket(socket)))
            return process
        time.sleep(0.05)
    raise UnavailableError(f"{socket}: wanted it to listen, got nothing within 30 s")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(20)
    process.kill()


def tap_pids(pid: int) -> list[int]:
    """The taps below a launcher."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        children = map(int, task.read_text().split())
        found += [one for one in children if b"enclave.cli.tap" in Path(f"/proc/{one}/cmdline").read_bytes()]
    return [one for one in found if len(list(Path(f"/proc/{one}/task").iterdir())) > 1]  # without the spare


def pss_mb(pid: int) -> float:
    """Proportional set size (proc_pid_smaps(5))."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def close(manager: Any, client: Any) -> None:
    """Ends one kernel."""
    client.stop_channels()
    manager.shutdown_kernel(now=True)
