"""A report from request to page: real ledger, launcher, sandbox and papermill; the data come from a lease socket."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from code_desk import code_desk
from lease import Lease
from pages import Holder

from enclave.core.errors import UnavailableError
from enclave.keys.files import new_symmetric
from enclave.policy.model import Actor
from enclave.reports.daemon import ReportDaemon
from enclave.reports.settings import ReportSettings
from enclave.runtime.home import ensure_private_dir
from enclave.runtime.log import Log
from enclave.wire.client import WireClient
from enclave.wire.messages import airlock, broker, facts, launcher, projects
from enclave.wire.messages.reports import ListRuns, ReportRun, RunNow, ShowPage
from enclave.wire.messages.schema import Done
from enclave.wire.peer import WireServer

STELLA = Actor("stella", frozenset({"data_steward"}))
CELL_FAILS = (
    '{"cells": [{"cell_type": "code", "id": "a", "metadata": {}, "source": "raise KeyError(%r)", "outputs": [],'
)
CELL_FAILS += ' "execution_count": null}], "metadata": {"kernelspec": {"name": "enclave-python"}}, "nbformat": 4,'
CELL_FAILS += ' "nbformat_minor": 5}'
DEMO = projects.Project(name="demo", title="Demo", purpose="-", state="open", members={})


def done(*_: Any) -> Done:
    return Done()


def neighbours(home: Any, lease: Lease) -> list[WireServer]:
    def opened(message: broker.OpenListener, _: Any) -> broker.Listener:
        return broker.Listener(socket=str(lease.serve_lease(Path(message.directory))))

    def submit(message: airlock.OpenSubmitListener, _: Any) -> airlock.SubmitListener:
        return airlock.SubmitListener(socket=str(lease.serve_submit(Path(message.directory))))

    def reads(*_: Any) -> broker.ReadsReply:
        return broker.ReadsReply(datasets=("demo-ct@1",), objects=())

    pages = Holder()
    tables: dict[str, Any] = {
        "registryd": {facts.ProjectsOf: lambda *_: projects.ProjectList(projects=(DEMO,))},
        "brokerd": {
            broker.OpenListener: opened,
            broker.CloseListener: done,
            broker.TakePage: pages.take,
            broker.Reads: reads,
            **code_desk(home).handlers(),
        },
        "airlockd": {
            airlock.OpenSubmitListener: submit,
            airlock.CloseSubmitListener: done,
            airlock.TakeSubmitPage: pages.take_submit,
        },
    }
    servers = [
        WireServer(home.socket(name), table, log=Log("far"), allowed_uids=None, mode=0o666, max_descriptors=1)
        for name, table in tables.items()
    ]
    for server in servers:
        server.start()
    return servers


def start_launcher(home: Any) -> subprocess.Popen[bytes]:
    log = (home.root / "launcherd.log").open("wb")
    process = subprocess.Popen((sys.executable, "-m", "enclave.cli.launcherd", "--home", str(home.root)), stderr=log)
    client = WireClient(home.socket("launcherd"))
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert process.poll() is None, (home.root / "launcherd.log").read_text()
        with contextlib.suppress(UnavailableError):
            client.call(launcher.ListKernels(), timeout_s=5)
            client.close()
            return process
        time.sleep(0.05)
    raise AssertionError("launcherd did not start")


class Stand:
    """The report service with everything around it."""

    def __init__(self, ledger: Any, notebooks: Path) -> None:
        self.ledger = ledger
        self.home = ledger.home
        settings = ReportSettings(notebooks_folder=str(notebooks) if notebooks.exists() else "")
        self.daemon = ReportDaemon(self.home, resolve=lambda _: STELLA, log=Log("reportd"), settings=settings)
        self.daemon.start()
        self.client = WireClient(self.home.socket("reportd"))

    def run(self, entry: str = "demo-validation") -> ReportRun:
        queued = self.client.call(RunNow(token="t", entry=entry))
        end = time.monotonic() + 60
        while time.monotonic() < end:
            (run,) = (r for r in self.client.call(ListRuns(token="t")).runs if r.id == queued.id)
            if run.state in ("done", "failed"):
                return run
            time.sleep(0.2)
        raise AssertionError(f"the run did not end: {run}, {self.ledger.events()[-6:]}")

    def page(self, run: ReportRun) -> str:
        body, (fd,) = self.client.call_with_descriptors(ShowPage(token="t", id=run.id), max_descriptors=1)
        with os.fdopen(fd, "rb") as file:
            return file.read(body.size_bytes).decode()


@pytest.fixture
def lease() -> Iterator[Lease]:
    """The version that kernels open."""
    stand = Lease()
    yield stand
    stand.close()


@pytest.fixture
def stand(auditd: Any, lease: Lease, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stand]:
    """Started. A notebook text given by ``indirect`` takes the place of the committed one."""
    home = auditd.home
    ensure_private_dir(home.run_dir, mode=0o711)
    new_symmetric(home.key_file("reports-box"))
    notebooks = tmp_path / "notebooks"
    if text := getattr(request, "param", None):
        notebooks.mkdir()
        (notebooks / "dataset_validation.ipynb").write_text(text)
    servers = neighbours(home, lease)
    process = start_launcher(home)
    found = Stand(auditd, notebooks)
    yield found
    found.client.close()
    found.daemon.close()
    process.send_signal(signal.SIGTERM)
    process.wait(20)
    for server in servers:
        server.close()


@pytest.mark.slow
def test_the_validation_report_runs_in_the_sandbox_and_every_cell_is_in_the_ledger(stand: Stand) -> None:
    run = stand.run()
    assert (run.state, run.message) == ("done", "")
    page = stand.page(run)
    assert "demo-ct@1" in page
    assert "data:image/png;base64," in page
    cells = stand.ledger.events(kind="cell.execute", outcome="ok")
    (finished,) = stand.ledger.events(kind="report.run", outcome="ok")
    assert len(cells) == finished["detail"]["cells"] > 5
    assert {event["actor"] for event in cells} == {"service:reports"}
    begun = stand.ledger.events(kind="cell.execute", outcome="intent")
    file = json.loads((Path(__file__).parents[2] / "notebooks/reports/dataset_validation.ipynb").read_text())
    wanted = [cell["id"] for cell in file["cells"] if cell["cell_type"] == "code"]
    wanted.insert(1, "injected-parameters")  # behind the cell with the tag
    assert [event["detail"]["client_cell"] for event in begun] == wanted
    assert stand.ledger.events(kind="kernel.stop")


@pytest.mark.slow
@pytest.mark.row("S6.1")
def test_the_sandbox_tests_itself_as_a_report_and_every_door_is_closed(stand: Stand) -> None:
    run = stand.run("sandbox-selftest")
    assert (run.state, run.message) == ("done", "")
    page = stand.page(run)
    found = re.search(r"(\d+) attempts, 0 open doors", page)
    assert found is not None
    assert int(found[1]) >= 150
    for name in ("net.loopback4", "file.read.a_readable_file_of_the_host", "frame.submit.deep", "memory.protect",
                 "message.parts", "tap.connection.write", "call.ptrace"):  # fmt: skip
        assert name in page, name
    assert "OPEN" not in page
    assert len(stand.ledger.events(kind="cell.execute", outcome="ok")) == 5


@pytest.mark.slow
@pytest.mark.row("S16.4")
@pytest.mark.parametrize("stand", [CELL_FAILS % "canary-value"], indirect=True)
def test_of_a_failing_cell_only_its_number_and_class_are_told(stand: Stand) -> None:
    run = stand.run()
    assert (run.state, run.message) == ("failed", "cell 1 of the notebook ended with KeyError")
    assert "canary-value" not in repr(stand.ledger.events())
