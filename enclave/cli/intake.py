"""``enclave intake``: bring identified images and tables in."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import typer

from enclave.cli.output import HomeOption, JsonOption, home_of, words, write_json
from enclave.cli.project import token_of
from enclave.core.errors import EnclaveError
from enclave.runtime.home import Home
from enclave.wire.client import WireClient
from enclave.wire.messages.intake import AddBatch, Batch, ListBatches, ReviewImage, ShowBatch
from enclave.wire.messages.schema import to_json

app = typer.Typer(no_args_is_help=True, help="Bring identified images and tables in.")
_POLL_S = 0.5


@app.command()
def add(
    directory: Path = typer.Argument(metavar="DIR"),
    dataset: str = typer.Option(..., help="The dataset that it becomes a version of."),
    recipe: str = typer.Option(..., help="How to de-identify and measure, by name."),
    wait: bool = typer.Option(True, help="Wait until it is sealed or failed."),
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Hand a folder of identified data in (data steward)."""
    at = home_of(home)
    token = token_of(at)
    batch = _ask(at, AddBatch(token=token, directory=str(directory.absolute()), dataset=dataset, recipe=recipe))
    while wait and batch.state not in ("sealed", "failed"):
        time.sleep(_POLL_S)
        batch = _ask(at, ShowBatch(token=token, id=batch.id))
    _tell(batch, json_path)
    if batch.state == "failed":
        raise EnclaveError(f"intake batch {batch.id}: wanted it sealed, got: {batch.message}")


@app.command("list")
def list_batches(home: HomeOption = None, json_path: JsonOption = None) -> None:
    """List all batches (data steward, honest broker, expert)."""
    at = home_of(home)
    found = _ask(at, ListBatches(token=token_of(at)))
    if json_path:
        write_json(to_json(found), json_path)
    for batch in found.batches:
        words().print(_line(batch), markup=False)


@app.command()
def show(batch: str = typer.Argument(metavar="ID"), home: HomeOption = None, json_path: JsonOption = None) -> None:
    """Show where one batch stands (data steward, honest broker, expert)."""
    at = home_of(home)
    _tell(_ask(at, ShowBatch(token=token_of(at), id=batch)), json_path)


@app.command()
def review(
    batch: str = typer.Argument(metavar="ID"),
    image: str = typer.Option(..., help="The new UID of an image of the review sample; `intake show` lists them."),
    clean: bool = typer.Option(..., "--clean/--not-clean", help="Nothing in it says who the patient is."),
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Say whether an image of the review sample is clean (another data steward, honest broker)."""
    at = home_of(home)
    _tell(_ask(at, ReviewImage(token=token_of(at), id=batch, image=image, clean=clean)), json_path)


def _ask(home: Home, message: Any) -> Any:
    client = WireClient(home.socket("intaked"), timeout_s=30)
    try:
        return client.call(message)
    finally:
        client.close()


def _tell(batch: Batch, json_path: str | None) -> None:
    if json_path:
        write_json(to_json(batch), json_path)
    words().print(_line(batch), markup=False)


def _line(batch: Batch) -> str:
    version = f" → {batch.dataset}@{batch.version}" if batch.version else f" for {batch.dataset}"
    note = f": {batch.message}" if batch.message else ""
    return f"{batch.id}{version} · {batch.state} · {batch.progress:.0%}{note}"
