"""``enclave project``: projects and their members."""

from __future__ import annotations

from typing import Any

import typer

from enclave.cli.output import HomeOption, JsonOption, home_of, words, write_json
from enclave.runtime.home import Home
from enclave.wire.client import WireClient
from enclave.wire.messages import registry
from enclave.wire.messages.schema import to_json

app = typer.Typer(no_args_is_help=True, help="Projects and their members.")
member = typer.Typer(no_args_is_help=True, help="Who belongs to a project.")
app.add_typer(member, name="member")


def ask_registry(home: Home, message: Any) -> Any:
    """One answer of registryd; raises what it raised."""
    client = WireClient(home.socket("registryd"))
    try:
        return client.call(message)
    finally:
        client.close()


def token_of(home: Home) -> str:
    """The signed-in person's token; raises ``DeniedError`` when nobody is."""
    from enclave.cli.session import read_token

    return read_token(home)


@app.command()
def create(
    name: str,
    title: str = typer.Option(..., help="What people call it."),
    purpose: str = typer.Option(..., help="What its data are used for."),
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Create a project (data steward)."""
    at = home_of(home)
    message = registry.CreateProject(token=token_of(at), name=name, title=title, purpose=purpose)
    _tell(ask_registry(at, message), json_path)


@app.command()
def show(name: str, home: HomeOption = None, json_path: JsonOption = None) -> None:
    """Show a project and its members."""
    at = home_of(home)
    _tell(ask_registry(at, registry.ShowProject(token=token_of(at), name=name)), json_path)


@app.command()
def close(name: str, home: HomeOption = None, json_path: JsonOption = None) -> None:
    """Close a project (data steward); everything opened in it ends."""
    at = home_of(home)
    _tell(ask_registry(at, registry.CloseProject(token=token_of(at), name=name)), json_path)


@member.command("add")
def member_add(
    name: str,
    person: str,
    role: str = typer.Option("researcher", help="The role in the project."),
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Add a person to a project (data steward, not for themselves)."""
    at = home_of(home)
    message = registry.AddMember(token=token_of(at), name=name, person=person, role=role)
    _tell(ask_registry(at, message), json_path)


@member.command("remove")
def member_remove(name: str, person: str, home: HomeOption = None, json_path: JsonOption = None) -> None:
    """Remove a person from a project (data steward)."""
    at = home_of(home)
    _tell(ask_registry(at, registry.RemoveMember(token=token_of(at), name=name, person=person)), json_path)


def _tell(project: registry.Project, json_path: str | None) -> None:
    if json_path is not None:
        write_json(to_json(project), json_path)
        return
    members = ", ".join(f"{person} ({role})" for person, role in project.members.items()) or "none yet"
    words().print(f"Project {project.name}, {project.state}. Members: {members}.", markup=False)
