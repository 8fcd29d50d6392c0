"""A whole front door on free ports: ledger, provider, proxy, Hub; and a stand-in for the launcher's wire.

The stand-in starts the real gate and the real single-user server, without the sandbox around it, which is the
sandbox tests' matter.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from ports import free_ports

from enclave.audit.segments import Record, read_segment, segment_files
from enclave.cli.init import make_home
from enclave.core.errors import NotFoundError
from enclave.hub.settings import HubSettings
from enclave.runtime.home import Home
from enclave.runtime.log import Log
from enclave.wire.messages.launcher import (
    KeepFiles,
    PollServer,
    ServerReply,
    ServerStatus,
    ShowFile,
    StartServer,
    StopServer,
)
from enclave.wire.messages.schema import Done
from enclave.wire.peer import Call, WireServer

CONFIG = Path(__file__).parents[2] / "hub_config" / "jupyterhub_config.py"
SERVER_CONFIG = Path(__file__).parents[2] / "enclave" / "server" / "config" / "server_config.py"


NOTEBOOK = {
    "nbformat": 4,
    "nbformat_minor": 5,
    "metadata": {"kernelspec": {"name": "enclave-python", "display_name": "Python (enclave)", "language": "python"}},
    "cells": [],
}


def wait_for(ready: Any, *, what: str, timeout_s: float = 60.0) -> None:
    """Waits until ``ready()`` is true."""
    end = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.1)


def answers(url: str) -> bool:
    """Whether the page is there; the proxy answers 404 until the Hub has told it its routes."""
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends one process that we started."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass
class StandIn:
    """Answers the launcher's three server requests."""

    home: Home
    place: Path
    started: list[StartServer] = field(default_factory=list)
    broken: bool = False
    running: dict[str, list[subprocess.Popen[bytes]]] = field(default_factory=dict)

    def start_server(self, message: StartServer, call: Call) -> ServerReply:
        self.started.append(message)
        server = secrets.token_hex(16)
        folder = self.place / server[:8]
        (folder / "home" / "code").mkdir(parents=True)
        (folder / "home" / "code" / "first.py").write_text("print(1)\n")
        (folder / "home" / "code" / "values.csv").write_text("a,b\n")
        (folder / "home" / "code" / "demo").mkdir()
        (folder / "home" / "code" / "demo" / "first_look.ipynb").write_text(json.dumps(NOTEBOOK))
        gate, inner, hub = folder / "gate.sock", folder / "server.sock", folder / "hub.sock"
        options = ["--listen", gate, "--server", inner, "--hub", message.hub_api_url, "--hub-listen", hub]
        options += ["--base-url", message.base_url, "--person", message.person, "--audit", self.home.socket("auditd")]
        options += ["--server-uid", os.getuid(), "--keep", folder / "keep.sock"]
        keeper = WireServer(
            folder / "keep.sock",
            {KeepFiles: lambda _m, _c: Done(), ShowFile: lambda _m, _c: Done()},
            log=Log("keeper"),
            allowed_uids=None,
        )
        keeper.start()
        python = [sys.executable, "-P", "-m"]
        processes = [subprocess.Popen([*python, "enclave.cli.gate", *map(str, options)])]
        wait_for(hub.exists, what="gate")
        api = f"http+unix://{quote(str(hub), safe='')}/hub/api"
        environment = {
            **message.environment,
            "HOME": str(folder / "home"),
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "JUPYTERHUB_SERVICE_URL": f"http+unix://{quote(str(inner), safe='')}{message.base_url}",
            "JUPYTERHUB_API_URL": api,
            "JUPYTERHUB_ACTIVITY_URL": f"{api}/users/{message.person}/activity",
        }
        if self.broken:
            python = [sys.executable, "-c", "raise SystemExit(3)"]
        argv = [*python, "jupyterhub.singleuser", f"--config={SERVER_CONFIG}", "--allow-root"]
        processes.append(subprocess.Popen(argv, env=environment, cwd=folder / "home"))
        self.running[server] = processes
        return ServerReply(server=server, url=f"http+unix://{quote(str(gate), safe='')}")

    def poll_server(self, message: PollServer, call: Call) -> ServerStatus:
        if message.server not in self.running:
            raise NotFoundError("server: wanted one that runs, got another")
        return ServerStatus(exit_code=self.running[message.server][1].poll())

    def stop_server(self, message: StopServer, call: Call) -> Done:
        for process in self.running.pop(message.server, []):
            end(process)
        return Done()


@dataclass
class FrontDoor:
    """The running processes of one home."""

    home: Home
    launcher: StandIn
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def settings(self) -> HubSettings:
        return self.home.settings(HubSettings, section="hub")

    def start(self, name: str, *argv: str) -> None:
        log_path = self.home.state("logs") / f"{name}.log"
        with log_path.open("ab") as log_file:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-P", "-m", *argv],
                cwd=self.home.state("hub"),
                env={**os.environ, "ENCLAVE_HOME": str(self.home.root)},
                stdout=log_file,
                stderr=subprocess.STDOUT,
            )

    def events(self, **match: Any) -> list[dict[str, Any]]:
        """All durable events whose fields equal ``match``."""
        found = [
            json.loads(item.payload)["event"]
            for path in segment_files(self.home.state("audit") / "segments")
            for item in read_segment(path)
            if isinstance(item, Record)
        ]
        return [event for event in found if all(event.get(key) == value for key, value in match.items())]


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontDoor]:
    """Everything up; ends all of it."""
    place = tmp_path_factory.mktemp("d")
    home = make_home(place / "home", port=free_ports(6))
    launcher = StandIn(home, place)
    handlers = {
        StartServer: launcher.start_server,
        PollServer: launcher.poll_server,
        StopServer: launcher.stop_server,
    }
    wire = WireServer(home.socket("launcherd"), handlers, log=Log("stand-in"), allowed_uids=None)
    wire.start()
    found = FrontDoor(home, launcher)
    try:
        root = str(home.root)
        found.start("auditd", "enclave.cli.auditd", "--home", root)
        found.start("devidp", "enclave.hub.devidp", "--home", root)
        found.start("proxy", "enclave.hub.proxy", "--home", root)
        found.start("hub", "jupyterhub", "-f", str(CONFIG))
        wait_for(home.socket("auditd").exists, what="auditd")
        wait_for(lambda: answers(f"{found.settings.url}/hub/health"), what="hub")
        yield found
    finally:
        for server in list(launcher.running):
            launcher.stop_server(StopServer(server=server), Call(None))  # type: ignore[arg-type]  # the peer is not looked at
        for process in reversed(list(found.processes.values())):
            end(process)
        wire.close()
