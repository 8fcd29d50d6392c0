"""From a page to a daemon and back: the person's own token goes along, the daemon decides."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import Any

from enclave.core.errors import UnavailableError
from enclave.runtime.home import Home
from enclave.wire.client import WireClient, call_once
from enclave.wire.messages.schema import request_type

_MAX_SENT = 1 << 30  # bytes of a file that a daemon hands over


@dataclass(frozen=True, slots=True)
class Gateway:
    """Asks the daemons of one home. Each question has a connection of its own, off the event loop."""

    home: Home
    timeout_s: float = 90.0

    async def ask(self, daemon: str, message: Any) -> Any:
        """The daemon's answer; raises the error that it raised."""
        return await asyncio.to_thread(self.ask_here, daemon, message)

    async def ask_for_file(self, daemon: str, message: Any) -> tuple[Any, bytes]:
        """The answer and the bytes of the one descriptor beside it."""
        return await asyncio.to_thread(self._ask_for_file, daemon, message)

    def ask_here(self, daemon: str, message: Any) -> Any:
        """The same in the caller's own thread, for what asks more than once."""
        return call_once(self.home.socket(daemon), message, timeout_s=self.timeout_s)

    def _ask_for_file(self, daemon: str, message: Any) -> tuple[Any, bytes]:
        client = WireClient(self.home.socket(daemon), timeout_s=self.timeout_s)
        try:
            answer, descriptors = client.call_with_descriptors(message, max_descriptors=1)
        finally:
            client.close()
        if not descriptors:
            name = request_type(type(message)).name
            raise UnavailableError(f"{daemon}: wanted a file with the answer to {name}, got none; try again")
        with os.fdopen(descriptors[0], "rb") as file:
            file.seek(0)  # whoever wrote it may have left its place at the end
            return answer, file.read(_MAX_SENT)
