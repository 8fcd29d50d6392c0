"""``enclave grant``: who may open what, until when, as it follows from members, releases and certificates."""

from __future__ import annotations

import json
from typing import Any

import typer

from enclave.cli.output import HomeOption, JsonOption, home_of, words, write_json
from enclave.cli.project import ask_registry, token_of
from enclave.runtime.home import Home
from enclave.wire.messages import registry

app = typer.Typer(no_args_is_help=True, help="Who may open what, until when.")


@app.callback()
def _group() -> None:
    """Who may open what, until when."""


@app.command("list")
def list_grants(
    project: str = typer.Option("", help="Only this project."), home: HomeOption = None, json_path: JsonOption = None
) -> None:
    """List every person with every version that is released to one of their projects."""
    at = home_of(home)
    found = [one for release in _approved(at) if project in ("", release.project) for one in _grants(at, release)]
    if json_path is not None:
        write_json({"grants": found}, json_path)
        return
    for one in found:
        words().print(
            f"{one['person']}  {one['dataset']}@{one['version']} in {one['project']} ({one['project_state']}), "
            f"certificate {one['certificate_state']} until {one['until']}",
            markup=False,
        )
    if not found:
        words().print("Nobody may open anything yet.")


def _approved(home: Home) -> list[registry.Release]:
    releases = ask_registry(home, registry.ListReleases(token=token_of(home))).releases
    return [one for one in releases if one.state == "approved"]


def _grants(home: Home, release: registry.Release) -> list[dict[str, Any]]:
    token = token_of(home)
    project = ask_registry(home, registry.ShowProject(token=token, name=release.project))
    versions = ask_registry(home, registry.ListVersions(token=token, dataset=release.dataset)).versions
    version = next(one for one in versions if one.version == release.version)
    certificate = ask_registry(home, registry.ShowDetermination(token=token, id=version.certificate or ""))
    return [
        {
            "person": person,
            "role": role,
            "project": project.name,
            "project_state": project.state,
            "dataset": release.dataset,
            "version": release.version,
            "certificate": certificate.id,
            "certificate_state": certificate.state,
            "until": json.loads(certificate.text)["expires"],
        }
        for person, role in project.members.items()
    ]
