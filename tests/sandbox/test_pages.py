"""The tap's page reaches broker and airlock by itself, once, and again when one of them has been away."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from enclave.broker.daemon import BrokerDaemon
from enclave.keys.files import new_x25519
from enclave.runtime.log import Log
from enclave.wire.messages import airlock, broker
from enclave.wire.peer import WireServer

BOTH = [("brokerd", 1), pytest.param("airlockd", 2, marks=pytest.mark.slow)]


def _until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def _back(stand: Any, name: str) -> None:
    """Another process in the place of broker or airlock; it has no page."""
    far = stand.far
    handlers: dict[type[Any], Any] = {
        "brokerd": {broker.TakePage: far.pages.take, broker.Reads: far.reads_of},
        "airlockd": {airlock.TakeSubmitPage: far.pages.take_submit},
    }[name]
    server = WireServer(
        stand.home.socket(name), handlers, log=Log("far"), allowed_uids=None, mode=0o666, max_descriptors=1
    )
    server.start()
    stand.servers.append(server)


def test_no_cell_costs_a_message_to_broker_or_airlock(stand: Any, notebook: Any) -> None:
    notebook.run("1")
    before = sorted(stand.far.pages.taken)
    assert before == [("airlock", notebook.kernel), ("broker", notebook.kernel)]
    for _ in range(5):
        assert notebook.run("print(6 * 7)")[1] == "42\n"
    assert sorted(stand.far.pages.taken) == before


@pytest.mark.parametrize(("name", "number"), BOTH)
def test_who_was_away_gets_the_page_again_while_a_cell_runs(stand: Any, notebook: Any, name: str, number: int) -> None:
    sent = notebook.begin("import time\nwhile True: time.sleep(0.05)")
    cell = stand.far.pages.running(notebook.kernel)
    assert cell is not None
    stand.servers[number].close()
    stand.far.pages.taken.clear()
    _back(stand, name)
    _until(lambda: stand.far.pages.taken == [(name.removesuffix("d"), notebook.kernel)])
    assert stand.far.pages.running(notebook.kernel) == cell
    notebook.manager.interrupt_kernel()
    assert notebook.reply(sent)["ename"] == "KeyboardInterrupt"
    assert notebook.run("print('on')")[1] == "on\n"


@pytest.mark.parametrize(("name", "number"), BOTH)
def test_no_cell_runs_while_one_of_them_is_away(stand: Any, notebook: Any, name: str, number: int) -> None:
    notebook.run("mark = 1")
    stand.servers[number].close()
    reply, _ = notebook.run("mark = 2")
    assert reply["ename"] == "EnclaveRefused"
    assert name in reply["evalue"]
    assert stand.far.pages.running(notebook.kernel) is None
    _back(stand, name)
    assert notebook.run("print(mark)")[1] == "1\n"


def test_a_restarted_kernel_has_the_page_again_and_an_ended_one_leaves_nothing_on_it(stand: Any, notebook: Any) -> None:
    notebook.run("1")
    stand.far.pages.taken.clear()
    notebook.manager.restart_kernel(now=True)
    notebook.client.wait_for_ready(timeout=30)
    _until(lambda: {who for who, _ in stand.far.pages.taken} == {"broker", "airlock"})
    notebook.begin("import time\nwhile True: time.sleep(0.05)")
    kernel = notebook.kernel
    assert stand.far.pages.running(kernel) is not None
    notebook.manager.shutdown_kernel(now=True)
    _until(lambda: stand.far.pages.running(kernel) is None)


LOOK = """
from pathlib import Path
links = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
maps = Path("/proc/self/maps").read_text().splitlines()
print([one for one in (*links, *maps) if "enclave-page" in one], bool(links))
"""


def test_a_kernel_has_no_page_among_what_it_holds(notebook: Any) -> None:
    assert notebook.run(LOOK)[1] == "[] True\n"


@pytest.mark.skipif(os.getuid() != 0, reason="only root may look at what all processes hold; run the tests as root too")
def test_of_all_processes_of_a_kernel_its_tap_alone_has_the_page(stand: Any, notebook: Any) -> None:
    notebook.run("import subprocess; child = subprocess.Popen(['sleep', '60'])")
    holding, others = [], []
    for pid in stand.descendants():
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
        links = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
        has = "enclave-page" in Path(f"/proc/{pid}/maps").read_text() or any("enclave-page" in one for one in links)
        (holding if has else others).append(words)
    assert [b"enclave.cli.tap" in one for one in holding] == [True]
    assert any(b"sleep" in one for one in others)
    assert any(b"kernel_main" in one for one in others)


@pytest.fixture
def real_broker(stand: Any) -> Iterator[Callable[[], None]]:
    """The broker itself in place of its stand-in; a call puts another one in its place."""
    new_x25519(stand.home.key_file("kek"))
    running: list[BrokerDaemon] = []

    def start() -> None:
        for one in (*running, stand.broker):
            one.close()
        running[:] = [BrokerDaemon(stand.home, log=Log("brokerd"))]
        running[0].start()

    start()
    yield start
    running[0].close()


@pytest.mark.row("S10.1")
def test_the_broker_names_the_cell_that_the_tap_shows_also_when_it_was_started_anew_meanwhile(
    stand: Any, real_broker: Callable[[], None], notebook_on: Callable[..., Any]
) -> None:
    notebook = notebook_on(stand.service_socket())

    def listed(**match: Any) -> list[dict[str, Any]]:
        return [one for one in stand.ledger.events(kind="dataset.list", **match) if one["kernel"] == notebook.kernel]

    assert notebook.run("import enclave_kernel, time; print(len(enclave_kernel.datasets()))")[1] == "0\n"
    first = stand.ledger.events(kind="cell.execute", outcome="intent")[-1]["cell"]
    assert [one["cell"] for one in listed()] == [first]
    sent = notebook.begin(
        "while True:\n"
        "    try: enclave_kernel.datasets()\n"
        "    except enclave_kernel.EnclaveError: pass\n"
        "    time.sleep(0.05)"
    )
    second = stand.ledger.events(kind="cell.execute", outcome="intent")[-1]["cell"]
    _until(lambda: listed(cell=second))
    real_broker()
    before = len(listed(cell=second))
    _until(lambda: len(listed(cell=second)) > before)
    notebook.manager.interrupt_kernel()
    notebook.reply(sent)
    assert {one.get("cell") for one in listed(outcome="ok")} == {first, second}
    assert {one["reason"] for one in listed(outcome="refused")} <= {"execution_unknown"}
    notebook.close()
