"""How far a long job is: a bar with rate and time left on a terminal, else JSON lines on stderr."""

from __future__ import annotations

import json
import sys
import time
from typing import Any, Self

from enclave.cli.output import words

_EVERY_S = 5.0
_REDRAW_S = 0.1


class Progress:
    """Shows the stages of one job, one after the other. ``tell`` takes counts of files, never a name."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._stage = ""
        self._began = self._told = time.monotonic()
        self._first = self._tenth = 0
        console = words()
        if console.is_terminal:
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=console,
                auto_refresh=False,  # by a thread, beside which a job may not fork
            )

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def reading(self, done: int, total: int) -> None:
        """How many headers are read."""
        self.tell("read", done, total)

    def looking(self, done: int, total: int) -> None:
        """How many images have been looked at for text."""
        self.tell("look", done, total)

    def cleaning(self, done: int, total: int) -> None:
        """How many files are clean or held back."""
        self.tell("clean", done, total)

    def tell(self, stage: str, done: int, total: int) -> None:
        """Shows that ``done`` of ``total`` files have passed ``stage``."""
        now = time.monotonic()
        if stage != self._stage:
            self._begin(stage, done, total, now)
        spent = now - self._began
        rate = (done - self._first) / spent if spent > 0.05 else 0.0
        if self._bar is not None:
            shown = f"{rate:.0f} files/s" if rate else ""
            self._bar.update(self._task, completed=done, total=total, rate=shown)
            if done == total or now - self._told > _REDRAW_S:
                self._told = now
                self._bar.refresh()
        elif done == total or done * 10 // max(1, total) > self._tenth or now - self._told > _EVERY_S:
            self._tenth, self._told = done * 10 // max(1, total), now
            left = round((total - done) / rate, 1) if rate else None
            line = {"stage": stage, "done": done, "total": total, "files_per_second": round(rate, 1), "eta_s": left}
            sys.stderr.write(json.dumps(line) + "\n")
            sys.stderr.flush()

    def _begin(self, stage: str, done: int, total: int, now: float) -> None:
        self._stage, self._began, self._told, self._tenth = stage, now, now, 0
        self._first = max(0, done - 1)  # a resumed job begins where it was
        if self._bar is not None:
            self._task = self._bar.add_task(stage, total=total, rate="")
