"""``enclave-auditd``: the ledger as a process."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from enclave.audit.daemon import AuditDaemon
from enclave.cli.output import tell_error
from enclave.core.errors import EnclaveError
from enclave.hub.settings import HubSettings
from enclave.identity.hub import HubIdentity
from enclave.runtime.daemon import run_until_signal
from enclave.runtime.home import home_from
from enclave.runtime.log import Log


def main() -> None:
    """Runs until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="enclave-auditd", description="Keeps every event, durable and provable.")
    parser.add_argument("--home", type=Path, default=None)
    options = parser.parse_args()
    try:
        home = home_from(options.home)
        log = Log("auditd")
        identity = HubIdentity(home.settings(HubSettings, section="hub").api_url)
        daemon = AuditDaemon(home, resolve=identity.resolve, log=log)
        daemon.start()
    except EnclaveError as error:
        sys.exit(tell_error(error))
    run_until_signal(log, close=daemon.close)


if __name__ == "__main__":
    main()
