"""``enclave-brokerd``: settings in, the daemon running."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from enclave.broker.daemon import BrokerDaemon
from enclave.broker.settings import BrokerSettings
from enclave.core.errors import EnclaveError
from enclave.runtime.daemon import run_until_signal
from enclave.runtime.home import home_from
from enclave.runtime.log import Log


def main() -> None:
    """Runs until SIGTERM or SIGINT; a fault at start is one line on stderr and the exit code of its family."""
    parser = argparse.ArgumentParser(prog="enclave-brokerd", description="Decrypts dataset versions for leases.")
    parser.add_argument(
        "--home", type=Path, default=None, metavar="DIR", help="enclave home (ENCLAVE_HOME, ./.enclave)"
    )
    home = home_from(parser.parse_args().home)
    log = Log("brokerd")
    try:
        daemon = BrokerDaemon(home, log=log, settings=home.settings(BrokerSettings, section="broker"))
        daemon.start()
    except EnclaveError as error:
        sys.stderr.write(f"enclave-brokerd: {error.message}\n")
        sys.exit(error.exit_code)
    run_until_signal(log, close=daemon.close)


if __name__ == "__main__":
    main()
