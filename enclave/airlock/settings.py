"""What can be set for the airlock; an empty section works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class AirlockSettings:
    """``[airlock]``: limits of one request and of the machine check."""

    max_files: int = 20
    max_file_bytes: int = 50 << 20
    max_request_bytes: int = 200 << 20
    max_open_requests: int = 50  # per author
    delivery_days: int = 30  # how long a released package waits for its author
    check_timeout_s: float = 60.0
    submit_wait_s: float = 8.0  # how long a submission waits for its check before it answers "checking"
    retry_s: float = 2.0
