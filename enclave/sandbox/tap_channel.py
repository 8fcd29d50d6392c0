"""The launcher's line to one tap: orders on its stdin, requests and acknowledgements on its stdout."""

from __future__ import annotations

import itertools
import json
import subprocess
import threading
from collections.abc import Callable
from typing import Any

from enclave.core.canonical import parse_json
from enclave.core.errors import EnclaveError
from enclave.runtime.log import Log
from enclave.sandbox.sandboxed import end_process

ACK_S = 0.5
_MAX_LINE = 4096


class TapChannel:
    """One tap process. ``on_request`` gets each of its lines but acknowledgements, in a thread of this channel."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        *,
        on_request: Callable[[TapChannel, dict[str, Any]], None],
        log: Log,
    ) -> None:
        self._process = process
        self._on_request = on_request
        self._log = log
        self._writing = threading.Lock()
        self._numbers = itertools.count(1)
        self._acked = 0
        self._heard = threading.Condition()
        threading.Thread(target=self._listen, name="tap", daemon=True).start()

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._process.poll()

    def order(self, order: dict[str, Any]) -> bool:
        """Sends one line; says whether the tap still listens."""
        stdin = self._process.stdin
        with self._writing:
            try:
                if stdin is None:
                    return False
                stdin.write(json.dumps(order).encode() + b"\n")
                stdin.flush()
            except (OSError, ValueError):
                return False
        return True

    def order_and_wait(self, order: dict[str, Any], *, wait_s: float = ACK_S) -> bool:
        """The same, and waits until the tap has done it; says whether it has."""
        number = next(self._numbers)
        if not self.order({**order, "ack": number}):
            return False
        with self._heard:
            return self._heard.wait_for(lambda: self._acked >= number, wait_s)

    def close(self) -> None:
        """Ends the tap."""
        end_process(self._process)

    def _listen(self) -> None:
        stdout = self._process.stdout
        while stdout is not None and (line := stdout.readline(_MAX_LINE)):
            try:
                self._take(parse_json(line))
            except EnclaveError as error:
                self._log.warning("request of a tap refused", code=error.code)
            except Exception as error:  # noqa: BLE001 - one line must not end the channel
                self._log.error("request of a tap failed", error)

    def _take(self, line: dict[str, Any]) -> None:
        if "ack" in line:
            with self._heard:
                self._acked = int(line["ack"])
                self._heard.notify_all()
        else:
            self._on_request(self, line)
