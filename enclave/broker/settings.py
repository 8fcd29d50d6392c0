"""The table ``[broker]``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """What may be set for ``enclave-brokerd``.

    ``kek_uri`` '' means ``keys/kek.key`` of the home. ``cache_mib``: how much decrypted memory is kept warm for
    other kernels. ``recheck_s``: how often the facts of open leases are asked again; revocation ends a kernel within
    this time and a few round trips.
    """

    kek_uri: str = ""
    cache_mib: int = 1024
    recheck_s: float = 2.0
