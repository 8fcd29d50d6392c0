"""A launcher as its own process, a real ledger, and the far side of the protocols of registry, broker, airlock."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from code_desk import code_desk
from pages import Holder

from enclave.core.errors import UnavailableError
from enclave.runtime.home import ensure_private_dir
from enclave.runtime.log import Log
from enclave.server.kernelspecs import JUPYTER_DATA
from enclave.wire.client import WireClient
from enclave.wire.messages import airlock, broker, facts, launcher
from enclave.wire.messages import projects as pm
from enclave.wire.messages.schema import Done
from enclave.wire.peer import WireServer


@dataclass
class FarSide:
    """Registry, broker and airlock as far as a launcher and a tap see them."""

    projects: tuple[pm.Project, ...] = (
        pm.Project(
            name="demo",
            title="Demo",
            purpose="test",
            state="open",
            members={"rosa": "researcher", "rita": "researcher"},
        ),
    )
    engaged: tuple[facts.Engagement, ...] = ()
    pages: Holder = field(default_factory=Holder)
    executions: list[tuple[str, str | None]] = field(default_factory=list)  # what ran when a kernel asked on its lease
    reads: dict[str, tuple[str, ...]] = field(default_factory=dict)
    objects: tuple[str, ...] = ("tables/patients",)
    listeners: dict[str, WireServer] = field(default_factory=dict)
    opened: list[Any] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)

    def projects_of(self, message: facts.ProjectsOf, _: Any) -> pm.ProjectList:
        service = message.person.startswith("service:")
        return pm.ProjectList(projects=tuple(p for p in self.projects if service or message.person in p.members))

    def engagements_of(self, message: facts.AskEngagements, _: Any) -> facts.EngagementList:
        return facts.EngagementList(engagements=tuple(one for one in self.engaged if one.expert == message.person))

    def open_lease(self, message: broker.OpenListener, _: Any) -> broker.Listener:
        path = Path(message.directory) / "lease.sock"
        kernel = message.kernel

        def listed(_message: Any, _call: Any) -> broker.DatasetList:
            self.executions.append((kernel, self.pages.running(kernel)))
            return broker.DatasetList(datasets=())

        self._listen(f"lease:{kernel}", path, {broker.ListDatasets: listed}, message.uid)
        self.opened.append(message)
        return broker.Listener(socket=str(path))

    def open_submit(self, message: airlock.OpenSubmitListener, _: Any) -> airlock.SubmitListener:
        path = Path(message.directory) / "submit.sock"
        handlers = {airlock.AskStatus: lambda _m, _c: airlock.EgressStatusList(requests=())}
        self._listen(f"submit:{message.kernel}", path, handlers, message.uid)
        return airlock.SubmitListener(socket=str(path))

    def close_listener(self, message: Any, _: Any) -> Done:
        prefix = "lease" if isinstance(message, broker.CloseListener) else "submit"
        server = self.listeners.pop(f"{prefix}:{message.kernel}", None)
        if server is not None:
            server.close()
            self.closed.append(message.kernel)
        return Done()

    def reads_of(self, message: broker.Reads, _: Any) -> broker.ReadsReply:
        objects = self.reads.get(message.cell, self.objects)
        return broker.ReadsReply(datasets=("demo-ct@1",), objects=objects[:200], object_count=len(objects))

    def _listen(self, key: str, path: Path, handlers: Any, uid: int) -> None:
        server = WireServer(path, handlers, log=Log("far"), allowed_uids=frozenset({uid}), mode=0o666)
        server.start()
        self.listeners[key] = server


@dataclass
class Stand:
    """Everything running: ``client`` is launcherd's own socket."""

    home: Any
    ledger: Any
    far: FarSide
    process: subprocess.Popen[bytes]
    client: WireClient
    servers: list[WireServer]

    @property
    def broker(self) -> WireServer:
        """The broker's stand-in."""
        return self.servers[1]

    def service_socket(self) -> Path:
        """A socket bound to ``service:reports``; it lives as long as this stand's client."""
        return Path(self.client.call(launcher.OpenServiceSocket(service="reports")).socket)

    def limits(self) -> str:
        """``cgroup1``, ``cgroup2`` or ``rlimits``."""
        (event, *_) = self.ledger.events(kind="kernel.start", outcome="intent")
        return str(event["detail"]["limits"])

    def restart(self) -> None:
        """Another launcher in place of this one."""
        self.client.close()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        self.process = start_launcher(self.home)
        self.client = WireClient(self.home.socket("launcherd"))

    def kill(self) -> None:
        """Ends the launcher as a crash does, waits for what dies with it, and starts another one."""
        running = self.descendants()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(20)
        end = time.monotonic() + 60
        while any(Path(f"/proc/{pid}").exists() for pid in running):
            assert time.monotonic() < end
            time.sleep(0.05)
        self.client.close()
        self.process = start_launcher(self.home)
        self.client = WireClient(self.home.socket("launcherd"))

    def descendants(self) -> list[int]:
        """All processes below the launcher but a spare tap, which belongs to no kernel yet."""
        return [pid for pid in descendants(self.process.pid) if not is_spare(pid)]


def descendants(pid: int) -> list[int]:
    """Children, their children, and so on, of all threads."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, task.read_text().split()):
                found += [child, *descendants(child)]
    return found


def is_spare(pid: int) -> bool:
    """A tap that has no settings yet has neither sockets nor threads."""
    with contextlib.suppress(OSError):
        tap = b"enclave.cli.tap" in Path(f"/proc/{pid}/cmdline").read_bytes()
        return tap and len(list(Path(f"/proc/{pid}/task").iterdir())) == 1
    return False


def start_launcher(home: Any, *, prefix: tuple[str, ...] = (), env: dict[str, str] | None = None) -> Any:
    """`enclave-launcherd` for ``home``; ready when its socket answers."""
    log = (home.root / "launcherd.log").open("wb")
    process = subprocess.Popen(
        [*prefix, sys.executable, "-m", "enclave.cli.launcherd", "--home", str(home.root)],
        stderr=log,
        env={**os.environ, **(env or {})},
    )
    client = WireClient(home.socket("launcherd"))
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert process.poll() is None, (home.root / "launcherd.log").read_text()
        with contextlib.suppress(UnavailableError):
            client.call(launcher.ListKernels(), timeout_s=5)
            return process
        time.sleep(0.05)
    raise AssertionError("launcherd did not start")


def serve_far_side(home: Any, far: FarSide) -> list[WireServer]:
    """The three stand-ins on their sockets, reachable for taps of another uid."""
    mode = 0o666
    log = Log("far")
    code = code_desk(home)
    tables: dict[str, dict[type[Any], Callable[[Any, Any], Any]]] = {
        "registryd": {
            facts.ProjectsOf: far.projects_of,
            facts.AskEngagements: far.engagements_of,
            facts.AskProjectDatasets: lambda _m, _c: facts.ProjectDatasets(versions=()),
        },
        "brokerd": {
            broker.OpenListener: far.open_lease,
            broker.CloseListener: far.close_listener,
            broker.TakePage: far.pages.take,
            broker.Reads: far.reads_of,
            **code.handlers(),
        },
        "airlockd": {
            airlock.OpenSubmitListener: far.open_submit,
            airlock.CloseSubmitListener: far.close_listener,
            airlock.TakeSubmitPage: far.pages.take_submit,
        },
    }
    servers = [
        WireServer(home.socket(name), table, log=log, allowed_uids=None, mode=mode, max_descriptors=1)
        for name, table in tables.items()
    ]
    for server in servers:
        server.start()
    return servers


@pytest.fixture
def launcher_settings() -> str:
    """What a test adds to the settings; parametrize it to change it."""
    return ""


@pytest.fixture
def stand(auditd: Any, launcher_settings: str) -> Iterator[Stand]:
    """A launcher with everything around it."""
    home = auditd.home
    with home.settings_file.open("a") as file:
        file.write(launcher_settings)
    ensure_private_dir(home.run_dir, mode=0o711)
    far = FarSide()
    servers = serve_far_side(home, far)
    process = start_launcher(home)
    client = WireClient(home.socket("launcherd"))
    found = Stand(home, auditd, far, process, client, servers)
    yield found
    found.client.close()
    found.process.send_signal(signal.SIGTERM)
    found.process.wait(20)
    for server in (*servers, *far.listeners.values()):
        server.close()


class Notebook:
    """A client of one kernel as JupyterLab is one: manager, provisioner, channels."""

    def __init__(self, socket: Path, connections: Path, *, environment: str = "") -> None:
        from jupyter_client.kernelspec import KernelSpecManager
        from jupyter_client.manager import KernelManager

        os.environ["ENCLAVE_LAUNCHER_SOCKET"] = str(socket)
        specs = KernelSpecManager(kernel_dirs=[str(JUPYTER_DATA / "kernels")])
        connections.mkdir(exist_ok=True)
        self.manager = KernelManager(
            kernel_name="enclave-python", kernel_spec_manager=specs, connection_file=str(connections / "c.json")
        )
        self.manager.start_kernel(env={**os.environ, "ENCLAVE_PROJECT": "demo", "ENCLAVE_ENVIRONMENT": environment})
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    @property
    def kernel(self) -> str:
        return self.manager.provisioner.kernel

    def run(self, code: str, *, timeout: float = 30, **options: Any) -> tuple[dict[str, Any], str]:
        """The reply's content and all text that the cell showed."""
        shown: list[str] = []

        def hook(message: dict[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] == "stream":
                shown.append(content["text"])
            elif message["msg_type"] in ("execute_result", "display_data"):
                shown.append(content["data"].get("text/plain", ""))
            elif message["msg_type"] == "error":
                shown.append(f"{content['ename']}: {content['evalue']}")

        reply = self.client.execute_interactive(code, timeout=timeout, output_hook=hook, **options)
        return reply["content"], "".join(shown)

    def begin(self, code: str) -> str:
        """Sends ``code`` and waits until the kernel runs it; the id of what was sent."""
        sent: str = self.client.execute("print('begun', flush=True)\n" + code)
        while True:
            message = self.client.get_iopub_msg(timeout=30)
            if message["parent_header"].get("msg_id") == sent and message["msg_type"] == "stream":
                return sent

    def reply(self, sent: str, *, timeout: float = 30) -> dict[str, Any]:
        """The shell reply to the message ``sent``; late answers to earlier questions are passed over."""
        end = time.monotonic() + timeout
        while True:
            message = self.client.get_shell_msg(timeout=max(0.01, end - time.monotonic()))
            if message["parent_header"]["msg_id"] == sent:
                return message["content"]

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture
def notebook(stand: Stand, tmp_path: Path) -> Iterator[Notebook]:
    """A kernel of ``service:reports`` with a client."""
    found = Notebook(stand.service_socket(), tmp_path / "connections")
    yield found
    found.close()


@pytest.fixture
def notebook_on(tmp_path: Path) -> Callable[..., Notebook]:
    """Opens a kernel with a client on any launcher socket; who opens it closes it."""
    numbers = itertools.count()
    return lambda socket, environment="": Notebook(
        socket, tmp_path / f"connections-{next(numbers)}", environment=environment
    )
