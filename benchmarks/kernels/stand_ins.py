"""``python -m benchmarks.kernels.stand_ins HOME``: a registry that knows one project.

With ``--instant-ledger`` also a ledger that keeps nothing: it shows the cost of the tap without that of the receipt.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

from enclave.core.clock import format_time
from enclave.runtime.clock import SystemClock
from enclave.runtime.home import Home
from enclave.runtime.log import Log
from enclave.wire.messages import facts, projects
from enclave.wire.messages.audit import Append, AskTime, LedgerTime, Receipt
from enclave.wire.peer import WireServer

PROJECT = projects.Project(name="benchmark", title="Benchmark", purpose="Figures", state="open")


def main() -> None:
    """Serves until SIGTERM."""
    home, instant = Home(Path(sys.argv[1])), "--instant-ledger" in sys.argv
    log = Log("stand-ins")
    tables: dict[str, dict[type[Any], Any]] = {
        "registryd": {
            facts.ProjectsOf: lambda _m, _c: projects.ProjectList(projects=(PROJECT,)),
            facts.AskEngagements: lambda _m, _c: facts.EngagementList(engagements=()),
        }
    }
    if instant:
        tables["auditd"] = {
            Append: lambda _m, _c: Receipt(seq=1, leaf_hash="00" * 32),
            AskTime: lambda _m, _c: LedgerTime(time=format_time(SystemClock().now())),
        }
    for name, table in tables.items():
        WireServer(home.socket(name), table, log=log, allowed_uids=None, mode=0o666).start()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main()
