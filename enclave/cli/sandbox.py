"""``enclave sandbox``: try to get out of it."""

from __future__ import annotations

import dataclasses

import typer

from enclave.cli.output import JsonOption, words, write_json

app = typer.Typer(no_args_is_help=True, help="Try to get out of the sandbox.")


@app.callback()
def _group() -> None:
    """Keeps ``selftest`` a command of its own."""


@app.command()
def selftest(json_path: JsonOption = None) -> None:
    """Run the escape attempts from inside a real kernel; exit 15 when one got out."""
    from enclave.sandbox.selftest import run_selftest

    result = run_selftest()
    if json_path:
        write_json({**dataclasses.asdict(result), "attempts": list(result.attempts)}, json_path)
    out = words()
    for row in result.attempts:
        if not row["ok"]:
            out.print(f"[bold red]open[/] {row['id']}: {row['what']}: wanted {row['expected']}, got {row['got']}")
    out.print(f"{len(result.attempts)} attempts, {result.escapes} escapes ({result.backend})")
    if result.escapes:
        raise typer.Exit(15)
