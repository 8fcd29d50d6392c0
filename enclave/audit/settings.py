"""What can be set about the ledger."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """``[audit]``. A checkpoint is signed when this many events came or this much time passed since the last.

    ``quota_`` is what one person may write through one daemon: events per second after a burst, and a day's bytes.
    ``reserve_mib`` of the disk is kept for control events and refusals.
    ``watch_uids`` are the host uids, besides the ledger's own, under which `enclave-watchd` asks its questions.
    ``checkpoint_key_uri`` is where the key is that signs checkpoints, a file or a token (``pkcs11:``); '' means
    ``keys/audit-checkpoint.key`` of the home.
    """

    checkpoint_events: int = 256
    checkpoint_s: float = 1.0
    query_memory_mib: int = 512
    query_timeout_s: float = 20.0
    query_rows: int = 10_000
    quota_events_per_s: float = 500.0
    quota_burst: int = 5_000
    quota_mib_per_day: int = 2_048
    reserve_mib: int = 8
    watch_uids: tuple[int, ...] = ()
    checkpoint_key_uri: str = ""
