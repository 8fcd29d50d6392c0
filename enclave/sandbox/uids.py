"""Host uids of people's servers and of kernels: numbers above ``base_uid`` that no account has."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from enclave.core.errors import ConflictError
from enclave.sandbox.sandboxed import HostUser

_PEOPLE = 10_000
_KERNELS = 50_000


class Uids:
    """Gives out uids when root started the launcher; otherwise everything keeps the launcher's own uid.

    A person keeps a uid for good, for the code folder is owned by it; kernels get the next number each time.
    """

    def __init__(self, state: Path, *, base: int, drops: bool) -> None:
        self._file = state / "uids.json"
        self._base = base
        self._drops = drops
        self._next = 0
        self._guard = threading.Lock()

    def door(self) -> HostUser:
        """The uid of taps and gates."""
        return HostUser(self._base if self._drops else None)

    def person(self, name: str) -> HostUser:
        """The uid of this person's servers."""
        if not self._drops:
            return HostUser(None)
        with self._guard:
            known: dict[str, int] = json.loads(self._file.read_text("utf-8")) if self._file.exists() else {}
            if name not in known:
                if len(known) >= _PEOPLE - 1:
                    raise ConflictError(f"people: wanted fewer than {_PEOPLE}, got more; this home has no uid left")
                known[name] = len(known) + 1
                part = self._file.with_suffix(".part")
                part.write_text(json.dumps(known, sort_keys=True), "utf-8")
                part.replace(self._file)
            return HostUser(self._base + known[name])

    def kernel(self) -> HostUser:
        """The uid of one kernel or check."""
        if not self._drops:
            return HostUser(None)
        with self._guard:
            self._next = (self._next + 1) % _KERNELS
            return HostUser(self._base + _PEOPLE + self._next)
