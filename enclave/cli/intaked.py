"""``enclave-intaked``: de-identification, measuring and sealing as a process."""

from __future__ import annotations

from enclave.cli.daemon import hub_resolver, run_daemon
from enclave.intake.daemon import IntakeDaemon
from enclave.intake.settings import IntakeSettings
from enclave.runtime.home import Home
from enclave.runtime.log import Log


def make(home: Home, log: Log) -> IntakeDaemon:
    """The intake over ``home``."""
    settings = home.settings(IntakeSettings, section="intake")
    return IntakeDaemon(home, resolve=hub_resolver(home), log=log, settings=settings)


def main() -> None:
    """Runs until SIGTERM or SIGINT."""
    run_daemon("intaked", what="De-identifies, measures and seals.", make=make)


if __name__ == "__main__":
    main()
