"""The table ``[broker]``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """What may be set for ``enclave-brokerd``.

    ``kek_uri`` '' means ``keys/kek.key`` of the home. ``cache_mib``: how much decrypted memory is kept warm for
    other kernels. ``recheck_s``: how often the facts of open leases are asked again; revocation ends a kernel within
    this time and a few round trips. ``intermediates`` and ``intermediates_mb``: how many results, and how many
    megabytes of them, kernels may keep in one project; ``intermediate_days``: how long at most. ``kek_pub_uri``: the
    public half of ``kek_uri``; '' means ``keys/kek.pub``.
    """

    kek_uri: str = ""
    cache_mib: int = 1024
    recheck_s: float = 2.0
    intermediates: int = 200
    intermediates_mb: int = 10_240
    intermediate_days: int = 90
    kek_pub_uri: str = ""
