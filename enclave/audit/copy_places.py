"""From the settings to the couriers of this ledger."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from enclave.audit.copies import CopySettings
from enclave.audit.copy_objects import ObjectPlace
from enclave.audit.copy_syslog import SyslogPlace
from enclave.audit.courier import Courier, Couriers, Place, Rhythm, Tell
from enclave.audit.witness_client import WitnessPlace
from enclave.core.clock import Clock
from enclave.runtime.log import Log


def couriers(folder: Path, *, settings: CopySettings, tell: Tell, clock: Clock, log: Log) -> Couriers:
    """One courier for each place; ``folder`` has ``checkpoint`` and ``tile``. Raises ``InvalidError``."""
    found = [
        Courier(
            place,
            rhythm=Rhythm(refresh_s=settings.refresh_s, retry_s=settings.retry_s, every_s=every_s),
            tell=tell,
            clock=clock,
            log=log,
        )
        for place, every_s in _places(folder, settings, clock)
    ]
    return Couriers(found)


def _places(folder: Path, settings: CopySettings, clock: Clock) -> Iterator[tuple[Place, float]]:
    for witness in settings.witnesses:
        yield WitnessPlace(folder, settings=witness, timeout_s=settings.timeout_s), 0.0
    for receiver in settings.syslog:
        yield SyslogPlace(receiver, clock=clock, timeout_s=settings.timeout_s), 0.0
    for store in settings.objects:
        yield ObjectPlace(store), store.every_s
