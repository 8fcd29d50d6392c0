"""``enclave release``: a version on its way to a project."""

from __future__ import annotations

import typer

from enclave.cli.output import HomeOption, JsonOption, home_of, words, write_json
from enclave.cli.project import ask_registry, token_of
from enclave.core.ids import VersionName
from enclave.wire.messages import registry
from enclave.wire.messages.schema import to_json

app = typer.Typer(no_args_is_help=True, help="Release a version to a project.")


@app.command()
def request(
    version: str = typer.Argument(metavar="NAME@V"),
    project: str = typer.Option(..., help="The project that shall open it."),
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Ask for the release of a version to a project (data steward)."""
    at, name = home_of(home), VersionName.parse(version)
    message = registry.RequestRelease(token=token_of(at), dataset=name.dataset, version=name.version, project=project)
    _tell(ask_registry(at, message), json_path)


@app.command()
def approve(
    release: str = typer.Argument(metavar="ID"),
    reason: str = typer.Option(..., help="Why."),
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Approve a release (honest broker)."""
    at = home_of(home)
    message = registry.DecideRelease(token=token_of(at), id=release, approve=True, reason=reason)
    _tell(ask_registry(at, message), json_path)


@app.command()
def refuse(
    release: str = typer.Argument(metavar="ID"),
    reason: str = typer.Option(..., help="Why."),
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Refuse a release (honest broker)."""
    at = home_of(home)
    message = registry.DecideRelease(token=token_of(at), id=release, approve=False, reason=reason)
    _tell(ask_registry(at, message), json_path)


@app.command("list")
def list_releases(home: HomeOption = None, json_path: JsonOption = None) -> None:
    """List all releases, newest first."""
    at = home_of(home)
    found = ask_registry(at, registry.ListReleases(token=token_of(at)))
    if json_path is not None:
        write_json(to_json(found), json_path)
        return
    for one in found.releases:
        _tell(one, None)
    if not found.releases:
        words().print("No release was requested yet.")


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
