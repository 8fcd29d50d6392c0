"""Which data a kernel may read when a cell begins, as the broker says it and the cell's record holds it.

A record is written while the broker is asked, so it states the leases of the broker's last answer. When the answer of
now is another one, which takes data that were opened a moment before, a second record says so before the cell runs.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from typing import Any

from enclave.core.canonical import canonical_bytes
from enclave.wire.messages.broker import LeasesReply


@dataclass(frozen=True, slots=True)
class Leases:
    """``named`` pairs lease and version (NAME@V); ``total`` also counts those beyond what is named."""

    named: tuple[tuple[str, str], ...] = ()
    total: int = 0

    def detail(self) -> dict[str, Any]:
        """As an event holds them."""
        rows = [{"lease": lease, "version": version} for lease, version in self.named]
        return {"leases": rows, "leases_total": self.total}

    def event_id(self, cell: str) -> str:
        """The id of the record that says so of ``cell``: the same for the same, so that asking twice writes once."""
        return hashlib.sha256(canonical_bytes([cell, self.detail()])).hexdigest()[:32]


def leases_in(reply: LeasesReply) -> Leases:
    """What the broker said."""
    return Leases(tuple((one.lease, one.version) for one in reply.leases), reply.count)


class KnownLeases:
    """What the broker said last. Thread-safe."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._change, self._leases = -1, Leases()

    def now(self) -> Leases:
        """The leases as far as they are known."""
        with self._guard:
            return self._leases

    def hear(self, reply: LeasesReply, *, late: bool = False) -> Leases:
        """Takes an answer in and returns its leases; a ``late`` one may be older than what is known."""
        found = leases_in(reply)
        with self._guard:
            if not late or reply.change > self._change:
                self._change, self._leases = reply.change, found
        return found

    def forget(self) -> None:
        """Another kernel begins behind the same tap, with nothing open."""
        with self._guard:
            self._change, self._leases = -1, Leases()
