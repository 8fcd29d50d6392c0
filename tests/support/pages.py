"""Both ends of the pages between tap, broker and airlock, for tests that stand for one of them."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

from enclave.wire.client import WireClient
from enclave.wire.messages.broker import LeasesReply, TakePage
from enclave.wire.messages.schema import Done
from enclave.wire.page import ChangePage, ChangeView, ExecutionPage, ExecutionView
from enclave.wire.peer import Reply


def hand_over(socket: Path, message: Any, page: ExecutionPage) -> tuple[Any, ChangeView | None]:
    """As a tap does: gives ``page`` to broker or airlock; the answer, and the broker's own page."""
    client, descriptor = WireClient(socket), page.descriptor()
    try:
        reply, found = client.call_with_descriptors(message, descriptors=[descriptor], max_descriptors=1)
        view = ChangeView(found[0], kernel=message.kernel) if isinstance(message, TakePage) else None
        for one in found:
            os.close(one)
    finally:
        os.close(descriptor)
        client.close()
    return reply, view


class Holder:
    """Broker and airlock as far as they take pages. ``hold`` changes which leases a kernel has."""

    def __init__(self) -> None:
        self.leases = LeasesReply(leases=())
        self.taken: list[tuple[str, str]] = []  # who took a page for which kernel
        self._views: dict[str, ExecutionView] = {}
        self._told: dict[str, ChangePage] = {}
        self._guard = threading.Lock()

    def take(self, message: Any, call: Any) -> Reply:
        """As the broker."""
        with self._guard:
            self.taken.append(("broker", message.kernel))
            self._views[message.kernel] = ExecutionView(call.only_descriptor(), kernel=message.kernel)
            told = self._told.setdefault(message.kernel, ChangePage(message.kernel))
            told.tell(self.leases.change)
            return Reply(self.leases, (told.descriptor(),))

    def take_submit(self, message: Any, call: Any) -> Done:
        """As the airlock."""
        ExecutionView(call.only_descriptor(), kernel=message.kernel)
        with self._guard:
            self.taken.append(("airlock", message.kernel))
        return Done()

    def hold(self, leases: LeasesReply) -> None:
        """From now on these are in force, of every kernel."""
        with self._guard:
            self.leases = leases
            for told in self._told.values():
                told.tell(leases.change)

    def running(self, kernel: str) -> str | None:
        """What the kernel's tap says runs."""
        return self._views[kernel].running()
