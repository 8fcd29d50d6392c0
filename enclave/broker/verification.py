"""Verification of sealed versions without a running broker: after a restore, or while the enclave is down.

Only whoever may read the broker's key can do this. Nothing of the data comes out, only what is damaged.
"""

from __future__ import annotations

from collections.abc import Callable

from enclave.broker.settings import BrokerSettings
from enclave.core.ids import VersionName
from enclave.keys.uri import file_uri
from enclave.runtime.home import Home
from enclave.sealed.reader import BadObject, open_unwrapper, verify_version
from enclave.sealed.store import SealedStore


def verify_at_rest(home: Home, name: VersionName, *, progress: Callable[[int], None] | None = None) -> list[BadObject]:
    """What of a version is not as it was sealed; raises ``NotFoundError``, ``DeniedError`` without the key."""
    settings = home.settings(BrokerSettings, section="broker")
    unwrapper = open_unwrapper(settings.kek_uri or file_uri(home.key_file("kek")))
    return verify_version(SealedStore(home.state("sealed")), name, unwrapper=unwrapper, progress=progress)
