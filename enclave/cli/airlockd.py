"""``enclave-airlockd``: the way out of an enclave as a process."""

from __future__ import annotations

from enclave.airlock.daemon import AirlockDaemon
from enclave.cli.daemon import hub_resolver, run_daemon


def main() -> None:
    """Runs until SIGTERM or SIGINT."""
    run_daemon(
        "airlockd",
        what="The way out of an enclave.",
        make=lambda home, log: AirlockDaemon(home, resolve=hub_resolver(home), log=log),
    )


if __name__ == "__main__":
    main()
