"""``[registry]``: what this process may be told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """``allow_demo_keys``: whether an expert key marked ``demo`` counts (the demo's own settings say true)."""

    allow_demo_keys: bool = False
    engagement_days: int = 30
