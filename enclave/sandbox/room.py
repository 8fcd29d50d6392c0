"""How many kernels there may be, of one person and in all; those that begin at the same time count."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from enclave.core.errors import ConflictError
from enclave.sandbox.settings import LauncherSettings


class Room:
    """``people`` names whose kernels there are, one for each. Thread-safe."""

    def __init__(self, settings: LauncherSettings, *, people: Callable[[], list[str]]) -> None:
        self._most, self._most_of_one = settings.max_kernels, settings.max_kernels_per_person
        self._people = people
        self._beginning: list[str] = []
        self._guard = threading.Lock()

    @contextlib.contextmanager
    def place_for(self, person: str) -> Iterator[None]:
        """Holds a place while a kernel is made; raises ``ConflictError`` when there is none."""
        with self._guard:
            there = [*self._people(), *self._beginning]
            if len(there) >= self._most or there.count(person) >= self._most_of_one:
                raise ConflictError(
                    f"kernels: wanted fewer than {self._most_of_one} per person and {self._most} in all, got as many; "
                    "shut one down first",
                    code="too_many_kernels",
                )
            self._beginning.append(person)
        try:
            yield
        finally:
            with self._guard:
                self._beginning.remove(person)
