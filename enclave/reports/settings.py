"""The table ``[reports]`` of the settings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReportSettings:
    """What `enclave-reportd` reads.

    ``notebooks_folder`` empty: ``notebooks/reports`` beside the package. A run that takes longer than
    ``time_limit_s`` is ended, one that could not start is tried again every ``retry_s``, ``attempts_limit`` times.
    """

    notebooks_folder: str = ""
    time_limit_s: float = 600.0
    retry_s: float = 10.0
    attempts_limit: int = 30
    page_limit_bytes: int = 64 * 1024 * 1024
