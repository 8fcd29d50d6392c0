"""``enclave audit evidence``: the control catalogue with what the ledger holds for each control, for an inspector."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from enclave.cli.audit_alerts import weeks_of
from enclave.cli.audit_export import moment
from enclave.cli.audit_log import call, counted
from enclave.cli.audit_rows import ask_rows
from enclave.cli.audit_trace import without_ticket
from enclave.cli.output import HomeOption, JsonOption, home_of, words, write_json
from enclave.core.clock import format_time
from enclave.core.errors import ConflictError, InvalidError
from enclave.runtime.home import Home
from enclave.wire.messages import audit as ask

DAYS = 90
_KINDS_AND_OUTCOMES = 10_000


def evidence(
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="Where to write; a new folder.")],
    since: Annotated[
        str, typer.Option("--from", metavar="TIME", help="From here on (RFC 3339 or a day); default: 90 days back.")
    ] = "",
    until: Annotated[str, typer.Option("--to", metavar="TIME", help="Before this; default: now.")] = "",
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Write the evidence pack: each safeguard, what holds it, its tests, and its events in a period (auditors)."""
    at = home_of(home)
    end = moment(until) or datetime.now(UTC)
    begin = moment(since) or end - timedelta(days=DAYS)
    if begin >= end:
        raise InvalidError("evidence: wanted a period that begins before it ends, got another")
    if output.exists():
        raise ConflictError(f"evidence: wanted a new folder, got one that exists: {output}; choose another")
    pack = pack_of(at, begin, end)
    _write(pack, output)
    if json_path is not None:
        write_json(pack, json_path)
    missing = [one["id"] for one in pack["controls"] if one["held_by"] == "product" and not any(one["events"].values())]
    words().print(f"Wrote {counted(len(pack['controls']), 'control')} to {output}.", markup=False)
    if missing:
        words().print(f"Nothing of these happened in the period: {', '.join(missing)}.", markup=False)
    if pack["events_unsigned"]:
        words().print(
            f"The checkpoint leaves out {counted(pack['events_unsigned'], 'newer event')}: the ledger cannot sign now."
        )
    if pack["weeks_unsigned"] or pack["acts_without_ticket"]:
        words().print(
            f"Open: {counted(len(pack['weeks_unsigned']), 'week')} not signed off, "
            f"{counted(pack['acts_without_ticket'], 'administrative act')} without a ticket."
        )
    if pack["events_unsigned"] or pack["weeks_unsigned"] or pack["acts_without_ticket"]:
        raise typer.Exit(3)


def pack_of(home: Home, begin: datetime, end: datetime) -> dict[str, Any]:
    """Everything of the pack as one JSON object."""
    from enclave.audit.controls import evidence_of, known_controls

    period = f"time >= TIMESTAMPTZ '{format_time(begin)}' AND time < TIMESTAMPTZ '{format_time(end)}'"
    sql = f"SELECT kind, outcome, count(*) FROM events WHERE kind <> 'audit.drill' AND {period} GROUP BY ALL"  # noqa: S608 - times of ours
    rows = ask_rows(home, sql, _KINDS_AND_OUTCOMES).rows
    counts = [(str(kind), str(outcome), int(number)) for kind, outcome, number in rows]
    state: ask.LogState = call(home, ask.State())
    return {
        "from": format_time(begin),
        "to": format_time(end),
        "written": format_time(datetime.now(UTC)),
        "checkpoint": state.checkpoint,
        "size": state.size,
        "events_unsigned": state.unsigned,
        "controls": [evidence_of(control, counts) for control in known_controls()],
        "weeks_unsigned": [
            week.period for week in weeks_of(home) if not week.complete and _within(week.period, begin, end)
        ],
        "acts_without_ticket": len(without_ticket(home, period)),
    }


def _within(week: str, begin: datetime, end: datetime) -> bool:
    first = datetime.strptime(f"{week}-1", "%G-W%V-%u").replace(tzinfo=UTC)
    return begin < first + timedelta(days=7) and first < end


def _write(pack: dict[str, Any], output: Path) -> None:
    from enclave.audit.evidence_page import html_of

    output.mkdir(parents=True)
    write_json(pack, str(output / "evidence.json"))
    (output / "evidence.html").write_text(html_of(pack), "utf-8")
    sums = [
        f"{hashlib.sha256((output / name).read_bytes()).hexdigest()}  {name}\n"
        for name in ("evidence.html", "evidence.json")
    ]
    (output / "SHA256SUMS").write_text("".join(sums), "ascii")


COMMANDS = (evidence,)
