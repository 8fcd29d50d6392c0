"""The process ``enclave-watchd``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from enclave.audit.alerts.daemon import WatchDaemon
from enclave.cli.output import tell_error
from enclave.core.errors import EnclaveError
from enclave.hub.settings import HubSettings
from enclave.identity.hub import HubIdentity
from enclave.runtime.daemon import run_until_signal
from enclave.runtime.home import home_from
from enclave.runtime.log import Log


def main() -> None:
    """``enclave-watchd --home DIR``: looks and listens until a signal."""
    parser = argparse.ArgumentParser(prog="enclave-watchd", description="Watches the ledger and tells alerts.")
    parser.add_argument("--home", type=Path, default=None)
    options = parser.parse_args()
    log = Log("watchd")
    try:
        home = home_from(options.home)
        identity = HubIdentity(home.settings(HubSettings, section="hub").api_url)
        daemon = WatchDaemon(home, log=log, resolve=identity.resolve)
        daemon.start()
    except EnclaveError as error:
        sys.exit(tell_error(error))
    run_until_signal(log, close=daemon.close)


if __name__ == "__main__":
    main()
