"""``enclave release``: a version on its way to a project."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any, Final, cast

import typer

from enclave.cli.output import HomeOption, JsonOption, ReasonOption, home_of, words, write_json
from enclave.cli.project import ask_registry
from enclave.cli.session import read_token
from enclave.core.errors import NotFoundError, UnavailableError
from enclave.core.ids import VersionName
from enclave.runtime.home import Home
from enclave.wire.messages import registry
from enclave.wire.messages.determination import WithdrawRelease
from enclave.wire.messages.schema import to_json
from enclave.wire.messages.security_keys import ConfirmRelease, ListSecurityKeys, StepUp

app = typer.Typer(no_args_is_help=True, help="Release a version to a project.")
CONSOLE_WAIT_S: Final = 300.0
AuthenticatorOption = Annotated[
    Path | None, typer.Option("--authenticator", help="A security key in a file (for shells without a browser).")
]
ReleaseId = Annotated[str, typer.Argument(metavar="ID")]


@app.command()
def request(
    version: str = typer.Argument(metavar="NAME@V"),
    project: str = typer.Option(..., help="The project that shall open it."),
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Ask for the release of a version to a project (data steward)."""
    at, name = home_of(home), VersionName.parse(version)
    message = registry.RequestRelease(token=read_token(at), dataset=name.dataset, version=name.version, project=project)
    _tell(ask_registry(at, message), json_path)


@app.command()
def approve(
    release: ReleaseId,
    reason: ReasonOption,
    authenticator: AuthenticatorOption = None,
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Approve a release (honest broker); a security key confirms it, in the console unless --authenticator is given."""
    _decide(home_of(home), release, approve=True, reason=reason, authenticator=authenticator, json_path=json_path)


@app.command()
def refuse(
    release: ReleaseId,
    reason: ReasonOption,
    authenticator: AuthenticatorOption = None,
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Refuse a release (honest broker); a security key confirms it, in the console unless --authenticator is given."""
    _decide(home_of(home), release, approve=False, reason=reason, authenticator=authenticator, json_path=json_path)


@app.command()
def withdraw(release: ReleaseId, reason: ReasonOption, home: HomeOption = None, json_path: JsonOption = None) -> None:
    """Take an approved release back (honest broker, data steward); leases under it end within seconds."""
    at = home_of(home)
    _tell(ask_registry(at, WithdrawRelease(token=read_token(at), id=release, reason=reason)), json_path)


@app.command()
def review(
    version: str = typer.Argument(metavar="NAME@V"),
    clean: bool = typer.Option(..., "--clean/--not-clean", help="Nothing in the sample says who somebody is."),
    reason: str = typer.Option(..., help="What was looked at, and why it is so."),
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Say yes or no to the review sample of a version, once each item was seen (honest broker)."""
    at, name = home_of(home), VersionName.parse(version)
    message = registry.ReviewVersion(
        token=read_token(at), dataset=name.dataset, version=name.version, clean=clean, reason=reason
    )
    found = ask_registry(at, message)
    if json_path is not None:
        write_json(to_json(found), json_path)
    words().print(f"{name}: review sample {'clean' if clean else 'not clean'}, recorded", markup=False)


@app.command("list")
def list_releases(home: HomeOption = None, json_path: JsonOption = None) -> None:
    """List all releases, newest first."""
    at = home_of(home)
    found = ask_registry(at, registry.ListReleases(token=read_token(at)))
    if json_path is not None:
        write_json(to_json(found), json_path)
        return
    for one in found.releases:
        _tell(one, None)
    if not found.releases:
        words().print("No release was requested yet.")


def _decide(
    home: Home, release: str, *, approve: bool, reason: str, authenticator: Path | None, json_path: str | None
) -> None:
    if authenticator is None:
        _tell(_wait_for_console(home, release), json_path)
        return
    token = read_token(home)
    ask = ConfirmRelease(token=token, id=release, approve=approve, reason=reason)
    challenge, assertion = confirmation(ask_registry(home, ask), authenticator)
    message = registry.DecideRelease(
        token=token, id=release, approve=approve, reason=reason, challenge=challenge, assertion=assertion
    )
    _tell(ask_registry(home, message), json_path)


def confirmation(asked: StepUp, authenticator: Path) -> tuple[str, dict[str, Any]]:
    """The challenge and what the key in the file answers to it."""
    from enclave.keys.software_authenticator import SoftwareAuthenticator

    return asked.challenge, SoftwareAuthenticator(authenticator).confirm(asked.options, origin=asked.origin)


def _wait_for_console(home: Home, release: str) -> registry.Release:
    """Prints where to confirm and waits until the release is decided; raises ``UnavailableError`` after a while."""
    token = read_token(home)
    origin = ask_registry(home, ListSecurityKeys(token=token)).origin
    words().print(f"Decide it with your security key at {origin}/services/console/releases", markup=False)
    end = time.monotonic() + CONSOLE_WAIT_S
    while time.monotonic() < end:
        found = ask_registry(home, registry.ListReleases(token=token)).releases
        one = next((one for one in found if one.id == release), None)
        if one is None:
            raise NotFoundError("release: wanted a known one, got an id that the registry does not have")
        if one.state != "requested":
            return cast("registry.Release", one)
        time.sleep(1.0)
    raise UnavailableError("release: wanted it decided in the console within five minutes, got no decision; try again")


def _tell(release: registry.Release, json_path: str | None) -> None:
    if json_path is not None:
        write_json(to_json(release), json_path)
        return
    by = f", decided by {release.decided_by}" if release.decided_by else ""
    words().print(
        f"{release.id}  {release.dataset}@{release.version} → {release.project}: {release.state} "
        f"(requested by {release.requested_by}{by})",
        markup=False,
    )
