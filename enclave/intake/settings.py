"""Settings of `enclave-intaked`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class IntakeSettings:
    """``[intake]``: ``recipes_dir`` holds recipes of this site, before those that are shipped; ``jobs`` processes."""

    recipes_dir: str = ""
    jobs: int = 1
