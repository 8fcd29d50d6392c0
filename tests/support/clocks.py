"""A clock that tests set."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class ShiftedClock:
    """The machine's clock, ``shift_s`` seconds ahead (or behind, when negative)."""

    def __init__(self) -> None:
        self.shift_s = 0.0

    def now(self) -> datetime:
        """The shifted time, aware, UTC."""
        return datetime.now(UTC) + timedelta(seconds=self.shift_s)
