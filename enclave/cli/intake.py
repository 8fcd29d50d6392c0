"""``enclave intake``: bring identified images and tables in."""

from __future__ import annotations

import base64
import os
import time
from pathlib import Path
from typing import Any

import typer

from enclave.cli.output import HomeOption, JsonOption, home_of, words, write_json
from enclave.cli.session import read_token
from enclave.core.errors import ConflictError, EnclaveError, InvalidError
from enclave.runtime.home import Home
from enclave.wire.client import call_once
from enclave.wire.messages.intake import AddBatch, Batch, ListBatches, LookAtItem, ReviewImage, ReviewItem, ShowBatch
from enclave.wire.messages.schema import to_json

app = typer.Typer(no_args_is_help=True, help="Bring identified images and tables in.")
_POLL_S = 0.5


@app.command()
def add(
    directory: Path = typer.Argument(metavar="DIR"),
    dataset: str = typer.Option(..., help="The dataset that it becomes a version of."),
    recipe: str = typer.Option(..., help="How to de-identify and measure, by name."),
    project: str = typer.Option("", help="For a recipe with pseudonyms per project: whose they are."),
    wait: bool = typer.Option(True, help="Wait until it is sealed or failed."),
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Hand a folder of identified data in (data steward)."""
    at = home_of(home)
    token = read_token(at)
    message = AddBatch(
        token=token, directory=str(directory.absolute()), dataset=dataset, recipe=recipe, project=project
    )
    batch = _ask(at, message)
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
    found = _ask(at, ListBatches(token=read_token(at)))
    if json_path:
        write_json(to_json(found), json_path)
    for batch in found.batches:
        words().print(_line(batch), markup=False)


@app.command()
def show(batch: str = typer.Argument(metavar="ID"), home: HomeOption = None, json_path: JsonOption = None) -> None:
    """Show where one batch stands (data steward, honest broker, expert)."""
    at = home_of(home)
    _tell(_ask(at, ShowBatch(token=read_token(at), id=batch)), json_path)


@app.command()
def look(
    batch: str = typer.Argument(metavar="ID"),
    image: str = typer.Option(..., help="An item of the review sample that waits; `intake show` lists them."),
    output: Path | None = typer.Option(None, help="A new file for a picture (PNG)."),
    home: HomeOption = None,
) -> None:
    """Look at an item of the review sample before you judge it: another data steward or an honest broker.

    Heads from the front: an honest broker, and the expert while engaged for the version; also once judged.
    """
    at = home_of(home)
    if output is not None and (output.exists() or output.is_symlink()):
        raise ConflictError("--output: wanted a new file, got one that exists; name another")
    found: ReviewItem = _ask(at, LookAtItem(token=read_token(at), id=batch, image=image))
    if found.kind == "text":
        typer.echo(found.text)
        return
    if output is None:
        raise InvalidError("--output: wanted a file for the picture, got none; name one")
    fd = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(base64.b64decode(found.picture))


@app.command()
def review(
    batch: str = typer.Argument(metavar="ID"),
    image: str = typer.Option(
        ..., help="An item of the review sample: an image's new UID, or a text; `intake show` lists them."
    ),
    clean: bool = typer.Option(..., "--clean/--not-clean", help="Nothing in it says who the patient is."),
    reason: str = typer.Option("", help="Why; with --not-clean it is needed."),
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Say whether an item of the review sample is clean (another data steward, honest broker)."""
    at = home_of(home)
    message = ReviewImage(token=read_token(at), id=batch, image=image, clean=clean, reason=reason)
    _tell(_ask(at, message), json_path)


def _ask(home: Home, message: Any) -> Any:
    return call_once(home.socket("intaked"), message)


def _tell(batch: Batch, json_path: str | None) -> None:
    if json_path:
        write_json(to_json(batch), json_path)
    words().print(_line(batch), markup=False)


def _line(batch: Batch) -> str:
    version = f" → {batch.dataset}@{batch.version}" if batch.version else f" for {batch.dataset}"
    note = f": {batch.message}" if batch.message else ""
    return f"{batch.id}{version} · {batch.state} · {batch.progress:.0%}{note}"
