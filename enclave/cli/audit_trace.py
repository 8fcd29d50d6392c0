"""``enclave audit lineage|tail``: what depends on what, and what happens now."""

from __future__ import annotations

import datetime as dt
import re
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from enclave.cli.audit_rows import ask_rows, cell_text, tell_rows, tell_table
from enclave.cli.output import HomeOption, JsonOption, home_of, words, write_json
from enclave.core.errors import InvalidError, UnavailableError
from enclave.runtime.home import Home

COLUMNS = "seq, time, kind, actor, outcome, reason, project, dataset, version, cell"
FOLLOW_S = 1.0
FOLLOW_ROWS = 1000
TICKET_ROWS = 10_000
_WORD = re.compile(r"[a-z0-9][a-z0-9._:@%-]{0,127}")


def lineage(
    subject: Annotated[
        str, typer.Argument(metavar="FILE_OR_VERSION", help="A file here, its SHA-256, a request's id, or NAME@V.")
    ],
    html: Annotated[Path | None, typer.Option("--html", metavar="PATH", help="Write a page with a picture.")] = None,
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Show what a file depends on, or what depends on a dataset version (auditors)."""
    from enclave.audit.lineage_page import HEADINGS, html_of, summary_of
    from enclave.audit.lineage_rows import lineage as trace_lineage
    from enclave.audit.lineage_rows import subject_of

    at, name = home_of(home), subject_of(subject)
    graph = trace_lineage(name, lambda sql, limit: ask_rows(at, sql, limit))
    if json_path is not None:
        write_json(graph.to_json(), json_path)
    if html is not None:
        _write(html, html_of(graph, written=f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC"))
        words().print(f"Wrote {html}.", markup=False)
    if json_path is None and html is None:
        tell_table(("what", "name", "facts"), [[HEADINGS[n.kind], n.name, n.facts] for n in graph.nodes])
        tell_table(("from", "how", "to"), [[edge.source, edge.what, edge.target] for edge in graph.edges])
    words().print(f"Lineage of {graph.subject}: {summary_of(graph)}", markup=False)


def tail(
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="How many events.")] = 20,
    kind: Annotated[str, typer.Option(help="Only this kind; egress.% is all of egress.")] = "",
    actor: Annotated[str, typer.Option(help="Only acts of this person or service.")] = "",
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until Ctrl-C; each look is an event.")] = False,
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Show the newest events (auditors)."""
    at, where = home_of(home), _where(kind, actor)
    sql = f"SELECT * FROM (SELECT {COLUMNS} FROM events WHERE {where} ORDER BY seq DESC LIMIT {count:d}) ORDER BY seq"  # noqa: S608 - checked words
    found = ask_rows(at, sql, count)
    tell_rows(found, json_path)
    if follow:
        _follow(at, where, after=int(found.rows[-1][0]) if found.rows else -1)


def tickets(
    missing: Annotated[bool, typer.Option("--missing", help="Only acts without a ticket.")] = False,
    days: Annotated[int, typer.Option("--days", min=1, help="So many days back.")] = 31,
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """List administrative acts with their tickets; exit 3 when some have none (auditors)."""
    where = f"time > now() - INTERVAL {days:d} DAYS {'AND ticket IS NULL' if missing else ''}"
    found = _administrative(home_of(home), where)
    tell_rows(found, json_path)
    without = sum(row[-1] is None for row in found.rows)
    if without:
        words().print(f"{without} administrative acts have no ticket.")
        raise typer.Exit(3)


def without_ticket(home: Home, period: str) -> list[Any]:
    """The administrative acts of a period (SQL of ours) that name no ticket."""
    return list(_administrative(home, f"{period} AND ticket IS NULL").rows)


def _administrative(home: Home, where: str) -> Any:
    from enclave.audit.alerts.rules import known_rules

    kinds = ", ".join(f"'{kind}'" for kind in known_rules()["admin_without_ticket"].on)
    sql = (
        "SELECT seq, time, kind, actor, project, dataset, ticket FROM events WHERE outcome = 'ok' "  # noqa: S608 - kinds of the release
        f"AND kind IN ({kinds}) AND (kind <> 'audit.rebuild' OR (detail ->> 'cause') = 'operator') "
        f"AND {where} ORDER BY seq"
    )
    return ask_rows(home, sql, TICKET_ROWS)


def _follow(home: Home, where: str, *, after: int) -> None:
    """Line by line; our own questions are left out, or each look would show the last."""
    try:
        while True:
            time.sleep(FOLLOW_S)
            sql = (
                f"SELECT {COLUMNS} FROM events WHERE seq > {after:d} AND kind <> 'audit.query' AND {where} "  # noqa: S608 - checked words
                "ORDER BY seq"
            )
            for row in ask_rows(home, sql, FOLLOW_ROWS).rows:
                after = int(row[0])
                _print_row(row)
    except KeyboardInterrupt:
        return


def _print_row(row: Any) -> None:
    sys.stdout.write("\t".join(cell_text(value) for value in row) + "\n")
    sys.stdout.flush()


def _where(kind: str, actor: str) -> str:
    parts = ["true"]
    for column, word in (("kind", kind), ("actor", actor)):
        if word:
            if not _WORD.fullmatch(word):
                raise InvalidError(f"--{column}: wanted a plain name, got another form")
            parts.append(f"{column} LIKE '{word}'")
    return " AND ".join(parts)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise UnavailableError(f"--html {path}: wanted a file to write, got {error.strerror}; choose another") from None
