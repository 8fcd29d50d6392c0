"""What the processes of all daemons do alike: read ``--home``, listen, end on a signal, say what kept them from it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from enclave.cli.output import tell_error
from enclave.core.errors import EnclaveError
from enclave.policy.model import Actor
from enclave.runtime.daemon import run_until_signal
from enclave.runtime.home import Home, home_from
from enclave.runtime.log import Log

if TYPE_CHECKING:
    from enclave.identity.hub import HubIdentity


class Daemon(Protocol):
    """Listens after ``start``, not any more after ``close``."""

    def start(self) -> None:
        """Returns when it listens; raises an ``EnclaveError`` when it cannot."""
        ...

    def close(self) -> None:
        """Ends what ``start`` began."""
        ...


def run_daemon(name: str, *, what: str, make: Callable[[Home, Log], Daemon]) -> None:
    """The process ``enclave-NAME``: runs what ``make`` gives until SIGTERM or SIGINT.

    A fault at the start is one message on stderr and the exit code of its family.
    """
    parser = argparse.ArgumentParser(prog=f"enclave-{name}", description=what)
    parser.add_argument(
        "--home", type=Path, default=None, metavar="DIR", help="enclave home (ENCLAVE_HOME, ./.enclave)"
    )
    options = parser.parse_args()
    log = Log(name)
    try:
        daemon = make(home_from(options.home), log)
        daemon.start()
    except EnclaveError as error:
        sys.exit(tell_error(error))
    run_until_signal(log, close=daemon.close)


def hub_identity(home: Home) -> HubIdentity:
    """The Hub of this home, which says whose a token is."""
    from enclave.hub.settings import HubSettings
    from enclave.identity.hub import HubIdentity

    return HubIdentity(home.settings(HubSettings, section="hub").api_url)


def hub_resolver(home: Home) -> Callable[[str], Actor]:
    """Turns a person's token into who the Hub of this home says it is."""
    return hub_identity(home).resolve
