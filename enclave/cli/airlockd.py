"""The process ``enclave-airlockd``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from enclave.airlock.daemon import AirlockDaemon
from enclave.cli.output import tell_error
from enclave.core.errors import EnclaveError
from enclave.hub.settings import HubSettings
from enclave.identity.hub import HubIdentity
from enclave.runtime.daemon import run_until_signal
from enclave.runtime.home import home_from
from enclave.runtime.log import Log


def main() -> None:
    """``enclave-airlockd --home DIR``: listens until a signal."""
    parser = argparse.ArgumentParser(prog="enclave-airlockd", description="The way out of an enclave.")
    parser.add_argument("--home", type=Path, default=None)
    arguments = parser.parse_args()
    log = Log("airlockd")
    try:
        home = home_from(arguments.home)
        identity = HubIdentity(home.settings(HubSettings, section="hub").api_url)
        daemon = AirlockDaemon(home, resolve=identity.resolve, log=log)
        daemon.start()
        run_until_signal(log, close=daemon.close)
    except EnclaveError as error:
        sys.exit(tell_error(error))


if __name__ == "__main__":
    main()
