"""``enclave agreement``: the register of agreements under which projects work."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from enclave.cli.output import (
    HomeOption,
    JsonOption,
    ReasonOption,
    TicketOption,
    home_of,
    ticket_of,
    words,
    write_json,
)
from enclave.cli.project import ask_registry
from enclave.cli.session import read_token
from enclave.core.errors import NotFoundError
from enclave.runtime.home import Home
from enclave.wire.messages import agreements as ag
from enclave.wire.messages.schema import to_json

app = typer.Typer(
    no_args_is_help=True,
    help="Agreements (business associate, data use) under which projects work.",
    epilog="A project that worked under an agreement works on only while one is in force.",
)
AgreementId = Annotated[str, typer.Argument(metavar="ID")]


@app.command()
def record(
    terms: Annotated[Path, typer.Argument(metavar="TERMS.toml", help="The table [agreement]; see docs/agreements.md.")],
    document: Annotated[Path, typer.Option(help="The signed document; only its SHA-256 is kept.")],
    ticket: TicketOption = None,
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Record a signed agreement (data steward); it counts once an honest broker has confirmed it.

    Example: enclave agreement record dua.toml --document dua-signed.pdf
    """
    from enclave.governance.agreement import parse_terms, to_table

    at = home_of(home)
    found = parse_terms(_text(terms))
    message = ag.RecordAgreement(
        token=read_token(at), terms=to_table(found), document=_digest(document), ticket=ticket_of(ticket)
    )
    _tell(ask_registry(at, message), json_path)


@app.command()
def confirm(
    agreement: AgreementId,
    reason: ReasonOption,
    document: Annotated[
        Path | None, typer.Option(help="The signed document as you have it; its SHA-256 is compared first.")
    ] = None,
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Confirm that a record is as it was signed (honest broker); from then on it counts.

    Example: enclave agreement confirm ID --document dua-signed.pdf --reason "As signed on 3 November."
    """
    at = home_of(home)
    if document is not None:
        _compare(at, agreement, _digest(document))
    _decide(at, agreement, approve=True, reason=reason, json_path=json_path)


@app.command()
def refuse(agreement: AgreementId, reason: ReasonOption, home: HomeOption = None, json_path: JsonOption = None) -> None:
    """Refuse a record that is not as it was signed (honest broker)."""
    _decide(home_of(home), agreement, approve=False, reason=reason, json_path=json_path)


@app.command()
def end(agreement: AgreementId, reason: ReasonOption, home: HomeOption = None, json_path: JsonOption = None) -> None:
    """End an agreement now (data steward or honest broker); leases that only it covered end within seconds."""
    at = home_of(home)
    _tell(ask_registry(at, ag.EndAgreement(token=read_token(at), id=agreement, reason=reason)), json_path)


@app.command("list")
def list_agreements(
    project: str = typer.Option("", help="Only of this project."), home: HomeOption = None, json_path: JsonOption = None
) -> None:
    """List all agreements, newest first, and how each stands now."""
    at = home_of(home)
    found = ask_registry(at, ag.ListAgreements(token=read_token(at), project=project or None))
    if json_path is not None:
        write_json(to_json(found), json_path)
        return
    for one in found.agreements:
        _tell(one, None)
    if not found.agreements:
        words().print("No agreement was recorded yet.")


def _decide(home: Home, agreement: str, *, approve: bool, reason: str, json_path: str | None) -> None:
    message = ag.DecideAgreement(token=read_token(home), id=agreement, approve=approve, reason=reason)
    _tell(ask_registry(home, message), json_path)


def _compare(home: Home, agreement: str, digest: str) -> None:
    from enclave.core.errors import ConflictError

    known = ask_registry(home, ag.ListAgreements(token=read_token(home))).agreements
    recorded = next((one.document for one in known if one.id == agreement), None)
    if recorded is not None and recorded != digest:
        raise ConflictError(
            "agreement: wanted the document that was recorded, got another one; refuse the record, or look for yours",
            code="agreement_document",
        )


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise NotFoundError(f"agreement: wanted the terms in {path.name}, got no text file there") from None


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        raise NotFoundError(f"agreement: wanted the signed document {path.name}, got no file to read") from None


def _tell(found: ag.Agreement, json_path: str | None) -> None:
    if json_path is not None:
        write_json(to_json(found), json_path)
        return
    terms = found.terms
    left = f", {found.days_left} days left" if found.days_left is not None else ""
    words().print(
        f"{found.id}  {terms['kind']} of {found.project}: {terms['title']} ({terms['begins']} to {terms['ends']}), "
        f"{found.standing.replace('_', ' ')}{left}",
        markup=False,
    )
