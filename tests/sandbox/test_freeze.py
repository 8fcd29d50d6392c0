"""A frozen kernel runs nothing more and keeps what it has until an operator or a data steward ends it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stub_hub import client_of, hub_settings, person_socket

from enclave.core.errors import ConflictError, DeniedError, NotFoundError
from enclave.wire.client import WireClient
from enclave.wire.messages.launcher import (
    FreezeKernel,
    InterruptKernel,
    KillKernel,
    ListOwnKernels,
    OpenPersonSocket,
    RestartKernel,
    StartKernel,
    StopKernel,
)


@pytest.fixture
def launcher_settings() -> Iterator[str]:
    with hub_settings() as text:
        yield text


@pytest.fixture
def rosas(stand: Any, notebook_on: Any) -> Iterator[Any]:
    found = notebook_on(person_socket(stand, "rosa"))
    yield found
    found.client.stop_channels()


def states(pid: int) -> set[str]:
    found = {Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]}
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found |= states(int(child))
    return found


def test_a_frozen_kernel_runs_nothing_and_says_why(stand: Any, rosas: Any) -> None:
    oskar = client_of(stand, "oskar")
    rosas.run("import os, subprocess, threading, time\nmark = 7\np = subprocess.Popen(['sleep', '600'])")
    rosas.run("open('/tmp/beat', 'w').write('0')")
    sent = rosas.begin("while True: open('/tmp/beat', 'w').write(str(time.time()))")
    (info,) = oskar.call(ListOwnKernels()).kernels
    assert (info.kernel, info.state) == (rosas.kernel, "running")
    oskar.call(FreezeKernel(kernel=rosas.kernel))
    assert rosas.reply(sent)["ename"] == "KernelFrozen"
    assert stand.far.pages.running(rosas.kernel) is None
    assert states(info.host_pid) == {"T"}
    beat = Path(f"/proc/{info.host_pid}/root", "tmp", "beat")
    before = beat.read_text()
    reply, text = rosas.run("print('ran')")
    assert reply["ename"] == "KernelFrozen"
    assert "ran\n" not in text
    assert "Ask a data steward" in reply["evalue"]
    assert rosas.reply(rosas.client.complete("ma"))["status"] == "error"
    assert beat.read_text() == before
    assert oskar.call(ListOwnKernels()).kernels[0].state == "frozen"
    kinds = [(one["outcome"], one["actor"]) for one in stand.ledger.events(kind="kernel.freeze")]
    assert kinds[0] == ("intent", "oskar")
    end = time.monotonic() + 30
    while (
        not stand.ledger.events(kind="cell.execute", reason="kernel_frozen", outcome="refused")
        and time.monotonic() < end
    ):
        time.sleep(0.05)
    assert stand.ledger.events(kind="cell.execute", reason="kernel_frozen", outcome="refused")


@pytest.mark.parametrize("person", ["rosa", "rita", "hana", "ada", "olga", "edgar"])
def test_nobody_else_freezes_a_kernel(stand: Any, rosas: Any, person: str) -> None:
    with pytest.raises(DeniedError):
        client_of(stand, person).call(FreezeKernel(kernel=rosas.kernel))
    (event,) = stand.ledger.events(kind="kernel.freeze")
    assert (event["outcome"], event["reason"], event["actor"]) == ("refused", "role", person)
    assert rosas.run("print(1)")[1] == "1\n"


def test_a_servers_socket_which_knows_no_roles_freezes_nothing(stand: Any, notebook: Any) -> None:
    with pytest.raises(DeniedError):
        WireClient(Path(os.environ["ENCLAVE_LAUNCHER_SOCKET"])).call(FreezeKernel(kernel=notebook.kernel))


@pytest.mark.parametrize("message", [RestartKernel, KillKernel, StopKernel])
def test_its_person_cannot_end_or_restart_it(stand: Any, rosas: Any, message: Any) -> None:
    client_of(stand, "stella").call(FreezeKernel(kernel=rosas.kernel))
    rosa = client_of(stand, "rosa")
    with pytest.raises(DeniedError) as refusal:
        rosa.call(message(kernel=rosas.kernel))
    assert refusal.value.code == "kernel_frozen"
    (event,) = stand.ledger.events(kind="kernel.end")
    assert (event["outcome"], event["reason"], event["actor"]) == ("refused", "kernel_frozen", "rosa")
    rosa.call(InterruptKernel(kernel=rosas.kernel))
    (info,) = client_of(stand, "oskar").call(ListOwnKernels()).kernels
    assert states(info.host_pid) == {"T"}


@pytest.mark.parametrize("person", ["oskar", "stella"])
def test_an_operator_or_a_steward_ends_it(stand: Any, rosas: Any, person: str) -> None:
    someone = client_of(stand, person)
    someone.call(FreezeKernel(kernel=rosas.kernel))
    with pytest.raises(ConflictError):
        someone.call(FreezeKernel(kernel=rosas.kernel))
    someone.call(StopKernel(kernel=rosas.kernel))
    assert someone.call(ListOwnKernels()).kernels == ()
    (event,) = stand.ledger.events(kind="kernel.end")
    assert (event["outcome"], event["actor"]) == ("ok", person)
    with pytest.raises(NotFoundError):
        someone.call(FreezeKernel(kernel=rosas.kernel))


def test_a_steward_ends_no_kernel_that_is_not_frozen(stand: Any, rosas: Any) -> None:
    client_of(stand, "stella").call(StopKernel(kernel=rosas.kernel))
    assert rosas.run("print(1)")[1] == "1\n"
    assert stand.ledger.events(kind="kernel.reach", outcome="refused")


def test_it_outlives_the_socket_that_it_was_started_on(stand: Any) -> None:
    asking = WireClient(stand.home.socket("launcherd"))
    path = Path(asking.call(OpenPersonSocket(token="rosa")).socket)
    kernel = WireClient(path).call(StartKernel(project="demo")).kernel
    oskar = client_of(stand, "oskar")
    oskar.call(FreezeKernel(kernel=kernel))
    asking.close()
    end = time.monotonic() + 30
    while path.exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not path.exists()
    (info,) = oskar.call(ListOwnKernels()).kernels
    assert (info.kernel, info.state) == (kernel, "frozen")
    assert states(info.host_pid) == {"T"}
