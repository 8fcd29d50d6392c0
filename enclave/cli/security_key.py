"""``enclave security-key``: enrol the key that confirms single acts, vouch for somebody else, end a lost one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from enclave.cli.output import HomeOption, JsonOption, home_of, words, write_file, write_json
from enclave.cli.project import ask_registry
from enclave.cli.session import read_token
from enclave.core.errors import NotFoundError
from enclave.wire.messages import security_keys as messages
from enclave.wire.messages.schema import to_json

app = typer.Typer(no_args_is_help=True, help="Enrol and end security keys.")
PUBLIC_FORM = "enclave-security-key-v1"
KeyId = Annotated[str, typer.Argument(metavar="ID")]


@app.command()
def code(
    person: str = typer.Argument(help="Whom you vouch for."), home: HomeOption = None, json_path: JsonOption = None
) -> None:
    """Make a code with which somebody else enrols one key within 24 hours (data steward, operator)."""
    at = home_of(home)
    found = ask_registry(at, messages.IssueCode(token=read_token(at), person=person))
    if json_path is not None:
        write_json(to_json(found), json_path)
        return
    words().print(f"{found.code}  for {found.person}, until {found.expires}; it is not shown again", markup=False)


@app.command()
def enrol(
    code: str = typer.Option("", help="The code that another person gave you."),
    authenticator: Path | None = typer.Option(None, help="Make a key in this file (for shells without a browser)."),
    label: str = typer.Option("in a file", help="A name for the key."),
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Enrol a security key: in the console, or with --authenticator a key in a file."""
    from enclave.keys.software_authenticator import SoftwareAuthenticator

    at = home_of(home)
    token = read_token(at)
    if authenticator is None:
        origin = ask_registry(at, messages.ListSecurityKeys(token=token)).origin
        words().print(f"Enrol your key at {origin}/services/console/security-keys", markup=False)
        return
    begun = ask_registry(at, messages.BeginEnrolment(token=token))
    key = SoftwareAuthenticator.make(authenticator)
    try:
        response = key.register(begun.options, origin=begun.origin)
        message = messages.Enrol(token=token, code=code, challenge=begun.challenge, response=response, label=label)
        _tell(ask_registry(at, message), json_path)
    except BaseException:
        authenticator.unlink()  # a key that nobody knows confirms nothing
        raise


@app.command("list")
def list_keys(home: HomeOption = None, json_path: JsonOption = None) -> None:
    """List your own security keys."""
    at = home_of(home)
    found = ask_registry(at, messages.ListSecurityKeys(token=read_token(at)))
    if json_path is not None:
        write_json(to_json(found), json_path)
        return
    for key in found.keys:
        _tell(key, None)
    if not found.keys:
        words().print("You have no security key yet; ask a data steward or an operator for a code.")


@app.command()
def revoke(key: KeyId, home: HomeOption = None, json_path: JsonOption = None) -> None:
    """End a key: your own, or as data steward or operator a lost one of somebody else."""
    at = home_of(home)
    _tell(ask_registry(at, messages.RevokeSecurityKey(token=read_token(at), id=key)), json_path)


@app.command()
def export(
    key: KeyId, output: Path = typer.Option(..., help="The .pub file to write."), home: HomeOption = None
) -> None:
    """Write the public half of one of your keys, for `enclave determination trust`."""
    at = home_of(home)
    found = ask_registry(at, messages.ListSecurityKeys(token=read_token(at))).keys
    one = next((one for one in found if one.id == key), None)
    if one is None:
        raise NotFoundError("security key: wanted one of yours, got another id")
    write_file(output, f"{PUBLIC_FORM} {one.public_key}\n".encode("ascii"))
    words().print(f"Wrote {output.name}.")


def _tell(key: messages.SecurityKey, json_path: str | None) -> None:
    if json_path is not None:
        write_json(to_json(key), json_path)
        return
    words().print(f"{key.id}  {key.label}, of {key.person}, vouched for by {key.issued_by}", markup=False)
