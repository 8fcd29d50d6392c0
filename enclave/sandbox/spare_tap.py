"""One tap that is started before its kernel: a kernel then starts without waiting for an interpreter's imports.

A spare holds nothing and listens on nothing: it waits for the first line of its stdin, as every tap does, and becomes
the tap of one kernel.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Callable
from typing import Final

from enclave.core.errors import EnclaveError
from enclave.sandbox.sandboxed import end_process

PAUSE_S: Final = 2.0  # after a start, so that the next spare does not take the processor from the kernel


class SpareTap:
    """``start`` makes a tap's process. There is none before the first ``take``. Thread-safe."""

    def __init__(self, start: Callable[[], subprocess.Popen[bytes]], *, pause_s: float = PAUSE_S) -> None:
        self._start = start
        self._pause_s = pause_s
        self._spare: subprocess.Popen[bytes] | None = None
        self._timer: threading.Timer | None = None
        self._closed = False
        self._guard = threading.Lock()

    def take(self) -> subprocess.Popen[bytes]:
        """The spare, or a new one when there is none or it has ended; another follows after a pause."""
        with self._guard:
            spare, self._spare = self._spare, None
            if self._timer is not None:
                self._timer.cancel()
            if not self._closed:
                self._timer = threading.Timer(self._pause_s, self._refill)
                self._timer.daemon = True
                self._timer.start()
        if spare is not None and spare.poll() is None:
            return spare
        if spare is not None:
            end_process(spare)
        return self._start()

    def close(self) -> None:
        """Ends the spare and makes no other."""
        with self._guard:
            self._closed = True
            if self._timer is not None:
                self._timer.cancel()
            spare, self._spare = self._spare, None
        if spare is not None:
            end_process(spare)

    def _refill(self) -> None:
        with self._guard:
            if self._closed or self._spare is not None:
                return
            with contextlib.suppress(EnclaveError, OSError):  # without a spare the next kernel starts its tap itself
                self._spare = self._start()
