"""``enclave deid``: de-identify DICOM and tables, stand-alone. Touches no enclave."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enclave.cli.output import JsonOption, words, write_json
from enclave.core.errors import ConflictError, NotFoundError

if TYPE_CHECKING:
    from enclave.deid.job import JobResult, JobSpec

app = typer.Typer(no_args_is_help=True, help="De-identify DICOM and tables, stand-alone.")
key_app = typer.Typer(no_args_is_help=True, help="The key behind all pseudonyms.")
app.add_typer(key_app, name="key")

RecipeOption = Annotated[Path | None, typer.Option("--recipe", help="A recipe (TOML); without it the default one.")]
KeyOption = Annotated[Path, typer.Option("--key-file", help="The pseudonym key; `enclave deid key new` makes one.")]
_DONE, _WITH_FINDINGS, _BROKEN = 0, 3, 15


@app.command()
def run(  # noqa: PLR0917 - a command's options are its parameters
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...")],
    output: Annotated[Path, typer.Option(help="An empty folder for what comes out.")],
    key_file: KeyOption,
    recipe: RecipeOption = None,
    jobs: Annotated[int, typer.Option(min=1, max=256, help="Processes.")] = 1,
    scheduler: Annotated[str, typer.Option(metavar="ADDR", help="A Dask scheduler: tcp://HOST:PORT.")] = "",
    map_file: Annotated[Path | None, typer.Option("--map", help="Write the key back to patients here.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a job that was interrupted.")] = False,
    quarantine_copies: Annotated[
        bool, typer.Option("--quarantine-copies", help="Copy held-back originals, in clear, into the quarantine.")
    ] = False,
    json_path: JsonOption = None,
) -> None:
    """De-identify files and folders into OUTPUT."""
    from enclave.deid.job import JobSpec
    from enclave.deid.keyring import open_keyring

    spec = JobSpec(
        inputs=inputs,
        output=output,
        recipe=_recipe(recipe),
        keyring=open_keyring(key_file),
        jobs=jobs,
        scheduler=scheduler,
        resume=resume,
        quarantine_copies=quarantine_copies,
    )
    _check_map(map_file)
    result = _run(spec)
    if map_file is not None:
        _write_map(map_file, result.patients)
    if json_path:
        write_json(result.report, json_path)
    _tell_result(result.report)
    held = result.report["quarantined"] or result.report["canaries"]["found"]
    raise typer.Exit(_WITH_FINDINGS if held else _DONE)


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(metavar="DIR")],
    against: Annotated[list[Path], typer.Option(help="The input of the run; may be given several times.")],
    key_file: KeyOption,
    more: Annotated[list[Path] | None, typer.Argument(metavar="[INPUT...]", help="Further inputs.")] = None,
    recipe: RecipeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Compare an output with its input: nothing left, nothing lost, nothing mixed up."""
    from enclave.deid.check import check_output
    from enclave.deid.keyring import open_keyring

    inputs = [*against, *(more or [])]
    found = check_output(folder, against=inputs, keyring=open_keyring(key_file), recipe=_recipe(recipe))
    if json_path:
        write_json(found, json_path)
    for one in found["checks"]:
        words().print(f"{'ok  ' if one['ok'] else 'FAIL'} {one['id']}: {one['what']} ({one['count']})", markup=False)
    held = folder / "quarantine"
    if not found["ok"]:
        raise typer.Exit(_BROKEN)
    raise typer.Exit(_WITH_FINDINGS if held.is_dir() and any(held.iterdir()) else _DONE)


@app.command()
def explain(
    recipe: RecipeOption = None,
    tag: Annotated[str | None, typer.Option(help="One attribute, such as 0010,0010.")] = None,
    sop_class: Annotated[
        str, typer.Option(metavar="UID", help="In objects of this SOP class: a UID or keyword such as CTImageStorage.")
    ] = "",
    json_path: JsonOption = None,
) -> None:
    """Say for each attribute what happens with it, and why."""
    from enclave.deid.explain import explain_all, explain_tag

    chosen = _recipe(recipe)
    asked = {"recipe": chosen, "sop_class": sop_class}
    rows = [explain_tag(tag, **asked)] if tag else explain_all(**asked)
    if json_path:
        write_json(rows, json_path)
    else:
        for row in rows:
            words().print(f"{row['tag']}  {row['action']}  {row['name']} — {row['because']}", markup=False)


@key_app.command("new")
def new_key(key: Annotated[Path, typer.Argument(metavar="KEY")]) -> None:
    """Make a new pseudonym key; never overwrites one."""
    from enclave.keys.files import new_symmetric

    new_symmetric(key)
    words().print(f"Made a pseudonym key in {key}. Who has it can link pseudonyms to patients: keep it apart.")


def _recipe(path: Path | None) -> Any:
    from enclave.deid.recipe import Recipe, read_recipe

    return read_recipe(path) if path else Recipe()


def _reason(reason: str) -> str:
    from enclave.deid.reasons import REASONS

    return REASONS.get(reason, "")


def _run(spec: JobSpec) -> JobResult:
    from dataclasses import replace

    from enclave.cli.progress import Progress
    from enclave.deid.job import run_job

    with Progress() as progress:
        return run_job(replace(spec, reading=progress.reading, looking=progress.looking, progress=progress.cleaning))


def _tell_result(report: dict[str, Any]) -> None:
    words().print(
        f"{report['files_out']} of {report['files_in']} files clean, {report['quarantined']} held back, "
        f"{report['seconds']:.1f} s",
        markup=False,
    )
    words().print(f"  {_long_text(report)}", markup=False)
    kinds = len(report["private_removed"]["elements"])
    if kinds:
        words().print(f"  {kinds} kinds of private elements removed; --json says how telling each is", markup=False)
    for reason, count in sorted(report["reasons"].items()):
        words().print(f"  {count} × {reason}: {_reason(reason)}", markup=False)


def _long_text(report: dict[str, Any]) -> str:
    if report["long_text"]["by"] == "detectors":
        count = report["redactions"].get("review", 0)
        return f"running text: by detectors; {count} texts are cleaned and wait for a person to read them"
    missing = " (the language model is not installed)" if report["long_text"]["asked"] == "auto" else ""
    return f"running text: known words only{missing}"


def _check_map(path: Path | None) -> None:
    """Before hours of work, not after."""
    if path is not None and (path.exists() or path.is_symlink()):
        raise ConflictError("deid --map: wanted a new file, got one that exists; name another")
    if path is not None and not path.parent.is_dir():
        raise NotFoundError("deid --map: wanted a folder to write into, got none there")


def _write_map(path: Path, patients: dict[str, tuple[str, int]]) -> None:
    """The key back, for its owner's eyes only."""
    rows = [
        {"original_id": original, "pseudonym": pseudonym, "offset_days": days}
        for original, (pseudonym, days) in sorted(patients.items())
    ]
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        json.dump(rows, file, indent=2, ensure_ascii=False)
        file.write("\n")
