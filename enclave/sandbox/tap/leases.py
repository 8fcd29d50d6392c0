"""Which data a kernel may read when a cell begins, as the broker says it and the cell's record holds it.

A record states the leases of the broker's last answer. When the broker's page says that they have changed since, it is
asked, and a second record says what it answers before the cell runs.
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
    """What the broker said last. Thread-safe.

    ``turn`` grows with each answer to the tap's page, so that a late word of a broker or session of before is not taken
    for one of now: both count their changes from 0.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._change, self._leases, self._turn = -1, Leases(), 0

    def standing(self) -> tuple[int, Leases]:
        """The leases as far as they are known, and as of which change; -1: of none."""
        with self._guard:
            return self._change, self._leases

    @property
    def turn(self) -> int:
        """What a question must be asked in whose answer comes late."""
        return self._turn

    def hear(self, reply: LeasesReply) -> None:
        """Takes an answer to the tap's page in."""
        with self._guard:
            self._turn += 1
            self._change, self._leases = reply.change, leases_in(reply)

    def hear_late(self, reply: LeasesReply, *, turn: int) -> None:
        """Takes an answer in that may be older than what is known; of an earlier ``turn`` it changes nothing."""
        with self._guard:
            if turn == self._turn and reply.change > self._change:
                self._change, self._leases = reply.change, leases_in(reply)

    def forget(self) -> None:
        """Another kernel begins behind the same tap, with nothing open."""
        with self._guard:
            self._turn += 1
            self._change, self._leases = -1, Leases()
