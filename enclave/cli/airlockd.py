"""``enclave-airlockd``: the way out of an enclave as a process."""

from __future__ import annotations

from enclave.airlock.daemon import AirlockDaemon
from enclave.cli.daemon import hub_identity, run_daemon
from enclave.runtime.home import Home
from enclave.runtime.log import Log


def main() -> None:
    """Runs until SIGTERM or SIGINT."""
    run_daemon("airlockd", what="The way out of an enclave.", make=_make)


def _make(home: Home, log: Log) -> AirlockDaemon:
    hub = hub_identity(home)
    return AirlockDaemon(home, resolve=hub.resolve, resolve_anew=hub.resolve_anew, log=log)


if __name__ == "__main__":
    main()
