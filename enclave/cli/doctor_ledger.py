"""What ``enclave doctor`` asks the ledger: does its promise hold against who owns this machine?"""

from __future__ import annotations

from enclave.audit.copies import CopySettings, off_host
from enclave.core.errors import UnavailableError
from enclave.runtime.clock import SystemClock
from enclave.runtime.home import Home
from enclave.wire.client import WireClient
from enclave.wire.messages.audit import ShowCopies


def off_host_witness(home: Home) -> tuple[bool, str]:
    """Whether an off-host witness acknowledged within the hour, by its own signature; and in words.

    Raises what asking raises, but for a ledger that does not run: that is an answer.
    """
    settings = home.settings(CopySettings, section="copies")
    client = WireClient(home.socket("auditd"))
    try:
        copies = client.call(ShowCopies(), timeout_s=5.0).copies
    except UnavailableError:
        return False, "no ledger runs here to ask"
    finally:
        client.close()
    verdict = off_host(copies, settings=settings, at=SystemClock().now())
    return verdict.ok, verdict.words
