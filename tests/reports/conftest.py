"""A report service on a real ledger; registry and launcher are answered on real sockets, the runner is given."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from people import resolve
from set_clock import SetClock

from enclave.core.errors import UnavailableError
from enclave.keys.files import new_symmetric
from enclave.reports.daemon import ReportDaemon
from enclave.reports.process import Result, Task
from enclave.reports.settings import ReportSettings
from enclave.runtime.log import Log
from enclave.wire.client import WireClient
from enclave.wire.messages.facts import ProjectsOf
from enclave.wire.messages.launcher import OpenServiceSocket, PersonSocket
from enclave.wire.messages.projects import Project, ProjectList
from enclave.wire.peer import WireServer

PAGE = b"<!doctype html><p>41 patients</p>"
NOTEBOOK = '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'


@dataclass
class Runner:
    """What stands for the papermill process: waits for ``go``, then gives ``result``."""

    result: Result = field(default_factory=lambda: Result(ok=True, page=PAGE, cells=3))
    tasks: list[Task] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)
    ended: bool = False

    def run(self, task: Task) -> Result:
        self.tasks.append(task)
        self.go.wait(10)
        if self.ended:
            raise UnavailableError("ended")
        return self.result

    def end(self) -> None:
        self.ended = True
        self.go.set()


@dataclass
class ReportStand:
    """A running report service and its neighbours."""

    ledger: Any
    clock: SetClock
    runner: Runner
    settings: ReportSettings
    daemon: ReportDaemon | None = None
    client: WireClient | None = None

    @property
    def home(self) -> Any:
        return self.ledger.home

    def start(self) -> None:
        self.daemon = ReportDaemon(
            self.home, resolve=resolve, log=Log("reportd"), settings=self.settings, clock=self.clock
        )
        parts = replace(self.daemon._parts, new_runner=lambda: self.runner)
        self.daemon._parts = self.daemon._worker._parts = parts
        self.daemon.start()
        self.client = WireClient(self.home.socket("reportd"))

    def stop(self) -> None:
        if self.client is not None:
            self.client.close()
        if self.daemon is not None:
            self.daemon.close()
            self.daemon = None

    def ask(self, message: Any) -> Any:
        assert self.client is not None
        return self.client.call(message)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.02)


def _projects(message: ProjectsOf, _call: Any) -> ProjectList:
    demo = Project(name="demo", title="Demo", purpose="-", state="open", members={"rosa": "researcher"})
    return ProjectList(projects=(demo,) if message.person == "rosa" else ())


@pytest.fixture
def machine_clock() -> SetClock:
    """Report service and ledger run by one clock, as on one machine."""
    return SetClock()


@pytest.fixture
def reportd(auditd: Any, machine_clock: SetClock, tmp_path: Path) -> Iterator[ReportStand]:
    """Started; its runner waits for ``go``."""
    home = auditd.home
    new_symmetric(home.key_file("reports-box"))
    notebooks = tmp_path / "notebooks"
    notebooks.mkdir()
    for name in ("dataset_validation.ipynb", "sandbox_selftest.ipynb"):
        (notebooks / name).write_text(NOTEBOOK)
    log = Log("test")
    registry = WireServer(home.socket("registryd"), {ProjectsOf: _projects}, log=log, allowed_uids=None)
    opened = PersonSocket(socket="/nowhere/launcher.sock")
    launcher = WireServer(home.socket("launcherd"), {OpenServiceSocket: lambda *_: opened}, log=log, allowed_uids=None)
    registry.start()
    launcher.start()
    settings = ReportSettings(notebooks_folder=str(notebooks), retry_s=0.1)
    stand = ReportStand(auditd, machine_clock, Runner(), settings)
    stand.start()
    yield stand
    stand.stop()
    registry.close()
    launcher.close()
