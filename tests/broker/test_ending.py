"""A kernel whose leases ended is ended, however long its launcher does not do it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from enclave.broker import ending
from enclave.runtime.log import Log
from enclave.wire.messages.launcher import EndKernel
from enclave.wire.messages.schema import Done
from enclave.wire.peer import WireServer


def test_a_launcher_that_fails_for_long_is_asked_until_the_kernel_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "PAUSE_S", 0.001)
    monkeypatch.setattr(ending, "LONG_PAUSE_S", 0.001)
    asked, done = [], threading.Event()

    def end(message: EndKernel, _: Any) -> Done:
        asked.append(message.reason)
        if len(asked) <= 2 * ending.TRIES:
            raise RuntimeError("a fault of the launcher")
        done.set()
        return Done()

    server = WireServer(tmp_path / "launcherd.sock", {EndKernel: end}, log=Log("far"), allowed_uids=None)
    server.start()
    ender = ending.KernelEnder(tmp_path / "launcherd.sock", log=Log("broker"))
    ender.end("0" * 32, "grant_revoked")
    assert done.wait(10)
    ender.close()
    server.close()
