"""What can be set for the console; an empty section works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleSettings:
    """``[console]``."""

    session_check_s: int = 30  # how long the Hub's word about a session is kept
    daemon_timeout_s: float = 90.0
