"""Who may ask the query store at the same time: several, but few of one person; or one alone."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from enclave.core.errors import UnavailableError

AT_ONCE = 6
OF_ONE_PERSON = 2


@dataclass(slots=True, eq=False)
class Turn:
    """One query under way. ``beside``: another one ran at some time of it."""

    person: str
    beside: bool = False


class Turns:
    """Thread-safe; whoever waits to be alone comes before those who come later."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._running: list[Turn] = []
        self._people: Counter[str] = Counter()
        self._alone = 0  # those that are alone or wait for it

    @contextlib.contextmanager
    def shared(self, person: str, *, timeout_s: float) -> Iterator[Turn]:
        """A turn beside others; raises ``UnavailableError`` when none comes in time."""
        turn = Turn(person)
        end = time.monotonic() + timeout_s
        with self._change:
            while self._alone or len(self._running) >= AT_ONCE or self._people[person] >= OF_ONE_PERSON:
                if not self._change.wait(end - time.monotonic()) and time.monotonic() >= end:
                    words = "audit query: wanted a turn, others still run; wait for them or ask for less at once"
                    raise UnavailableError(words, code="query_busy")
            for other in self._running:
                other.beside = turn.beside = True
            self._running.append(turn)
            self._people[person] += 1
        try:
            yield turn
        finally:
            with self._change:
                self._running.remove(turn)
                self._people[person] -= 1
                self._change.notify_all()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """A turn with nobody beside; waits as long as the others' limits let them run."""
        me = Turn("")
        with self._change:
            self._alone += 1
            while self._running:
                self._change.wait()
            self._running.append(me)
        try:
            yield
        finally:
            with self._change:
                self._running.remove(me)
                self._alone -= 1
                self._change.notify_all()
