"""No receipt, no cell: and everything works again when the ledger is back."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

BUSY = 3.0  # seconds that a busy machine may take on top of the ledger's two for all else


@contextmanager
def _hung(path: Path) -> Iterator[None]:
    """A ledger that takes connections and never answers."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o666)
    listener.listen(16)
    kept: list[socket.socket] = []

    def take() -> None:
        while True:
            try:
                kept.append(listener.accept()[0])
            except OSError:
                return

    threading.Thread(target=take, daemon=True).start()
    yield
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for one in kept:
        one.close()
    path.unlink(missing_ok=True)


def _refused_within_two_seconds(notebook: Any) -> None:
    for _ in range(2):
        started = time.monotonic()
        reply, text = notebook.run("open('/tmp/ran', 'w')")
        assert time.monotonic() - started < 2.0 + BUSY
        assert reply["ename"] == "EnclaveRefused"
        assert text.startswith("EnclaveRefused: This was not run: ledger")


@pytest.mark.parametrize("how", ["stopped", "hung"])
def test_a_cell_is_refused_without_a_receipt_and_works_again_afterwards(stand: Any, notebook: Any, how: str) -> None:
    assert notebook.run("mark = 7")[0]["status"] == "ok"
    stand.ledger.stop()
    if how == "hung":
        with _hung(stand.home.socket("auditd")):
            _refused_within_two_seconds(notebook)
    else:
        _refused_within_two_seconds(notebook)
    stand.ledger.start()
    reply, text = notebook.run("import os; print(mark, os.path.exists('/tmp/ran'))")
    assert reply["status"] == "ok"
    assert text == "7 False\n"
    end = time.monotonic() + 30
    while len(stand.ledger.events(kind="cell.execute", outcome="refused")) < 2 and time.monotonic() < end:
        time.sleep(0.1)
    refused = stand.ledger.events(kind="cell.execute", outcome="refused")
    assert [event["reason"] for event in refused] == ["ledger_unavailable"] * 2


def test_an_interrupt_passes_while_the_ledger_hangs(stand: Any, notebook: Any) -> None:
    client = notebook.client
    sent = notebook.begin("import time\nwhile True: time.sleep(0.01)")
    stand.ledger.stop()
    with _hung(stand.home.socket("auditd")):
        client.complete("ti")  # waits in the journal
        notebook.manager.interrupt_kernel()
        assert notebook.reply(sent)["ename"] == "KeyboardInterrupt"
    stand.ledger.start()


def test_nothing_is_attributed_without_the_broker(stand: Any, notebook: Any) -> None:
    stand.broker.close()
    reply, text = notebook.run("print('ran')")
    assert reply["ename"] == "EnclaveRefused"
    assert "ran\n" not in text


def test_a_kernel_does_not_start_without_the_ledger(stand: Any) -> None:
    from enclave.core.errors import UnavailableError
    from enclave.wire.client import WireClient
    from enclave.wire.messages import launcher

    path = stand.service_socket()
    stand.ledger.stop()
    with pytest.raises(UnavailableError):
        WireClient(path).call(launcher.StartKernel(project="demo"), timeout_s=10)
    assert stand.client.call(launcher.ListKernels()).kernels == ()
    stand.ledger.start()
