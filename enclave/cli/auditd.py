"""``enclave-auditd``: the ledger as a process."""

from __future__ import annotations

from enclave.audit.daemon import AuditDaemon
from enclave.cli.daemon import hub_resolver, run_daemon


def main() -> None:
    """Runs until SIGTERM or SIGINT."""
    run_daemon(
        "auditd",
        what="Keeps every event, durable and provable.",
        make=lambda home, log: AuditDaemon(home, resolve=hub_resolver(home), log=log),
    )


if __name__ == "__main__":
    main()
