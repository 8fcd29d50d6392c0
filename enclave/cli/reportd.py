"""``enclave-reportd``: the report service as a process."""

from __future__ import annotations

from enclave.cli.daemon import hub_resolver, run_daemon
from enclave.reports.daemon import ReportDaemon


def main() -> None:
    """Runs until SIGTERM or SIGINT."""
    run_daemon(
        "reportd",
        what="Runs scheduled reports in sandboxed kernels.",
        make=lambda home, log: ReportDaemon(home, resolve=hub_resolver(home), log=log),
    )


if __name__ == "__main__":
    main()
