"""``enclave-vaultd``: the re-identification vault as a process."""

from __future__ import annotations

from enclave.cli.daemon import hub_resolver, run_daemon
from enclave.reidentification.daemon import VaultDaemon
from enclave.reidentification.settings import VaultSettings
from enclave.runtime.home import Home
from enclave.runtime.log import Log


def make(home: Home, log: Log) -> VaultDaemon:
    """The vault over ``home``."""
    settings = home.settings(VaultSettings, section="vault")
    return VaultDaemon(home, resolve=hub_resolver(home), log=log, settings=settings)


def main() -> None:
    """Runs until SIGTERM or SIGINT."""
    run_daemon("vaultd", what="Keeps the key back to patients.", make=make)


if __name__ == "__main__":
    main()
