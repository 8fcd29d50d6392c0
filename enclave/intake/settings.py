"""Settings of `enclave-intaked`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class IntakeSettings:
    """``[intake]``: ``recipes_dir`` holds recipes of this site, before those that are shipped; ``jobs`` processes,
    0 for one per processor but at most four. ``face_views_days``: how long heads from the front are kept, once judged,
    for the expert and the honest broker."""

    recipes_dir: str = ""
    jobs: int = 0
    face_views_days: int = 90
