"""Whoever speaks the Jupyter protocol is tapped alike; and no output is lost on the way."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from enclave.server.kernelspecs import JUPYTER_DATA


def _notebook(path: Path, *cells: str) -> Path:
    import nbformat

    document = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
        metadata={"kernelspec": {"name": "enclave-python", "display_name": "Python (enclave)", "language": "python"}},
    )
    nbformat.write(document, path)
    return path


def _ran(stand: Any) -> int:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        done = stand.ledger.events(kind="cell.execute", outcome="ok")
        if len(done) == len(stand.ledger.events(kind="cell.execute", outcome="intent")):
            break
        time.sleep(0.05)
    return len(done)


@pytest.fixture
def environment(stand: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCLAVE_LAUNCHER_SOCKET", str(stand.service_socket()))
    monkeypatch.setenv("ENCLAVE_PROJECT", "demo")
    monkeypatch.setenv("JUPYTER_PATH", str(JUPYTER_DATA))


@pytest.mark.slow
def test_papermill_goes_through_the_tap(stand: Any, environment: None, tmp_path: Path) -> None:
    import papermill

    source = _notebook(tmp_path / "in.ipynb", "print(6 * 7)", "import os; print(os.getuid())")
    done = papermill.execute_notebook(source, tmp_path / "out.ipynb", progress_bar=False)
    assert "42" in json.dumps(done.cells[0].outputs)
    assert _ran(stand) == 2


@pytest.mark.slow
def test_the_command_line_runs_a_notebook_and_says_when_a_cell_fails(stand: Any, tmp_path: Path) -> None:
    from enclave.cli.kernel import CellFailedError, execute

    good = _notebook(tmp_path / "good.ipynb", "print(6 * 7)")
    bad = _notebook(tmp_path / "bad.ipynb", "1 / 0", "print('never')")
    socket = stand.service_socket()
    execute(good, tmp_path / "good.out.ipynb", socket=socket, project="demo", timeout_s=30)
    assert "42" in (tmp_path / "good.out.ipynb").read_text()
    (begun,) = stand.ledger.events(kind="cell.execute", outcome="intent")
    assert begun["detail"]["client_cell"] == json.loads(good.read_text())["cells"][0]["id"]
    with pytest.raises(CellFailedError):
        execute(bad, tmp_path / "bad.out.ipynb", socket=socket, project="demo", timeout_s=30)
    assert "ZeroDivisionError" in (tmp_path / "bad.out.ipynb").read_text()
    assert stand.descendants() == []


@pytest.mark.slow
def test_two_clients_of_one_kernel_are_both_recorded(stand: Any, notebook: Any) -> None:
    from jupyter_client.blocking.client import BlockingKernelClient

    other = BlockingKernelClient(connection_file=notebook.manager.connection_file)
    other.load_connection_file()
    other.start_channels()
    try:
        other.wait_for_ready(timeout=60)
        notebook.run("mark = 7")
        other.execute_interactive("assert mark == 7", timeout=60)
    finally:
        other.stop_channels()
    assert _ran(stand) == 2


@pytest.mark.slow
def test_no_output_is_lost_under_many_small_prints(notebook: Any) -> None:
    reply, text = notebook.run("for i in range(3000): print(i, flush=True)", timeout=60)
    assert reply["status"] == "ok"
    assert text == "".join(f"{i}\n" for i in range(3000))


@pytest.mark.slow
def test_large_output_arrives_and_too_much_is_cut_with_a_line(stand: Any, notebook: Any) -> None:
    reply, text = notebook.run("for _ in range(30): print('x' * (1 << 20))", timeout=60)
    assert reply["status"] == "ok"
    assert len(text) == 30 * ((1 << 20) + 1)
    reply, text = notebook.run("for _ in range(230): print('x' * (1 << 20))", timeout=100)
    assert reply["status"] == "ok"
    assert "the rest is cut" in text
    assert len(text) <= 201 << 20
    assert notebook.run("print(1)")[1] == "1\n"
    (refused,) = stand.ledger.events(kind="output.refused")
    assert (refused["reason"], refused["detail"]["measure"]) == ("cell_budget", "bytes")
    assert refused["detail"]["limit"] == 200 << 20


@pytest.mark.slow
def test_jupyter_server_starts_kernels_through_the_provisioner(stand: Any, environment: None) -> None:
    """As JupyterLab does it: the server's own kernel manager, by the kernelspec's name."""
    import asyncio

    from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager

    from enclave.server.kernelspecs import EnclaveKernelSpecManager

    async def session() -> str:
        manager = AsyncMappingKernelManager(kernel_spec_manager=EnclaveKernelSpecManager())
        kernel_id = await manager.start_kernel(kernel_name="enclave-python", env=dict(os.environ))
        client = manager.get_kernel(kernel_id).client()
        client.start_channels()
        await client.wait_for_ready(timeout=30)
        reply = await client.execute_interactive("6 * 7", timeout=20, output_hook=lambda _: None)
        await manager.restart_kernel(kernel_id)
        await client.wait_for_ready(timeout=30)
        await client.execute_interactive("7 * 8", timeout=20, output_hook=lambda _: None)
        client.stop_channels()
        await manager.shutdown_kernel(kernel_id)
        return str(reply["content"]["status"])

    assert asyncio.run(session()) == "ok"
    assert _ran(stand) == 2
    end = time.monotonic() + 30
    while stand.descendants() and time.monotonic() < end:
        time.sleep(0.05)
    assert stand.descendants() == []


def test_no_client_makes_more_wait_than_a_tap_can_hold(stand: Any, notebook: Any) -> None:
    notebook.begin("import time; time.sleep(3)")
    sent = [notebook.client.complete("x") for _ in range(1010)]
    refused = [notebook.client.get_shell_msg(timeout=20) for _ in range(10)]
    assert [one["parent_header"]["msg_id"] for one in refused] == sent[1000:]
    assert {one["content"]["ename"] for one in refused} == {"EnclaveRefused"}
    assert "too much waits" in refused[0]["content"]["evalue"]
    notebook.manager.shutdown_kernel(now=True)
    assert any(one["reason"] == "too_many_waiting" for one in stand.ledger.events(kind="cell.complete"))
