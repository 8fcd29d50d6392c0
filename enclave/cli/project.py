"""``enclave project``: projects and their members."""

from __future__ import annotations

from typing import Any

import typer

from enclave.cli.output import HomeOption, JsonOption, TicketOption, home_of, ticket_of, words, write_json
from enclave.cli.session import read_token
from enclave.runtime.home import Home
from enclave.wire.client import call_once
from enclave.wire.messages import projects
from enclave.wire.messages.schema import to_json

app = typer.Typer(no_args_is_help=True, help="Projects and their members.")
member = typer.Typer(no_args_is_help=True, help="Who belongs to a project.")
app.add_typer(member, name="member")


def ask_registry(home: Home, message: Any) -> Any:
    """One answer of registryd; raises what it raised."""
    return call_once(home.socket("registryd"), message)


@app.command()
def create(
    name: str,
    title: str = typer.Option(..., help="What people call it."),
    purpose: str = typer.Option(..., help="What its data are used for."),
    ticket: TicketOption = None,
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Create a project (data steward)."""
    at = home_of(home)
    message = projects.CreateProject(
        token=read_token(at), name=name, title=title, purpose=purpose, ticket=ticket_of(ticket)
    )
    _tell(ask_registry(at, message), json_path)


@app.command()
def show(name: str, home: HomeOption = None, json_path: JsonOption = None) -> None:
    """Show a project and its members."""
    at = home_of(home)
    _tell(ask_registry(at, projects.ShowProject(token=read_token(at), name=name)), json_path)


@app.command()
def close(name: str, ticket: TicketOption = None, home: HomeOption = None, json_path: JsonOption = None) -> None:
    """Close a project (data steward); everything opened in it ends."""
    at = home_of(home)
    _tell(ask_registry(at, projects.CloseProject(token=read_token(at), name=name, ticket=ticket_of(ticket))), json_path)


@member.command("add")
def member_add(
    name: str,
    person: str,
    role: str = typer.Option("researcher", help="The role in the project."),
    ticket: TicketOption = None,
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Add a person to a project (data steward, not for themselves)."""
    at = home_of(home)
    message = projects.AddMember(token=read_token(at), name=name, person=person, role=role, ticket=ticket_of(ticket))
    _tell(ask_registry(at, message), json_path)


@member.command("remove")
def member_remove(
    name: str, person: str, ticket: TicketOption = None, home: HomeOption = None, json_path: JsonOption = None
) -> None:
    """Remove a person from a project (data steward)."""
    at = home_of(home)
    _tell(
        ask_registry(
            at, projects.RemoveMember(token=read_token(at), name=name, person=person, ticket=ticket_of(ticket))
        ),
        json_path,
    )


def _tell(project: projects.Project, json_path: str | None) -> None:
    if json_path is not None:
        write_json(to_json(project), json_path)
        return
    members = ", ".join(f"{person} ({role})" for person, role in project.members.items()) or "none yet"
    words().print(f"Project {project.name}, {project.state}. Members: {members}.", markup=False)
