"""A restarted kernel keeps its new sockets, whatever is still owed to its old ones."""

from __future__ import annotations

import time
from typing import Any

from enclave.wire.client import WireClient
from enclave.wire.messages.launcher import KillKernel, RestartKernel, StartKernel


def test_what_is_owed_to_a_killed_kernel_does_not_close_the_sockets_of_its_restart(stand: Any) -> None:
    client = WireClient(stand.service_socket(), timeout_s=30)
    first, second = (client.call(StartKernel(project="demo", path="", session="")).kernel for _ in range(2))
    assert stand.ledger.events(kind="kernel.start", outcome="intent", kernel=second)
    stand.ledger.stop()
    client.call(KillKernel(kernel=first))  # its end waits for the ledger, and what is owed to the second behind it
    client.call(KillKernel(kernel=second))
    stand.ledger.start()
    client.call(RestartKernel(kernel=second))

    end = time.monotonic() + 30
    while len(stand.ledger.events(kind="kernel.stop")) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    assert len(stand.ledger.events(kind="kernel.stop")) == 2
    assert f"lease:{second}" in stand.far.listeners
    assert f"submit:{second}" in stand.far.listeners
    assert f"lease:{first}" not in stand.far.listeners
    client.close()
