"""``enclave audit``: ask the ledger, prove and verify it, take it away."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from enclave.cli.output import HomeOption, JsonOption, home_of, words, write_json
from enclave.core.errors import ConflictError, IntegrityError, UnavailableError
from enclave.runtime.home import Home
from enclave.wire.client import WireClient
from enclave.wire.messages import audit as ask

app = typer.Typer(no_args_is_help=True, help="Query, verify and export the ledger.")

LogOption = Annotated[
    Path | None,
    typer.Option("--log", metavar="DIR", help="A copy of the ledger's folder; default: the home's own."),
]
VkeyOption = Annotated[
    Path | None,
    typer.Option("--vkey", metavar="FILE", help="The log's verifier key, kept elsewhere; default: the home's."),
]


@app.command()
def vkey(log: LogOption = None, home: HomeOption = None, json_path: JsonOption = None) -> None:
    """Print the log's verifier key: keep it where the ledger's user cannot write."""
    key = str(_key(log, None, home))
    if json_path is not None:
        write_json({"vkey": key}, json_path)
    else:
        print(key)  # noqa: T201 - the result itself


@app.command()
def checkpoint(home: HomeOption = None, json_path: JsonOption = None) -> None:
    """Print a fresh signed checkpoint: save it, and later `verify --against` it."""
    state = _call(home_of(home), ask.State())
    if json_path is not None:
        write_json(dataclasses.asdict(state), json_path)
    else:
        sys.stdout.write(state.checkpoint)


@app.command()
def verify(
    log: LogOption = None,
    vkey_file: VkeyOption = None,
    against: Annotated[
        Path | None, typer.Option("--against", metavar="CHECKPOINT", help="A checkpoint saved earlier or elsewhere.")
    ] = None,
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Check a ledger from its files alone; needs no running enclave. Exit 15 when something is wrong."""
    from enclave.audit.verify import verify_log

    folder = log if log is not None else home_of(home).state("audit")
    saved = _read_saved(against) if against is not None else None
    verdict = verify_log(folder, key=_key(log, vkey_file, home), against=saved)
    if json_path is not None:
        write_json(dataclasses.asdict(verdict), json_path)
    if verdict.ok:
        words().print(f"The ledger is whole: {verdict.size} events, root {verdict.root}.")
        return
    for finding in verdict.damage[:20]:
        at = "" if finding.seq is None else f" at event {finding.seq}"
        words().print(f"{finding.kind}{at} ({finding.segment}, byte {finding.offset})", markup=False)
    where = "" if verdict.first_bad_seq is None else f", the first at event {verdict.first_bad_seq}"
    raise IntegrityError(
        f"ledger: wanted what was signed, got {len(verdict.damage)} differences{where}; "
        "keep this copy, compare it with one kept elsewhere",
        code="ledger_damaged",
    )


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
    _tell_rows(_ask(home_of(home), sql, limit), json_path)


@app.command()
def tail(
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="How many events.")] = 20,
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Show the newest events (auditors)."""
    columns = "seq, time, kind, actor, outcome, reason, project, dataset, version, cell"
    sql = f"SELECT * FROM (SELECT {columns} FROM events ORDER BY seq DESC LIMIT {count:d}) ORDER BY seq"  # noqa: S608 - a number
    _tell_rows(_ask(home_of(home), sql, count), json_path)


@app.command()
def prove(
    seq: Annotated[int, typer.Argument(metavar="SEQ", min=0, help="The event's sequence number.")],
    old_size: Annotated[
        int,
        typer.Option("--from", metavar="SIZE", min=0, help="Also prove that the log of this size is its beginning."),
    ] = 0,
    log: LogOption = None,
    vkey_file: VkeyOption = None,
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Prove from the files that an event is in the signed log."""
    from enclave.audit.prove import prove as make_proof

    folder = log if log is not None else home_of(home).state("audit")
    proof = make_proof(folder, seq, old_size=old_size, key=_key(log, vkey_file, home))
    write_json(dataclasses.asdict(proof), json_path or "-")


@app.command()
def rebuild(home: HomeOption = None, json_path: JsonOption = None) -> None:
    """Throw the query store away and build it again from the segments."""
    at = home_of(home)
    began = time.monotonic()
    try:
        rows = int(_call(at, ask.Rebuild(), timeout_s=3600).rows)
    except UnavailableError:
        rows = _rebuild_alone(at)
    seconds = round(time.monotonic() - began, 3)
    if json_path is not None:
        write_json({"rows": rows, "seconds": seconds}, json_path)
    words().print(f"The query store holds {rows} events again ({seconds} s).")


@app.command()
def export(
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="A new folder for the copy.")],
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Copy records, tiles, checkpoints and verifier key: all that `verify --log DIR` needs, no bodies, no keys."""
    from enclave.audit.verify import verify_log

    source = home_of(home).state("audit")
    if output.exists():
        raise ConflictError(f"export: wanted a new folder, got one that exists: {output}; choose another")
    _copy(source, output)
    verdict = verify_log(output)
    if json_path is not None:
        write_json({"path": str(output), **dataclasses.asdict(verdict)}, json_path)
    words().print(f"Copied {verdict.size} events to {output}.", markup=False)


def _copy(source: Path, output: Path) -> None:
    """The log first: records may only be newer than the checkpoint. Partial tiles come and go while we look."""
    for attempt in range(5):
        try:
            shutil.copytree(source / "log", output / "log", ignore=shutil.ignore_patterns("*.part"))
            shutil.copytree(source / "segments", output / "segments")
            shutil.copyfile(source / "origin", output / "origin")
        except OSError as error:
            shutil.rmtree(output, ignore_errors=True)
            if attempt == 4:
                raise UnavailableError(f"export: wanted to copy the ledger, got {type(error).__name__}") from None
        else:
            return


def _key(log: Path | None, vkey_file: Path | None, home: Path | None) -> Any:
    """The verifier key given; else the home's public key under the log's name; else the one beside the log."""
    from enclave.audit.checkpoint import VerifierKey
    from enclave.audit.verify import log_folder, read_vkey
    from enclave.keys.verify import read_public

    if vkey_file is not None:
        return read_vkey(vkey_file)
    if log is None:
        at = home_of(home)
        beside = read_vkey(log_folder(at.state("audit")) / "log" / "vkey")
        public = at.key_file("audit-checkpoint").with_suffix(".pub")
        return VerifierKey(beside.name, read_public(public)) if public.is_file() else beside
    words().print("Checked with the key that lies beside the log; give --vkey to use one kept elsewhere.")
    return read_vkey(log_folder(log) / "log" / "vkey")


def _read_saved(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise IntegrityError(f"checkpoint {path.name}: wanted a file to read, got none") from None


def _call(home: Home, message: Any, *, timeout_s: float = 60.0) -> Any:
    client = WireClient(home.socket("auditd"))
    try:
        return client.call(message, timeout_s=timeout_s)
    finally:
        client.close()


def _ask(home: Home, sql: str, limit: int) -> ask.Rows:
    from enclave.cli.session import read_token

    rows: ask.Rows = _call(home, ask.Query(token=read_token(home), sql=sql, limit=limit))
    return rows


def _tell_rows(found: ask.Rows, json_path: str | None) -> None:
    if json_path is not None:
        named = [dict(zip(found.columns, row, strict=True)) for row in found.rows]
        write_json({"columns": list(found.columns), "rows": named, "truncated": found.truncated}, json_path)
    elif not sys.stdout.isatty():
        for line in (found.columns, *found.rows):
            sys.stdout.write("\t".join(_cell(value) for value in line) + "\n")
    else:
        from rich.console import Console
        from rich.table import Table

        table = Table(*found.columns)
        for row in found.rows:
            table.add_row(*(_cell(value) for value in row))
        Console(markup=False, highlight=False).print(table)
    if found.truncated:
        words().print("More rows than the limit: ask for less, or raise --limit.")


def _cell(value: Any) -> str:
    """One value on one line; what a terminal would act on is escaped."""
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _rebuild_alone(home: Home) -> int:
    """Without a daemon: takes the store's lock and shows how far it is."""
    from rich.progress import Progress

    from enclave.audit.feed import Feed
    from enclave.audit.ledger import lock_store
    from enclave.audit.verify import verify_log
    from enclave.keys.box import open_box
    from enclave.keys.files import read_symmetric
    from enclave.keys.uri import file_uri

    folder = home.state("audit")
    with lock_store(folder), Progress(console=words()) as bar:
        size = verify_log(folder).size
        box = open_box(file_uri(home.key_file("audit-body")))
        feed = Feed(folder, box=box, key=read_symmetric(home.key_file("audit-store")))
        task = bar.add_task("Reading segments", total=size)
        rows = feed.rebuild(size, progress=lambda mark: bar.update(task, completed=mark))
        feed.close()
    return rows
