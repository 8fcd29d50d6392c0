"""What stands in the record of a cell before it runs: its notebook, where a client says one, and its leases."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from enclave.core.errors import InvalidError, UnavailableError
from enclave.policy.model import Actor
from enclave.sandbox.tap.leases import KnownLeases, Leases
from enclave.server.kernelspecs import JUPYTER_DATA, EnclaveKernelSpecManager
from enclave.server.provisioner import notebook_name, notebook_path
from enclave.wire.client import WireClient
from enclave.wire.messages.audit import Query
from enclave.wire.messages.broker import LeaseInForce, LeasesReply
from enclave.wire.messages.launcher import StartKernel, StopKernel

Ask = Callable[[str], list[Any]]
ONE = LeaseInForce(lease="1" * 32, version="demo-ct@1")
TWO = LeaseInForce(lease="2" * 32, version="demo-mr@4")


@pytest.fixture
def ask(stand: Any) -> Iterator[Ask]:
    """An auditor's query."""
    stand.ledger.people["ada-token"] = Actor("ada", frozenset({"auditor"}))
    client = WireClient(stand.home.socket("auditd"), timeout_s=30)
    yield lambda sql: list(client.call(Query(token="ada-token", sql=sql, limit=100)).rows)
    client.close()


@pytest.fixture
def code(stand: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The code folder of a client that has this home; its environment knows the launcher."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ENCLAVE_LAUNCHER_SOCKET", str(stand.service_socket()))
    monkeypatch.setenv("ENCLAVE_PROJECT", "demo")
    monkeypatch.setenv("JUPYTER_PATH", str(JUPYTER_DATA))
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    folder = tmp_path / "code" / "demo"
    folder.mkdir(parents=True)
    return folder.parent


def _notebook(path: Path, *cells: str) -> Path:
    import nbformat

    document = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
        metadata={"kernelspec": {"name": "enclave-python", "display_name": "Python (enclave)", "language": "python"}},
    )
    nbformat.write(document, path)
    return path


def _wait(condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + 30
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


NOTEBOOKS = "SELECT notebook FROM cell_executions ORDER BY seq"


# ── the notebook ────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.row("S10.1")
def test_a_session_of_jupyterlab_states_its_notebook_and_a_restart_keeps_it(stand: Any, ask: Ask, code: Path) -> None:
    from jupyter_server.services.contents.filemanager import AsyncFileContentsManager
    from jupyter_server.services.sessions.sessionmanager import SessionManager

    from enclave.server.kernels import EnclaveKernelManager

    async def session() -> None:
        kernels = EnclaveKernelManager(kernel_spec_manager=EnclaveKernelSpecManager(), root_dir=str(code))
        contents = AsyncFileContentsManager(root_dir=str(code))
        sessions = SessionManager(kernel_manager=kernels, contents_manager=contents)
        made = await sessions.create_session(
            path="demo/look.ipynb", name="look.ipynb", type="notebook", kernel_name="enclave-python"
        )
        kernel = made["kernel"]["id"]
        client = kernels.get_kernel(kernel).client()
        client.start_channels()
        await client.wait_for_ready(timeout=30)
        await client.execute_interactive("1", timeout=20, output_hook=lambda _: None)
        await kernels.restart_kernel(kernel)
        await client.wait_for_ready(timeout=30)
        await client.execute_interactive("2", timeout=20, output_hook=lambda _: None)
        client.stop_channels()
        await kernels.shutdown_kernel(kernel)

    asyncio.run(session())
    assert ask(NOTEBOOKS) == [["demo/look.ipynb"], ["demo/look.ipynb"]]
    assert "look.ipynb" not in json.dumps(stand.ledger.records())  # a person chose it: encrypted beside the record


@pytest.mark.slow
def test_a_notebook_from_the_command_line_is_stated_by_its_name(
    stand: Any, ask: Ask, code: Path, tmp_path: Path
) -> None:
    from enclave.cli.kernel import execute

    source = _notebook(tmp_path / "fit.ipynb", "print(6 * 7)")
    execute(source, tmp_path / "out.ipynb", socket=stand.service_socket(), project="demo", timeout_s=30)
    assert ask(NOTEBOOKS) == [["fit.ipynb"]]


@pytest.mark.slow
@pytest.mark.parametrize("stated", ["", "demo/nightly.ipynb"])
def test_papermill_states_a_notebook_only_when_it_is_told_one(
    stand: Any, ask: Ask, code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stated: str
) -> None:
    import papermill

    if stated:
        monkeypatch.setenv("JPY_SESSION_NAME", str(code / stated))
    source = _notebook(tmp_path / "in.ipynb", "print(6 * 7)")
    papermill.execute_notebook(source, tmp_path / "out.ipynb", progress_bar=False)
    assert ask(NOTEBOOKS) == [[stated or None]]
    assert ask("SELECT code FROM cell_executions") == [["print(6 * 7)"]]


@pytest.mark.parametrize(
    "text", ["a\nb", "a\0b", "a\x1b[31mb", "\u202egnp.ipynb", b"caf\xe9.ipynb".decode("utf-8", "surrogateescape")]
)
def test_a_hostile_name_is_stated_without_what_makes_it_one(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("HOME", "/home/rosa")
    for name, path in (
        (notebook_name(f"/home/rosa/code/demo/{text}"), notebook_path(f"/home/rosa/code/demo/{text}", "")),
        (notebook_name(f"/elsewhere/{text}"), "x"),
    ):
        assert "\N{REPLACEMENT CHARACTER}" in name
        assert (name + path).isprintable()
        assert (name + path).encode("utf-8")


@pytest.mark.parametrize(
    ("stated", "name"),
    [
        ("", ""),
        ("/home/rosa/code/demo/look.ipynb", "demo/look.ipynb"),
        ("/home/rosa/code/../.ssh/id", "id"),
        ("/somewhere/private/look.ipynb", "look.ipynb"),
        ("0a7c-4a4c", "0a7c-4a4c"),
    ],
)
def test_only_a_path_below_the_code_folder_is_stated_whole(
    monkeypatch: pytest.MonkeyPatch, stated: str, name: str
) -> None:
    monkeypatch.setenv("HOME", "/home/rosa")
    assert notebook_name(stated) == name


def test_a_server_that_states_what_no_line_holds_is_refused(stand: Any) -> None:
    client = WireClient(stand.service_socket(), timeout_s=30)
    for text in ("a\nb", "a\0b", "\x1b[31m", "\u2028"):
        with pytest.raises(InvalidError):
            client.call(StartKernel(project="demo", notebook=text))
    client.close()
    assert not stand.ledger.events(kind="kernel.start")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["\u202e" + "gnp" * 9000 + ".ipynb", "x" * 9000, "demo/" + "y" * 5000 + "/z.ipynb"])
def test_a_server_that_states_an_endless_name_gets_it_cut(stand: Any, ask: Ask, tmp_path: Path, name: str) -> None:
    from jupyter_client.blocking.client import BlockingKernelClient

    own = WireClient(stand.service_socket(), timeout_s=30)
    started = own.call(StartKernel(project="demo", path=name, notebook=name, session=name))
    client = BlockingKernelClient()
    client.load_connection_info(started.connection)
    client.start_channels()
    client.wait_for_ready(timeout=30)
    client.execute_interactive("1", timeout=20, output_hook=lambda _: None)
    client.stop_channels()
    own.call(StopKernel(kernel=started.kernel))
    own.close()
    ((found,),) = ask(NOTEBOOKS)
    assert found.startswith("…")
    assert found.endswith(name[-200:])
    assert len(found) == 300
    (intent,) = stand.ledger.events(kind="cell.execute", outcome="intent")
    assert len(intent["session"]) == 300


# ── the leases ──────────────────────────────────────────────────────────────


def _reply(*leases: LeaseInForce, change: int) -> LeasesReply:
    return LeasesReply(leases=leases, count=len(leases), change=change)


def _held(event: dict[str, Any]) -> list[str]:
    assert event["detail"]["leases_total"] == len(event["detail"]["leases"])
    return [one["version"] for one in event["detail"]["leases"]]


@pytest.mark.row("S10.1")
def test_the_leases_in_force_stand_in_the_record_before_the_cell_runs(stand: Any, notebook: Any, ask: Ask) -> None:
    notebook.run("1")
    stand.far.pages.hold(_reply(ONE, change=1))  # as if a cell had opened it, and the end were not yet known
    notebook.run("2")
    stand.far.pages.hold(_reply(ONE, TWO, change=2))
    notebook.run("3")
    notebook.run("4")
    _wait(lambda: len(stand.ledger.events(kind="cell.execute", outcome="ok")) == 4)
    intents = stand.ledger.events(kind="cell.execute", outcome="intent")
    assert [_held(one) for one in intents] == [[], [], ["demo-ct@1"], ["demo-ct@1", "demo-mr@4"]]
    corrected = stand.ledger.events(kind="cell.leases")
    assert [(one["cell"], _held(one)) for one in corrected] == [
        (intents[1]["cell"], ["demo-ct@1"]),
        (intents[2]["cell"], ["demo-ct@1", "demo-mr@4"]),
    ]
    order = [(one["kind"], one["cell"]) for one in stand.ledger.events() if one["kind"].startswith("cell.")]
    for one in corrected:  # after the intent and before the end
        of_cell = [kind for kind, cell in order if cell == one["cell"]]
        assert of_cell == ["cell.execute", "cell.leases", "cell.execute"]
    told = [json.loads(leases) for (leases,) in ask("SELECT leases FROM cell_executions ORDER BY seq")]
    versions = [[one["version"] for one in leases] for leases in told]
    assert versions == [[], ["demo-ct@1"], *[["demo-ct@1", "demo-mr@4"]] * 2]


def test_a_restarted_kernel_begins_without_a_lease(stand: Any, notebook: Any) -> None:
    stand.far.pages.hold(_reply(ONE, change=1))
    notebook.run("1")
    notebook.run("2")
    stand.far.pages.hold(_reply(change=0))
    notebook.manager.restart_kernel(now=True)
    notebook.client.wait_for_ready(timeout=30)
    notebook.run("3")
    intents = stand.ledger.events(kind="cell.execute", outcome="intent")
    assert [_held(one) for one in intents] == [[], ["demo-ct@1"], []]
    assert len(stand.ledger.events(kind="cell.leases")) == 1


def test_a_cell_whose_leases_cannot_be_recorded_does_not_run(
    stand: Any, notebook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook.run("1")
    stand.far.pages.hold(_reply(ONE, change=1))
    real = stand.ledger.daemon.ledger._ticket

    def ticket(entry: Any, mark: bytes) -> Any:
        if b'"cell.leases"' in entry.data:
            raise UnavailableError("ledger: wanted room, got none", code="ledger_unavailable")
        return real(entry, mark)

    monkeypatch.setattr(stand.ledger.daemon.ledger, "_ticket", ticket)
    reply, text = notebook.run("print('ran')")
    assert reply["status"] == "error"
    assert "ran\n" not in text
    (refused,) = _wait(lambda: stand.ledger.events(kind="cell.execute", outcome="refused"))
    assert refused["cell"] == stand.ledger.events(kind="cell.execute", outcome="intent")[-1]["cell"]


def test_an_older_answer_of_the_broker_changes_nothing() -> None:
    known = KnownLeases()
    known.hear(_reply(ONE, change=5))
    known.hear_late(_reply(change=4), turn=known.turn)
    assert known.standing() == (5, Leases(((ONE.lease, ONE.version),), 1))
    known.hear_late(_reply(ONE, TWO, change=6), turn=known.turn)
    assert known.standing()[1].total == 2
    earlier = known.turn
    known.forget()
    assert known.standing() == (-1, Leases())
    known.hear_late(_reply(ONE, change=7), turn=earlier)  # of the kernel before
    assert known.standing() == (-1, Leases())


def test_the_record_of_a_correction_is_the_same_for_the_same_and_another_for_another() -> None:
    one, two = Leases((("a", "b@1"),), 1), Leases((("a", "b@2"),), 1)
    assert one.event_id("c") == Leases((("a", "b@1"),), 1).event_id("c")
    assert len({one.event_id("c"), two.event_id("c"), one.event_id("d")}) == 3
    assert os.fsencode(one.event_id("c")).isalnum()
