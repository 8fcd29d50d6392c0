"""Starts ipykernel inside the sandbox: limits first, then a kernel that loses no output. Runs without `enclave`."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from typing import Any

_PR_SET_DUMPABLE = 4


def limit(words: list[str]) -> None:
    """Sets limits given as ``name=value``; hard ones, which code in here cannot raise again."""
    for word in words:
        name, _, value = word.partition("=")
        number = int(value)
        which = getattr(resource, f"RLIMIT_{name}")
        _, hard = resource.getrlimit(which)
        number = number if hard == resource.RLIM_INFINITY else min(number, hard)
        resource.setrlimit(which, (number, number))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def main() -> None:
    """``kernel_main.py CONNECTION_FILE NAME=VALUE...``"""
    connection_file, *limits = sys.argv[1:]
    limit(limits)
    os.setpgid(0, 0)  # an interrupt goes to this group, which must not hold pid 1
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
            context.setsockopt(23, 0)  # ZMQ_SNDHWM for what this context opens from here on
            super().init_iopub(context)

        def log_connection_info(self) -> None:
            """Says nothing: the connection is nobody's business in here."""

    sys.argv = ["ipykernel", "-f", connection_file]
    app = SandboxedKernelApp.instance()
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
