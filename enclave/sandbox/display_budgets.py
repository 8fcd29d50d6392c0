"""The display budgets of everybody: one person's in one project, over all kernels and over restarts.

Decisions are in ``tap.amounts``; here they are made one after the other, and kept in a file.
"""

from __future__ import annotations

import contextlib
import json
import threading
from pathlib import Path
from typing import Any

from enclave.core.clock import Clock
from enclave.core.errors import IntegrityError, InvalidError
from enclave.runtime.durable import write_whole
from enclave.runtime.log import Log
from enclave.sandbox.tap.amounts import Amount, Answer, Usage, amount_from_json, amount_to_json
from enclave.sandbox.tap.policy import DisplayChange, DisplayPolicy, policy_for

SAVE_S = 2.0  # what a launcher that is killed forgets at most; its taps end with it


class DisplayBudgets:
    """Thread-safe. ``path`` is written a moment after a change and on ``close``."""

    def __init__(
        self, path: Path, *, default: DisplayPolicy, changes: dict[str, DisplayChange], clock: Clock, log: Log
    ) -> None:
        self._path = path
        self._default, self._changes = default, changes
        self._clock = clock
        self._log = log
        for project in changes:
            policy_for(project, default=default, changes=changes)
        policy_for("", default=default, changes={})
        self._usage = _load(path)
        self._guard = threading.Lock()
        self._changed = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="display-budgets", daemon=True)
        self._thread.start()

    def policy(self, project: str) -> DisplayPolicy:
        """What kernels of a project may show."""
        return policy_for(project, default=self._default, changes=self._changes)

    def left(self, person: str, project: str) -> dict[str, list[int]]:
        """What the person may still be shown in this hour and day."""
        limits = self.policy(project).windows
        at = self._clock.now()
        with self._guard:
            usage = self._of(person, project)
            return {window: amount_to_json(limit.minus(usage.used(window, at))) for window, limit in limits.items()}

    def draw(self, person: str, project: str, *, need: Amount, spare: Amount) -> Answer:
        """Takes it off the person's budgets, or says which one has not so much."""
        policy = self.policy(project)
        with self._guard:
            answer = self._of(person, project).draw(
                need,
                spare=spare,
                limits=policy.windows,
                warn_percent=policy.warn_percent,
                at=self._clock.now(),
            )
        self._changed.set()
        return answer

    def give_back(self, person: str, project: str, amount: Amount) -> None:
        """What was drawn and not shown."""
        with self._guard:
            self._of(person, project).give_back(amount, self._clock.now())
        self._changed.set()

    def refused(self, person: str, project: str) -> bool:
        """A cell went on after a budget was spent; says whether its kernel must be frozen now."""
        with self._guard:
            count = self._of(person, project).refuse(self._clock.now())
        self._changed.set()
        return count >= self.policy(project).freeze_after

    def close(self) -> None:
        """Writes what changed last."""
        self._closing.set()
        self._changed.set()
        self._thread.join(timeout=5)
        with contextlib.suppress(OSError):
            self._save()  # what changed while the last save was under way

    def _of(self, person: str, project: str) -> Usage:
        return self._usage.setdefault((person, project), Usage())

    def _work(self) -> None:
        while not self._closing.is_set():
            self._changed.wait()
            self._closing.wait(SAVE_S)
            self._changed.clear()
            try:
                self._save()
            except OSError as error:
                self._log.error("display budgets not saved", error)
                self._changed.set()  # tried again until the disk takes it

    def _save(self) -> None:
        with self._guard:
            for key in [key for key, usage in self._usage.items() if not usage.steps]:
                del self._usage[key]
            value = [
                [*key, [[start, amount_to_json(amount), count] for start, (amount, count) in usage.steps.items()]]
                for key, usage in self._usage.items()
            ]
        write_whole(self._path, json.dumps({"format": 1, "people": value}).encode())


def _load(path: Path) -> dict[tuple[str, str], Usage]:
    try:
        value: Any = json.loads(path.read_text("utf-8"))
        return {
            (str(person), str(project)): Usage(
                {int(start): (amount_from_json(amount), int(count)) for start, amount, count in steps}
            )
            for person, project, steps in value["people"]
        }
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, InvalidError):
        raise IntegrityError(
            f"{path.name}: wanted the display budgets that were used, got something else; "
            "put back the file from a backup, or remove it and tell the data steward"
        ) from None
