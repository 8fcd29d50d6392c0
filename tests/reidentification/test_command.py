"""``enclave reidentify``: pseudonyms by name or file, originals on standard output only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from enclave.cli import reidentify

ORIGINAL = "Zanaryquist"


@pytest.mark.row("S13.5")
def test_the_commands_walk_the_whole_way(stand: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    people = iter(["t-stella", "t-hana", "t-otto", "t-stella", "t-ada"])
    monkeypatch.setattr(reidentify, "read_token", lambda _: next(people))
    home = ["--home", str(stand.auditd.home.root)]
    listed = tmp_path / "subjects.txt"
    listed.write_text(f"P-{1:015d}\nP-{2:015d},P-{3:015d}\n", "utf-8")
    runner = CliRunner()

    def run(*words: str) -> Any:
        found = runner.invoke(reidentify.app, [*words, *home])
        assert found.exit_code == 0, found.output
        return found

    reason = "An incidental finding must be told."
    asked = run(
        *("request", "--dataset", "demo-ct", "--subjects", str(listed), "--reason", reason),
        *("--ticket", "IRB-17", "--json", "-", f"P-{4:015d}"),
    )
    made = json.loads(asked.stdout)
    assert len(made["subjects"]) == 4
    run("approve", made["id"])
    run("approve", made["id"])
    shown = run("show", made["id"])
    assert [line.split("\t")[1] for line in shown.stdout.splitlines()] == [f"{ORIGINAL}-{n}" for n in (1, 2, 3, 4)]
    assert ORIGINAL not in shown.stderr
    assert ORIGINAL not in run("list").output
