"""``enclave egress``: check files stand-alone; see, judge and fetch what wants to leave."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import typer

from enclave.cli.egress_check import check_file
from enclave.cli.output import HomeOption, JsonOption, home_of, words, write_json
from enclave.cli.session import read_token
from enclave.core.errors import ConflictError, DeniedError, UnavailableError
from enclave.disclosure.findings import Judged, highest_verdict
from enclave.runtime.home import Home
from enclave.wire.client import WireClient, call_once
from enclave.wire.messages import airlock as messages
from enclave.wire.messages.schema import to_json

app = typer.Typer(no_args_is_help=True, help="Check, review and deliver results.")
EXIT_OF = {"pass": 0, "review": 3, "block": 4}


@app.command()
def check(
    files: list[Path] = typer.Argument(metavar="FILE...", help="Files that shall leave."),
    json_path: JsonOption = None,
) -> None:
    """Check files as the airlock would, without an enclave. Exit code 0 pass, 3 review, 4 block."""
    results = [(path, check_file(path)) for path in files]
    if json_path is not None:
        write_json({"files": [_as_json(path, judged) for path, judged in results]}, json_path)
    for path, judged in results:
        _tell_check(path, judged)
    raise typer.Exit(EXIT_OF[highest_verdict(judged.verdict for _, judged in results)])


@app.command()
def submit() -> None:
    """Files are handed in from a notebook only: this command says how."""
    raise DeniedError(
        'egress submit: wanted a kernel, got a shell; in a notebook: enclave.submit("figure.png", title="…", '
        'purpose="…", description="…")',
        code="kernels_only",
    )


@app.command("list")
def list_requests(
    project: str | None = typer.Option(None, help="Only of this project."),
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """List what you may see: your own requests, and as output checker or auditor those of others."""
    at = home_of(home)
    found = _ask(at, messages.ListRequests(token=read_token(at), project=project))
    if json_path is not None:
        write_json(to_json(found), json_path)
        return
    for one in found.requests:
        words().print(
            f"{one.id}  {one.state:<16} {one.verdict:<7} {one.author}  {one.project}  {one.title}", markup=False
        )
    if not found.requests:
        words().print("Nothing has been handed in.")


@app.command()
def show(
    request: str = typer.Argument(metavar="ID"),
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Show one request with its files, findings and what you may see of its votes."""
    at = home_of(home)
    _tell_request(_ask(at, messages.ShowRequest(token=read_token(at), id=request)), json_path)


@app.command()
def vote(
    request: str = typer.Argument(metavar="ID"),
    choice: str = typer.Argument(metavar="approve|reject|return"),
    reason: str = typer.Option(..., help="Why; the author reads it."),
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Vote on a request (output checker)."""
    at = home_of(home)
    _tell_request(_ask(at, messages.Vote(token=read_token(at), id=request, vote=choice, reason=reason)), json_path)


@app.command()
def withdraw(
    request: str = typer.Argument(metavar="ID"),
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Take an own request back."""
    at = home_of(home)
    _tell_request(_ask(at, messages.Withdraw(token=read_token(at), id=request)), json_path)


@app.command()
def deliver(
    request: str = typer.Argument(metavar="ID"),
    output: Path | None = typer.Option(None, help="Where the package goes (default: its own name, here)."),
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Fetch the package of an own released request: once."""
    at = home_of(home)
    # The place is taken before the airlock is asked: a delivery that cannot be written would be used up.
    target = output or Path(f"egress-{request[:12]}.zip")
    fd = _new_file(target)
    try:
        reply = _fetch(at, messages.Deliver(token=read_token(at), id=request), fd)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)
    if json_path is not None:
        write_json({**to_json(reply), "path": str(target)}, json_path)
    words().print(f"{target}: {reply.size_bytes} bytes, SHA-256 {reply.sha256}", markup=False)


def _new_file(target: Path) -> int:
    try:
        return os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise ConflictError(f"{target}: wanted a new file, got one that exists; choose another --output") from None
    except OSError as error:
        raise UnavailableError(f"{target}: wanted a place to write, got {error.strerror}; choose another") from None


def _fetch(home: Home, message: messages.Deliver, fd: int) -> messages.DeliveryReply:
    client = WireClient(home.socket("airlockd"), timeout_s=120)
    try:
        reply, descriptors = client.call_with_descriptors(message, max_descriptors=1)
    finally:
        client.close()
    with os.fdopen(descriptors[0], "rb") as package, os.fdopen(fd, "wb", closefd=False) as target:
        shutil.copyfileobj(package, target)
        target.flush()
        os.fsync(fd)
    delivered: messages.DeliveryReply = reply
    return delivered


def _ask(home: Home, message: Any) -> Any:
    return call_once(home.socket("airlockd"), message)


def _as_json(path: Path, judged: Judged) -> dict[str, Any]:
    return {
        "path": str(path),
        "sha256": judged.sha256,
        "type": judged.type,
        "verdict": judged.verdict,
        "findings": [to_json(finding) for finding in judged.findings],
        "checks_not_run": list(judged.checks_not_run),
    }


def _tell_check(path: Path, judged: Judged) -> None:
    words().print(f"{path}: {judged.verdict} ({judged.type})", markup=False)
    for finding in judged.findings:
        place = ", ".join(f"{name} {value}" for name, value in finding.where.items() if name != "file") or "whole file"
        words().print(
            f"  {finding.severity:<6} {finding.rule} at {place}: {finding.message} {finding.remedy}", markup=False
        )
    if judged.checks_not_run:
        words().print(f"  not run, for want of inputs: {', '.join(judged.checks_not_run)}", markup=False)


def _tell_request(request: messages.EgressRequest, json_path: str | None) -> None:
    if json_path is not None:
        write_json(to_json(request), json_path)
        return
    say = words()
    say.print(f"{request.title}: {request.state} (project {request.project}, by {request.author})", markup=False)
    for file in request.files:
        say.print(
            f"  {file.name}  {file.type}  {file.size_bytes} bytes  {file.verdict or 'not checked yet'}", markup=False
        )
        for finding in file.findings:
            say.print(f"    {finding['severity']:<6} {finding['rule']}: {finding['message']}", markup=False)
    for one in request.votes:
        say.print(f"  {one['checker'] or 'a checker'}: {one['vote']} — {one['reason']}", markup=False)
    if request.until:
        say.print(f"Delivered until: {request.until}", markup=False)
    if request.held:
        say.print(f"Held: {request.held}", markup=False)
    if request.may:
        say.print(f"You may: {', '.join(request.may)}", markup=False)
