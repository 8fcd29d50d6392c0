"""Settings of `enclave-vaultd`."""

from __future__ import annotations

from dataclasses import dataclass

from enclave.core.errors import InvalidError

MAX_SUBJECTS = 50
MAX_OPEN_HOURS = 24
MAX_SHOWS = 10


@dataclass(frozen=True, slots=True)
class VaultSettings:
    """``[vault]``: how long break-glass is open after the second approval, how often it shows, how long it may wait.

    The bounds are part of the product: a setting can make break-glass stricter, not endless.
    """

    open_hours: float = 4.0
    shows: int = 3
    wait_days: float = 7.0

    def __post_init__(self) -> None:
        if not 0 < self.open_hours <= MAX_OPEN_HOURS:
            raise InvalidError(f"[vault] open_hours: wanted more than 0 and at most {MAX_OPEN_HOURS}, got another")
        if not 1 <= self.shows <= MAX_SHOWS:
            raise InvalidError(f"[vault] shows: wanted 1 to {MAX_SHOWS}, got another number")
        if not 0 < self.wait_days <= 30:
            raise InvalidError("[vault] wait_days: wanted more than 0 and at most 30, got another number")
