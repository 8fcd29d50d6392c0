"""``enclave report``: scheduled validation reports."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import typer

from enclave.cli.output import HomeOption, JsonOption, home_of, words, write_json
from enclave.cli.session import read_token
from enclave.core.errors import ConflictError, UnavailableError
from enclave.runtime.home import Home
from enclave.wire.client import WireClient, call_once
from enclave.wire.messages.reports import ListRuns, ReportRun, RunNow, ShowPage
from enclave.wire.messages.schema import to_json

app = typer.Typer(
    no_args_is_help=True,
    help="Scheduled validation reports.",
    epilog="Examples:  enclave report run demo-validation   ·   enclave report show ID --output report.html",
)


@app.command("list")
def list_runs(home: HomeOption = None, json_path: JsonOption = None) -> None:
    """List the runs that you may see, newest first."""
    place = home_of(home)
    runs = _ask(place, ListRuns(token=read_token(place))).runs
    if json_path is not None:
        write_json({"runs": [to_json(run) for run in runs]}, json_path)
        return
    for run in runs:
        words().print(_line(run), markup=False)
    if not runs:
        words().print("No runs yet. A data steward starts one with `enclave report run NAME`.")


@app.command()
def run(
    entry: str = typer.Argument(..., help="The name of the schedule entry."),
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Run an entry of the schedule now (data steward or honest broker)."""
    place = home_of(home)
    queued = _ask(place, RunNow(token=read_token(place), entry=entry))
    if json_path is not None:
        write_json(to_json(queued), json_path)
        return
    words().print(_line(queued), markup=False)


@app.command()
def show(
    run_id: str = typer.Argument(..., metavar="ID", help="The id of a finished run."),
    output: Path = typer.Option(..., help="Where to write the page; must not exist."),
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Write the page of a finished run to a file (looking at it is recorded)."""
    place = home_of(home)
    client = WireClient(place.socket("reportd"), timeout_s=30.0)
    try:
        page, (fd,) = client.call_with_descriptors(ShowPage(token=read_token(place), id=run_id), max_descriptors=1)
    finally:
        client.close()
    with os.fdopen(fd, "rb") as source:
        _write_new(output, source.read())
    if json_path is not None:
        write_json({**to_json(page), "path": str(output)}, json_path)
        return
    words().print(f"Wrote {page.size_bytes} bytes to {output}.", markup=False)


def _write_new(path: Path, data: bytes) -> None:
    try:
        with path.open("xb") as file:
            path.chmod(0o600)
            file.write(data)
    except FileExistsError:
        raise ConflictError(f"--output {path}: wanted a new file, got one that exists; choose another") from None
    except OSError as error:
        raise UnavailableError(f"--output {path}: wanted a file to write, got {error.strerror}") from None


def _ask(home: Home, message: Any) -> Any:
    return call_once(home.socket("reportd"), message)


def _line(run: ReportRun) -> str:
    tail = f" ({run.message})" if run.message else ""
    return f"{run.id}  {run.state:<8} {run.report}  {run.dataset} in {run.project}, {run.queued}{tail}"
