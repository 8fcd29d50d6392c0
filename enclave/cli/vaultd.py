"""The process ``enclave-vaultd``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from enclave.cli.output import tell_error
from enclave.core.errors import EnclaveError
from enclave.hub.settings import HubSettings
from enclave.identity.hub import HubIdentity
from enclave.reidentification.daemon import VaultDaemon
from enclave.reidentification.settings import VaultSettings
from enclave.runtime.daemon import run_until_signal
from enclave.runtime.home import home_from
from enclave.runtime.log import Log


def main() -> None:
    """``enclave-vaultd --home DIR``: listens until a signal."""
    parser = argparse.ArgumentParser(prog="enclave-vaultd", description="Keeps the key back to patients.")
    parser.add_argument("--home", type=Path, default=None)
    options = parser.parse_args()
    log = Log("vaultd")
    try:
        home = home_from(options.home)
        identity = HubIdentity(home.settings(HubSettings, section="hub").api_url)
        settings = home.settings(VaultSettings, section="vault")
        daemon = VaultDaemon(home, log=log, resolve=identity.resolve, settings=settings)
        daemon.start()
    except EnclaveError as error:
        sys.exit(tell_error(error))
    run_until_signal(log, close=daemon.close)


if __name__ == "__main__":
    main()
