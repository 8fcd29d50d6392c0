"""``enclave audit hold`` and ``enclave audit retention``: what must stay, and what may go."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import typer

from enclave.cli.audit_log import call
from enclave.cli.output import HomeOption, JsonOption, home_of, words, write_json
from enclave.wire.messages import audit as ask

hold = typer.Typer(no_args_is_help=True, help="Legal holds: keep bodies from destruction.")
retention = typer.Typer(no_args_is_help=True, help="Destroy bodies that are of age. Records always stay.")

ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept encrypted beside the event.")]
TicketOption = Annotated[str, typer.Option("--ticket", help="The change or case number.")]


@hold.command()
def place(
    *,
    reason: ReasonOption,
    project: Annotated[str, typer.Option("--project", help="Only of this project.")] = "",
    dataset: Annotated[str, typer.Option("--dataset", help="Only of this dataset, all versions.")] = "",
    person: Annotated[str, typer.Option("--person", help="Only of this person.")] = "",
    since: Annotated[str, typer.Option("--since", metavar="TIME", help="Only from this time on (RFC 3339).")] = "",
    until: Annotated[str, typer.Option("--until", metavar="TIME", help="Only before this time (RFC 3339).")] = "",
    ticket: TicketOption = "",
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Place a legal hold (stewards and auditors). It covers what fits all that is given."""
    fields = {"project": project, "dataset": dataset, "person": person, "since": since, "until": until}
    fields |= {"reason": reason, "ticket": ticket}
    placed = _asked(ask.PlaceHold, home=home, fields=fields, json_path=json_path)
    words().print(f"Placed hold {placed.id}.")


@hold.command()
def lift(
    hold_id: Annotated[str, typer.Argument(metavar="ID", help="The hold, from `enclave audit hold list`.")],
    reason: ReasonOption,
    ticket: TicketOption = "",
    home: HomeOption = None,
) -> None:
    """Lift a legal hold (auditors)."""
    _asked(ask.LiftHold, home=home, fields={"id": hold_id, "reason": reason, "ticket": ticket})
    words().print(f"Lifted hold {hold_id}.", markup=False)


@hold.command("list")
def list_holds(home: HomeOption = None, json_path: JsonOption = None) -> None:
    """Show the legal holds that stand (stewards and auditors)."""
    found = _asked(ask.ListHolds, home=home).holds
    if json_path is not None:
        write_json([dataclasses.asdict(row) for row in found], json_path)
    for row in found:
        sides = ", ".join(f"{k} {v}" for k, v in dataclasses.asdict(row).items() if v and k != "id")
        words().print(f"{row.id}: {sides}", markup=False)
    if not found:
        words().print("No legal hold stands.")


@retention.command()
def plan(home: HomeOption = None, json_path: JsonOption = None) -> None:
    """Show what the policy would destroy now; nothing is done (stewards and auditors)."""
    found = _asked(ask.PlanRetention, home=home, json_path=json_path, timeout_s=600)
    words().print(f"Of age and free: {found.due}; held: {found.held}; too young: {found.kept}. Plan {found.digest}.")


@retention.command()
def apply(
    digest: Annotated[str, typer.Argument(metavar="PLAN", help="The plan, from `enclave audit retention plan`.")],
    reason: ReasonOption,
    ticket: TicketOption = "",
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Destroy the bodies of a plan (stewards). Records and proofs stay as they are."""
    fields = {"digest": digest, "reason": reason, "ticket": ticket}
    gone = _asked(ask.ApplyRetention, home=home, fields=fields, json_path=json_path, timeout_s=3600)
    months = f", and the keys of {', '.join(gone.months)}" if gone.months else ""
    words().print(f"Destroyed {gone.bodies} bodies{months}.")


def _asked(
    request: type[Any],
    *,
    home: Path | None,
    fields: Mapping[str, str] = MappingProxyType({}),
    json_path: str | None = None,
    timeout_s: float = 60.0,
) -> Any:
    """The ledger's reply to a request in the name of who is signed in; written as JSON when asked for."""
    from enclave.cli.session import read_token

    at = home_of(home)
    reply = call(at, request(token=read_token(at), **fields), timeout_s=timeout_s)
    if json_path is not None:
        write_json(dataclasses.asdict(reply), json_path)
    return reply
