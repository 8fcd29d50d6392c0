"""The process ``enclave-intaked``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from enclave.cli.output import tell_error
from enclave.core.errors import EnclaveError
from enclave.hub.settings import HubSettings
from enclave.identity.hub import HubIdentity
from enclave.intake.daemon import IntakeDaemon
from enclave.intake.settings import IntakeSettings
from enclave.runtime.daemon import run_until_signal
from enclave.runtime.home import home_from
from enclave.runtime.log import Log


def main() -> None:
    """``enclave-intaked --home DIR``: listens until a signal."""
    parser = argparse.ArgumentParser(prog="enclave-intaked", description="De-identifies, measures and seals.")
    parser.add_argument("--home", type=Path, default=None)
    options = parser.parse_args()
    log = Log("intaked")
    try:
        home = home_from(options.home)
        identity = HubIdentity(home.settings(HubSettings, section="hub").api_url)
        settings = home.settings(IntakeSettings, section="intake")
        daemon = IntakeDaemon(home, resolve=identity.resolve, log=log, settings=settings)
        daemon.start()
    except EnclaveError as error:
        sys.exit(tell_error(error))
    run_until_signal(log, close=daemon.close)


if __name__ == "__main__":
    main()
