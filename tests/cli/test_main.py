"""The command ``enclave`` itself: its table of commands, its usage errors, its exit codes, its ``--json``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from enclave.cli import main
from enclave.cli.output import write_json
from enclave.core.errors import (
    ConflictError,
    DeniedError,
    EnclaveError,
    IntegrityError,
    InvalidError,
    NotFoundError,
    UnavailableError,
)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as a process of its own."""
    return subprocess.run(
        (sys.executable, "-m", "enclave.cli.main", *arguments), capture_output=True, text=True, timeout=60, check=False
    )


def test_help_lists_every_command_with_its_line() -> None:
    shown = " ".join(CliRunner().invoke(main.app, ["--help"], terminal_width=200).output.split())
    for name, (_, summary) in main.COMMANDS.items():
        assert f" {name} " in shown
        assert summary.rstrip(".")[:40] in shown


@pytest.mark.parametrize("name", sorted(main.COMMANDS))
def test_every_command_loads_and_helps(name: str) -> None:
    done = CliRunner().invoke(main.app, [name, "--help"])
    assert done.exit_code == 0, done.output
    assert "Usage:" in done.output
    assert main.load(name).help


def test_help_imports_no_command() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from enclave.cli import main;"
        "CliRunner().invoke(main.app, ['--help']);"
        "print([m for m in sys.modules if m in ('duckdb', 'pyarrow', 'pydicom', 'numpy', 'enclave.cli.demo')])"
    )
    done = subprocess.run((sys.executable, "-c", code), capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_command_is_a_usage_error_that_names_the_nearest() -> None:
    done = run("deidd")
    assert done.returncode == 2
    assert "deid" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_option_is_a_usage_error() -> None:
    assert run("audit", "verify", "--nonsense").returncode == 2


def test_without_a_home_a_command_says_what_to_run(tmp_path: Path) -> None:
    done = run("--home", str(tmp_path), "dataset", "list")
    assert done.returncode == 11
    assert "enclave init" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("family", "code"),
    [
        (DeniedError, 10),
        (NotFoundError, 11),
        (InvalidError, 12),
        (ConflictError, 13),
        (UnavailableError, 14),
        (IntegrityError, 15),
    ],
)
def test_each_family_of_errors_has_its_exit_code_and_its_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], family: type[EnclaveError], code: int
) -> None:
    def fail() -> None:
        raise family("thing: wanted [one], got none; do this")

    monkeypatch.setattr(main, "app", fail)
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == code
    said = capsys.readouterr()
    assert "thing: wanted [one], got none; do this" in said.err
    assert said.out == ""


def test_an_interrupted_command_ends_as_shells_expect(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(main, "app", interrupt)
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 130


def unwritable(root: Path) -> dict[str, Path]:
    """Places where no file can be made, for whoever runs this."""
    (root / "folder").mkdir()
    (root / "file").write_text("kept")
    return {
        "no such folder": root / "none" / "out.json",
        "a folder": root / "folder",
        "below a file": root / "file" / "out.json",
        "too long": root / ("x" * 300),
        "the root": Path("/"),
    }


@pytest.mark.parametrize("kind", ["no such folder", "a folder", "below a file", "too long", "the root"])
def test_json_to_a_place_that_cannot_be_written_is_a_clear_error_and_leaves_nothing(tmp_path: Path, kind: str) -> None:
    path = unwritable(tmp_path)[kind]
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UnavailableError, match="--json"):
        write_json({"a": 1}, str(path))
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "file").read_text() == "kept"
    assert not list(Path("/").glob(".enclave-write*"))


@pytest.mark.parametrize("name", ["out.json", "x" * 250])
def test_json_replaces_a_file_as_a_whole(tmp_path: Path, name: str) -> None:
    target = tmp_path / name
    target.write_text("old")
    write_json({"b": [1, None], "a": "ü"}, str(target))
    assert target.read_text("utf-8") == '{\n  "a": "ü",\n  "b": [\n    1,\n    null\n  ]\n}\n'
    assert list(tmp_path.iterdir()) == [target]


def test_json_to_standard_output_is_nothing_but_json(capsys: pytest.CaptureFixture[str]) -> None:
    value: Any = {"a": 1}
    write_json(value, "-")
    assert capsys.readouterr() == ('{\n  "a": 1\n}\n', "")
