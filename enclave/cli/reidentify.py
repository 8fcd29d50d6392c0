"""``enclave reidentify``: break-glass, the one way back from pseudonyms to patients."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import typer

from enclave.cli.output import HomeOption, JsonOption, home_of, words, write_json
from enclave.cli.session import read_token
from enclave.core.errors import InvalidError
from enclave.runtime.home import Home
from enclave.wire.client import call_once
from enclave.wire.messages import vault
from enclave.wire.messages.schema import to_json

app = typer.Typer(no_args_is_help=True, help="Break-glass: learn who is behind pseudonyms.")
_MAX_FILE = 64 * 1024


@app.command()
def request(
    dataset: str = typer.Option(..., help="The dataset that the pseudonyms are of."),
    subjects: list[str] = typer.Option(..., metavar="FILE|ID", help="A pseudonym, or a file of them; repeatable."),
    reason: str = typer.Option(..., help="Why; two other people judge it."),
    ticket: str = typer.Option(..., help="The ticket under which it is done."),
    more: list[str] = typer.Argument(None, metavar="[ID]...", help="More pseudonyms."),
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Ask to learn who is behind up to 50 pseudonyms (data steward, honest broker)."""
    at = home_of(home)
    message = vault.RequestBreakGlass(
        token=read_token(at),
        dataset=dataset,
        subjects=tuple(one for given in (*subjects, *(more or ())) for one in _pseudonyms(given)),
        reason=reason,
        ticket=ticket,
    )
    _tell(_ask(at, message), json_path)


@app.command()
def approve(
    request_id: str = typer.Argument(metavar="ID"), home: HomeOption = None, json_path: JsonOption = None
) -> None:
    """Approve a request of somebody else (honest broker, data steward, operator); two open it."""
    at = home_of(home)
    _tell(_ask(at, vault.ApproveBreakGlass(token=read_token(at), id=request_id)), json_path)


@app.command()
def refuse(
    request_id: str = typer.Argument(metavar="ID"),
    reason: str = typer.Option(..., help="Why not."),
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Refuse a request of somebody else (honest broker, data steward, operator); one refusal ends it."""
    at = home_of(home)
    _tell(_ask(at, vault.RefuseBreakGlass(token=read_token(at), id=request_id, reason=reason)), json_path)


@app.command()
def alarms(
    acknowledge: str = typer.Option("", metavar="ID", help="Say that you have seen this one."),
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Show the alarms that you have not acknowledged (auditor, data steward)."""
    at = home_of(home)
    if acknowledge:
        _ask(at, vault.AcknowledgeAlarm(token=read_token(at), id=acknowledge))
    found = _ask(at, vault.ListAlarms(token=read_token(at)))
    if json_path is not None:
        write_json(to_json(found), json_path)
    for one in found.alarms:
        words().print(f"{one.id}  {one.at}  {one.stage} by {one.actor}: {one.reason} × {one.times}", markup=False)


@app.command()
def show(request_id: str = typer.Argument(metavar="ID"), home: HomeOption = None, json_path: JsonOption = None) -> None:
    """Show the originals to the requester: while it is open, a few times, each one an alarm."""
    at = home_of(home)
    found: vault.Revealed = _ask(at, vault.ShowBreakGlass(token=read_token(at), id=request_id))
    if json_path is not None:
        write_json(to_json(found), json_path)
    else:
        for one in found.subjects:
            typer.echo(f"{one.pseudonym}\t{', '.join(one.original_ids)}\t{one.offset_days:+d} days")
    words().print(f"Open until {found.until}; may be shown {found.shows_left} more times.", markup=False)


@app.command()
def review(
    request_id: str = typer.Argument(metavar="ID"),
    finding: str = typer.Option(..., help="What the review found."),
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Close a request that is spent or over, with a finding (auditor without a part in it)."""
    at = home_of(home)
    _tell(_ask(at, vault.ReviewBreakGlass(token=read_token(at), id=request_id, finding=finding)), json_path)


@app.command("list")
def list_requests(home: HomeOption = None, json_path: JsonOption = None) -> None:
    """List all requests, newest first (data steward, honest broker, operator, auditor)."""
    at = home_of(home)
    found = _ask(at, vault.ListBreakGlass(token=read_token(at)))
    if json_path is not None:
        write_json(to_json(found), json_path)
        return
    for one in found.requests:
        _tell(one, None)
    if not found.requests:
        words().print("Nobody has asked for break-glass yet.")


def _pseudonyms(given: str) -> list[str]:
    """The words of a file, or the one pseudonym that was given."""
    path = Path(given)
    if os.sep not in given and not path.is_file():
        return [given]
    try:
        if path.stat().st_size > _MAX_FILE:
            raise InvalidError("--subjects: wanted a file of at most 50 pseudonyms, got a larger one")
        return path.read_text("utf-8").replace(",", " ").split()
    except (OSError, UnicodeDecodeError):
        raise InvalidError("--subjects: wanted a text file of pseudonyms, got one that cannot be read") from None


def _ask(home: Home, message: Any) -> Any:
    return call_once(home.socket("vaultd"), message)


def _tell(found: vault.BreakGlass, json_path: str | None) -> None:
    if json_path is not None:
        write_json(to_json(found), json_path)
        return
    by = ", ".join(found.approvers) or "nobody yet"
    words().print(
        f"{found.id}  {found.dataset}: {found.state} · {len(found.subjects)} subjects · ticket {found.ticket}\n"
        f"    requested by {found.requested_by}, approved by {by}: {found.reason}",
        markup=False,
    )
