"""What every daemon does the same: say that it is ready, wait, end cleanly on a signal."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable

from enclave.runtime.log import Log


def run_until_signal(log: Log, *, close: Callable[[], None]) -> None:
    """Says *ready* (log and sd_notify(3)), waits for SIGTERM or SIGINT, then closes.

    Must be called from the main thread after everything listens.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    notify("READY=1")
    log.info("ready", pid=os.getpid())
    while not stop.wait(1.0):
        pass
    notify("STOPPING=1")
    close()
    log.info("stopped")


def notify(state: str) -> None:
    """Tells systemd, when there is one (sd_notify(3)); otherwise does nothing."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect("\0" + address[1:] if address.startswith("@") else address)
        sock.sendall(state.encode())
