"""``enclave egress`` with a sign-in of its own: what people do from a shell."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from enclave.cli.egress import app
from enclave.cli.session import Session, write_session
from enclave.core.errors import ConflictError, DeniedError


@pytest.fixture
def shell(airlock: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs one command as a person; raises the command's own error."""

    def run(person: str, *arguments: str) -> str:
        monkeypatch.setenv("ENCLAVE_SESSION", str(tmp_path / f"{person}.json"))
        session = Session(token=f"token-{person}", person=person, expires=int(time.time()) + 60)
        write_session(airlock.home, session)
        result = CliRunner().invoke(app, [*arguments, "--home", str(airlock.home.root)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.stdout

    return run


def test_a_request_goes_its_way_from_shells(airlock: Any, shell: Any, tmp_path: Path) -> None:
    request = airlock.submit().id
    listed = json.loads(shell("olga", "list", "--json", "-"))["requests"]
    assert [one["id"] for one in listed] == [request]
    shell("olga", "vote", request, "approve", "--reason", "fine")
    assert json.loads(shell("omar", "vote", request, "approve", "--reason", "ok", "--json", "-"))["state"] == "released"
    target = tmp_path / "out.zip"
    shell("rosa", "deliver", request, "--output", str(target))
    assert target.read_bytes()[:2] == b"PK"
    assert target.stat().st_mode & 0o777 == 0o600
    with pytest.raises(DeniedError):
        shell("rosa", "deliver", request, "--output", str(tmp_path / "again.zip"))
    assert not (tmp_path / "again.zip").exists()


def test_a_file_in_the_way_does_not_use_the_delivery_up(airlock: Any, shell: Any, tmp_path: Path) -> None:
    request = airlock.released()
    target = tmp_path / "out.zip"
    target.write_text("mine")
    with pytest.raises(ConflictError):
        shell("rosa", "deliver", request, "--output", str(target))
    assert target.read_text() == "mine"
    assert json.loads(shell("rosa", "show", request, "--json", "-"))["state"] == "released"


def test_an_author_withdraws_from_a_shell(airlock: Any, shell: Any) -> None:
    request = airlock.submit().id
    assert json.loads(shell("rosa", "withdraw", request, "--json", "-"))["state"] == "withdrawn"


def test_files_are_not_handed_in_from_a_shell(shell: Any) -> None:
    with pytest.raises(DeniedError, match="notebook"):
        app(["submit"], standalone_mode=False)
