"""An example for every command of ``enclave audit``, shown at the end of its help."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import typer

EXAMPLES: Final[Mapping[str, str]] = {
    "vkey": "enclave audit vkey > /media/usb/ledger.vkey",
    "checkpoint": "enclave audit checkpoint > /media/usb/2026-11-22.checkpoint",
    "verify": "enclave audit verify --log /backup/audit --vkey ledger.vkey --against 2026-11-22.checkpoint",
    "prove": "enclave audit prove 4711 --from 1000 --json proof.json",
    "check-proof": "enclave audit check-proof proof.json --vkey ledger.vkey",
    "copies": "enclave audit copies --json -",
    "export": "enclave audit export --output november --from 2026-11-01 --to 2026-12-01 --format ocsf",
    "evidence": "enclave audit evidence --output evidence-2026-q4 --from 2026-10-01 --to 2027-01-01",
    "archive": "enclave audit archive --output /archive/ledger --before 2026-11",
    "drill": "enclave audit drill --rule bulk_read --wait 60",
    "lineage": "enclave audit lineage cohort@3 --html lineage.html",
    "tail": "enclave audit tail --kind egress.% --follow",
    "tickets": "enclave audit tickets --missing --days 7",
    "query": 'enclave audit query "SELECT actor, count(*) FROM denials GROUP BY actor ORDER BY 2 DESC" --json -',
    "rebuild": "enclave audit rebuild --ticket CHG-17",
    "witness key": "enclave audit witness key --name witness.example/w1 --key witness.key",
    "witness serve": (
        "enclave audit witness serve --name witness.example/w1 --key witness.key --store seen --log-vkey ledger.vkey "
        "--listen 127.0.0.1:9443"
    ),
    "hold place": "enclave audit hold place --project lung-ct --reason 'Case 12' --ticket LEG-12",
    "hold lift": "enclave audit hold lift ID --reason 'Case 12 is closed' --ticket LEG-12",
    "hold list": "enclave audit hold list --json holds.json",
    "retention plan": "enclave audit retention plan --json plan.json",
    "retention apply": "enclave audit retention apply ID --reason 'What is of age in 2026' --ticket CHG-18",
    "alerts list": "enclave audit alerts list --state open",
    "alerts show": "enclave audit alerts show 3f2a",
    "alerts acknowledge": "enclave audit alerts acknowledge 3f2a",
    "alerts resolve": "enclave audit alerts resolve 3f2a --verdict expected --reason 'The planned run; we asked'",
    "alerts canary": "enclave audit alerts canary cohort@3 --object tables/patients",
    "review list": "enclave audit review list --period 2026-W47",
    "review sign": "enclave audit review sign 2026-W47 --note 'Alerts, tickets and new networks looked at'",
}


def show_examples(app: typer.Typer, *, before: str = "") -> None:
    """Puts the examples under the help of every command of ``app`` and of its groups."""
    for command in app.registered_commands:
        named = command.name or str(getattr(command.callback, "__name__", "")).replace("_", "-")
        command.epilog = f"Example:  {EXAMPLES[f'{before}{named}']}"
    for group in app.registered_groups:
        if group.typer_instance is not None:
            show_examples(group.typer_instance, before=f"{group.name} ")
