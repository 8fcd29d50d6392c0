"""``enclave-brokerd``: the one process that decrypts dataset versions."""

from __future__ import annotations

from enclave.broker.daemon import BrokerDaemon
from enclave.broker.settings import BrokerSettings
from enclave.cli.daemon import run_daemon


def main() -> None:
    """Runs until SIGTERM or SIGINT."""
    run_daemon(
        "brokerd",
        what="Decrypts dataset versions for leases.",
        make=lambda home, log: BrokerDaemon(home, log=log, settings=home.settings(BrokerSettings, section="broker")),
    )


if __name__ == "__main__":
    main()
