"""The process ``enclave-vaultd``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from enclave.cli.output import tell_error
from enclave.core.errors import EnclaveError
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
        home.settings(VaultSettings, section="vault")  # an unknown key is an error at the start
        daemon = VaultDaemon(home, log=log)
        daemon.start()
    except EnclaveError as error:
        sys.exit(tell_error(error))
    run_until_signal(log, close=daemon.close)


if __name__ == "__main__":
    main()
