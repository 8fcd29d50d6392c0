"""``enclave grant``: who of a project may open a version, until when."""

from __future__ import annotations

from typing import Annotated

import typer

from enclave.cli.output import HomeOption, JsonOption, ReasonOption, home_of, words, write_json
from enclave.cli.project import ask_registry
from enclave.cli.session import read_token
from enclave.core.ids import VersionName
from enclave.runtime.home import Home
from enclave.wire.messages import grants
from enclave.wire.messages.schema import to_json

app = typer.Typer(
    no_args_is_help=True,
    help="Who may open what, until when.",
    epilog="A release grants its version to the members of then; who joins later needs a grant of their own.",
)
GrantId = Annotated[str, typer.Argument(metavar="ID")]


@app.command()
def add(
    person: str,
    version: str = typer.Argument(metavar="NAME@V"),
    project: str = typer.Option(..., help="The project that the person works in."),
    until: str = typer.Option("", help="When it ends (RFC 3339, or a day); default: with the certificate."),
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Ask for a grant for a member of a project (data steward); an honest broker approves it."""
    at, name = home_of(home), VersionName.parse(version)
    message = grants.RequestGrant(
        token=read_token(at),
        dataset=name.dataset,
        version=name.version,
        project=project,
        person=person,
        until=f"{until}T00:00:00Z" if len(until) == len("2026-11-22") else until,
    )
    _tell(ask_registry(at, message), json_path)


@app.command()
def approve(grant: GrantId, reason: ReasonOption, home: HomeOption = None, json_path: JsonOption = None) -> None:
    """Approve a grant (honest broker)."""
    _decide(home_of(home), grant, approve=True, reason=reason, json_path=json_path)


@app.command()
def refuse(grant: GrantId, reason: ReasonOption, home: HomeOption = None, json_path: JsonOption = None) -> None:
    """Refuse a grant (honest broker)."""
    _decide(home_of(home), grant, approve=False, reason=reason, json_path=json_path)


@app.command()
def revoke(grant: GrantId, reason: ReasonOption, home: HomeOption = None, json_path: JsonOption = None) -> None:
    """Take a grant away (data steward or honest broker); lease and kernel end within seconds."""
    at = home_of(home)
    _tell(ask_registry(at, grants.RevokeGrant(token=read_token(at), id=grant, reason=reason)), json_path)


@app.command("list")
def list_grants(
    project: str = typer.Option("", help="Only of this project."), home: HomeOption = None, json_path: JsonOption = None
) -> None:
    """List all grants, newest first, and whether each opens its version now."""
    at = home_of(home)
    found = ask_registry(at, grants.ListGrants(token=read_token(at), project=project or None))
    if json_path is not None:
        write_json(to_json(found), json_path)
        return
    for one in found.grants:
        _tell(one, None)
    if not found.grants:
        words().print("Nobody was granted anything yet.")


def _decide(home: Home, grant: str, *, approve: bool, reason: str, json_path: str | None) -> None:
    message = grants.DecideGrant(token=read_token(home), id=grant, approve=approve, reason=reason)
    _tell(ask_registry(home, message), json_path)


def _tell(grant: grants.Grant, json_path: str | None) -> None:
    if json_path is not None:
        write_json(to_json(grant), json_path)
        return
    now = "opens" if grant.opens == "ok" else f"does not open: {grant.opens.replace('_', ' ')}"
    by = f", decided by {grant.decided_by}" if grant.decided_by else ""
    words().print(
        f"{grant.id}  {grant.person}: {grant.dataset}@{grant.version} in {grant.project}, {grant.state}"
        f"{f' until {grant.until}' if grant.until else ''}; {now} (requested by {grant.requested_by}{by})",
        markup=False,
    )
