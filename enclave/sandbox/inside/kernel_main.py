"""Starts ipykernel inside the sandbox so that it loses no output. Runs without `enclave`."""

from __future__ import annotations

import os
import sys
from typing import Any

_ZMQ_SNDHWM = 23  # zmq.h; 0 = wait rather than drop


def app_class() -> Any:
    """The kernel's application; imported late, for the limits come first."""
    from ipykernel.kernelapp import IPKernelApp

    class SandboxedKernelApp(IPKernelApp):
        """Sockets that the tap's uid can open, and an iopub that waits instead of dropping."""

        def init_sockets(self) -> None:
            mask = os.umask(0)
            try:
                super().init_sockets()
            finally:
                os.umask(mask)

        def init_heartbeat(self) -> None:
            mask = os.umask(0)
            try:
                super().init_heartbeat()
            finally:
                os.umask(mask)

        def init_iopub(self, context: Any) -> None:
            context.setsockopt(_ZMQ_SNDHWM, 0)  # for what this context opens from here on
            super().init_iopub(context)

        def log_connection_info(self) -> None:
            """Says nothing: the connection is nobody's business in here."""

    return SandboxedKernelApp


def main() -> None:
    """``kernel_main.py CONNECTION_FILE``"""
    connection_file = sys.argv[1]
    os.setpgid(0, 0)  # an interrupt goes to this group, which must not hold pid 1
    sys.argv = ["ipykernel", "-f", connection_file]
    app = app_class().instance()
    app.initialize(
        [
            "-f",
            connection_file,
            "--IPKernelApp.parent_handle=0",
            "--HistoryManager.enabled=False",
            "--HistoryManager.hist_file=:memory:",
            "--InteractiveShellApp.exec_PYTHONSTARTUP=False",
        ]
    )
    app.start()


if __name__ == "__main__":
    main()
