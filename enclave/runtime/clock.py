"""The machine's clock behind the protocol of ``core.clock``."""

from __future__ import annotations

from datetime import UTC, datetime


class SystemClock:
    """Time as this machine has it."""

    def now(self) -> datetime:
        """The time now, aware, UTC."""
        return datetime.now(UTC)
