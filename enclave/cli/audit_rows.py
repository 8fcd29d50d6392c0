"""What the commands of ``enclave audit`` share: asking the ledger, showing rows."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from enclave.cli.audit_log import call
from enclave.cli.output import words, write_json
from enclave.runtime.home import Home
from enclave.wire.messages import audit as ask


def ask_rows(home: Home, sql: str, limit: int) -> ask.Rows:
    """The answer to this shell's signed-in auditor."""
    from enclave.cli.session import read_token

    rows: ask.Rows = call(home, ask.Query(token=read_token(home), sql=sql, limit=limit))
    return rows


def tell_rows(found: ask.Rows, json_path: str | None) -> None:
    """As JSON, as tab-separated lines, or in a terminal as a table."""
    if json_path is not None:
        named = [dict(zip(found.columns, row, strict=True)) for row in found.rows]
        write_json({"columns": list(found.columns), "rows": named, "truncated": found.truncated}, json_path)
    else:
        tell_table(found.columns, found.rows)
    if found.truncated:
        words().print("More rows than the limit: ask for less, or raise --limit.")


def tell_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Tab-separated lines, or in a terminal a table."""
    if not sys.stdout.isatty():
        for line in (columns, *rows):
            sys.stdout.write("\t".join(cell_text(value) for value in line) + "\n")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns)
    for row in rows:
        table.add_row(*(cell_text(value) for value in row))
    Console(markup=False, highlight=False).print(table)


def cell_text(value: Any) -> str:
    """One value on one line; what a terminal would act on is escaped."""
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
