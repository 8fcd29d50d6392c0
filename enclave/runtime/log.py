"""Structured log lines on stderr: an event name and ids, never a value from the data."""

from __future__ import annotations

import json
import sys
import threading
from datetime import UTC, datetime

_lock = threading.Lock()
LogValue = str | int | float | bool | None


class Log:
    """One process's log. ``event`` is a fixed phrase; what varies goes into named fields."""

    def __init__(self, process: str) -> None:
        self._process = process

    def info(self, event: str, **fields: LogValue) -> None:
        """Something an operator may want to follow."""
        self._write("info", event, fields)

    def warning(self, event: str, **fields: LogValue) -> None:
        """Something an operator should look at."""
        self._write("warning", event, fields)

    def error(self, event: str, error: BaseException | None = None, **fields: LogValue) -> None:
        """A failure. Of ``error`` only its class and place are written: its text may hold data."""
        if error is not None:
            fields["error"] = type(error).__name__
            trace = error.__traceback__
            while trace is not None and trace.tb_next is not None:
                trace = trace.tb_next
            if trace is not None:
                fields["at"] = f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}"
        self._write("error", event, fields)

    def _write(self, level: str, event: str, fields: dict[str, LogValue]) -> None:
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "level": level,
            "process": self._process,
            "event": event,
            **fields,
        }
        text = json.dumps(line, ensure_ascii=False, default=lambda _: "?")
        with _lock:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()
