"""``enclave audit export`` and ``archive``: the ledger for an inspector, a SIEM, or the years to come."""

from __future__ import annotations

import dataclasses
import enum
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from enclave.cli.audit_log import LogOption, VkeyOption, counted, tell_verdict, verifier_key
from enclave.cli.output import HomeOption, JsonOption, home_of, words, write_json
from enclave.core.errors import ConflictError, InvalidError, UnavailableError
from enclave.runtime.home import Home

OutputOption = Annotated[Path, typer.Option("--output", metavar="DIR", help="Where to write; `export` wants it new.")]


class Format(enum.StrEnum):
    """What an export holds."""

    LOG = "log"
    JSONL = "jsonl"
    PARQUET = "parquet"
    OCSF = "ocsf"


def export(
    *,
    output: OutputOption,
    since: Annotated[
        str, typer.Option("--from", metavar="TIME", help="Only events received from here on (RFC 3339 or a day).")
    ] = "",
    until: Annotated[str, typer.Option("--to", metavar="TIME", help="Only events received before this.")] = "",
    form: Annotated[
        Format,
        typer.Option(
            "--format",
            help="log: files for `verify --log`; jsonl, parquet: a proven range; ocsf: jsonl, and the same for a SIEM.",
        ),
    ] = Format.LOG,
    log: LogOption = None,
    vkey_file: VkeyOption = None,
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Take the ledger, or a period of it, away with its proof: no bodies, no keys. `verify_export.py` comes along."""
    from enclave.audit.export import Source, in_period

    if output.exists():
        raise ConflictError(f"export: wanted a new folder, got one that exists: {output}; choose another")
    if form is Format.LOG:
        if since or until:
            raise InvalidError("export: wanted the whole log, got a period; choose another --format")
        _export_log(log, vkey_file, home, output, json_path)
        return
    begins, ends = moment(since), moment(until)
    key = verifier_key(log, vkey_file, home)
    _tell(log, home, detail={"format": str(form), "since": since, "until": until})
    source = Source(log if log is not None else home_of(home).state("audit"), key=key)
    records = in_period(source.records(), since=begins, until=ends)
    made = source.export(records, output, table=form is Format.PARQUET, siem=form is Format.OCSF)
    if json_path is not None:
        write_json(_told(made), json_path)
    _say(output, f"Wrote events {made.first} to {made.end - 1} of {made.size} to {output}.")


def _say(output: Path, wrote: str) -> None:
    words().print(wrote, markup=False)
    words().print(f"Check it anywhere: python3 {output / 'verify_export.py'} {output} --vkey FILE", markup=False)


def archive(
    *,
    output: OutputOption,
    before: Annotated[
        str, typer.Option("--before", metavar="YYYY-MM", help="Only months before this one; default: this month.")
    ] = "",
    log: LogOption = None,
    vkey_file: VkeyOption = None,
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Write each whole month as Parquet (`year=/month=`) with its proof; months that are there are left alone."""
    from enclave.audit import export as exports
    from enclave.runtime.clock import SystemClock

    ends = moment(f"{before}-01") if before else SystemClock().now()
    key = verifier_key(log, vkey_file, home)
    _tell(log, home, detail={"format": "archive", "until": before})
    source = exports.Source(log if log is not None else home_of(home).state("audit"), key=key)
    made = exports.archive(source, output, before=ends or SystemClock().now())
    if json_path is not None:
        write_json([_told(one) for one in made], json_path)
    for one in made:
        words().print(f"{one.path}: events {one.first} to {one.end - 1}", markup=False)
    words().print(f"Archived {counted(len(made), 'month')}.")


def _export_log(
    log: Path | None, vkey_file: Path | None, home: Path | None, output: Path, json_path: str | None
) -> None:
    from enclave.audit.export import Source, write_entries
    from enclave.audit.verify import log_folder, verify_log

    key = verifier_key(log, vkey_file, home)
    _tell(log, home, detail={"format": "log"})
    _copy(log_folder(log if log is not None else home_of(home).state("audit")), output)
    verdict = verify_log(output, key=key)
    if verdict.ok:
        write_entries(Source(output, key=key), output / "log")
    if json_path is not None:
        write_json({"path": str(output), **dataclasses.asdict(verdict)}, json_path)
    tell_verdict(verdict, whole=f"Copied {counted(verdict.size, 'event')} to {output}.")


def _copy(source: Path, output: Path) -> None:
    """What may only be older first: history, then checkpoint and tiles, then records. Partial tiles come and go."""
    for attempt in range(5):
        try:
            (output / "log").mkdir(parents=True)
            for name in ("history.jsonl", "cosigned"):
                if (source / "log" / name).is_dir():
                    shutil.copytree(source / "log" / name, output / "log" / name)
                elif (source / "log" / name).exists():
                    shutil.copyfile(source / "log" / name, output / "log" / name)
            skipped = shutil.ignore_patterns("*.part", "history.jsonl", "cosigned")
            shutil.copytree(source / "log", output / "log", ignore=skipped, dirs_exist_ok=True)
            shutil.copytree(source / "segments", output / "segments")
            shutil.copyfile(source / "origin", output / "origin")
        except OSError as error:
            shutil.rmtree(output, ignore_errors=True)
            if attempt == 4:
                raise UnavailableError(f"export: wanted to copy the ledger, got {type(error).__name__}") from None
        else:
            return


def _tell(log: Path | None, home: Path | None, *, detail: dict[str, Any]) -> None:
    """Taking an enclave's own ledger away is an event first; a copy of it is nobody's any more."""
    from enclave.audit.client import AuditClient

    if log is not None:
        return
    at: Home = home_of(home)
    ledger = AuditClient(at.socket("auditd"))
    told = {name: value for name, value in detail.items() if value}
    try:
        ledger.record("audit.export", actor="operator", role="operator", detail=told)
    finally:
        ledger.close()


def moment(text: str) -> datetime | None:
    """The time that ``text`` says, in UTC; None for none; raises ``InvalidError``."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidError("time: wanted one such as 2026-11-22T12:00:00Z or 2026-11-22, got another form") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)


def _told(made: Any) -> dict[str, Any]:
    return {"path": str(made.path), "first": made.first, "end": made.end, "size": made.size}


COMMANDS = (export, archive)
