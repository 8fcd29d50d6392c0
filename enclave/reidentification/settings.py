"""Settings of `enclave-vaultd`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class VaultSettings:
    """``[vault]``: nothing to choose yet."""
