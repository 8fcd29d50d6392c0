"""``enclave audit``: ask the ledger, prove and verify it, take it away."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from enclave.cli import (
    audit_alerts,
    audit_evidence,
    audit_export,
    audit_proofs,
    audit_retention,
    audit_trace,
    audit_witness,
)
from enclave.cli.audit_examples import show_examples
from enclave.cli.audit_log import call, counted
from enclave.cli.audit_rows import ask_rows, tell_rows
from enclave.cli.output import HomeOption, JsonOption, TicketOption, home_of, ticket_of, words, write_json
from enclave.core.errors import UnavailableError
from enclave.runtime.home import Home, ensure_private_dir
from enclave.wire.messages import audit as ask

REFRESH_S = 0.5

app = typer.Typer(
    no_args_is_help=True,
    help="Query, verify and export the ledger.",
    epilog="Examples:  enclave audit tail --follow   ·   enclave audit verify   ·   enclave audit lineage cohort@3",
)
for _command in (*audit_proofs.COMMANDS, *audit_witness.COMMANDS, *audit_export.COMMANDS, *audit_evidence.COMMANDS):
    app.command()(_command)
app.add_typer(audit_witness.app, name="witness")
app.add_typer(audit_retention.hold, name="hold")
app.add_typer(audit_retention.retention, name="retention")
app.add_typer(audit_alerts.alerts, name="alerts")
app.add_typer(audit_alerts.review, name="review")
app.command()(audit_alerts.drill)
app.command()(audit_trace.lineage)
app.command()(audit_trace.tail)
app.command()(audit_trace.tickets)


@app.command()
def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One SELECT over the views.")],
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many rows.")] = 1000,
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Ask the query store (auditors; each query is an event).

    Views: events, cell_executions, dataset_access, egress_history, logins, admin_actions, denials.
    """
    tell_rows(ask_rows(home_of(home), sql, limit), json_path)


@app.command()
def rebuild(ticket: TicketOption = None, home: HomeOption = None, json_path: JsonOption = None) -> None:
    """Throw the query store away and build it again from the segments; a bar shows how far it is."""
    at = home_of(home)
    began = time.monotonic()
    try:
        rows = _rebuild_beside(at, ticket=ticket_of(ticket))
    except UnavailableError:
        rows = _rebuild_alone(at)
    seconds = round(time.monotonic() - began, 3)
    if json_path is not None:
        write_json({"rows": rows, "seconds": seconds}, json_path)
    words().print(f"The query store holds {counted(rows, 'event')} again ({seconds} s).")


show_examples(app)


def _rebuild_beside(home: Home, *, ticket: str | None) -> int:
    """The running ledger builds; we ask it how far it is."""
    from concurrent.futures import ThreadPoolExecutor
    from concurrent.futures import TimeoutError as NotYetError

    from rich.progress import Progress

    with ThreadPoolExecutor(1) as pool, Progress(console=words()) as bar:
        task = bar.add_task("Reading segments", total=call(home, ask.State()).size)
        done = pool.submit(call, home, ask.Rebuild(ticket=ticket), timeout_s=86_400)
        while True:
            try:
                rows = int(done.result(timeout=REFRESH_S).rows)
            except NotYetError:
                state = call(home, ask.State())
                bar.update(task, total=state.size, completed=state.queryable)
            else:
                bar.update(task, total=rows, completed=rows)
                return rows


def _rebuild_alone(home: Home) -> int:
    """Without a daemon: takes the store's lock and shows how far it is."""
    from rich.progress import Progress

    from enclave.audit.body_keys import BodyKeys
    from enclave.audit.feed import Feed
    from enclave.audit.ledger import lock_store
    from enclave.audit.verify import verify_log
    from enclave.keys.box import open_box
    from enclave.keys.files import read_symmetric
    from enclave.keys.uri import file_uri
    from enclave.runtime.clock import SystemClock

    folder = home.state("audit")
    with lock_store(folder), Progress(console=words()) as bar:
        size = verify_log(folder).size
        base = open_box(file_uri(home.key_file("audit-body")))
        box = BodyKeys(folder / "body-keys", base=base, clock=SystemClock())
        ensure_private_dir(home.run_dir)
        key = read_symmetric(home.key_file("audit-store"))
        feed = Feed(folder, box=box, key=key, socket=home.socket("auditstore"))
        task = bar.add_task("Reading segments", total=size)
        rows = feed.rebuild(size, progress=lambda mark: bar.update(task, completed=mark))
        feed.close()
    return rows
