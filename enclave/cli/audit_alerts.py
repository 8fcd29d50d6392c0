"""``enclave audit alerts|review|drill``: what rules found, weeks to sign off, planted incidents."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from enclave.cli.audit_log import call, counted
from enclave.cli.audit_rows import tell_table
from enclave.cli.output import HomeOption, JsonOption, home_of, words, write_json
from enclave.core.errors import InvalidError, UnavailableError
from enclave.core.ids import VersionName
from enclave.runtime.home import Home
from enclave.wire.messages import watch as m
from enclave.wire.messages.schema import to_json

DRILL_WAIT_S = 120.0
DRILL_PAUSE_S = 0.5

alerts = typer.Typer(no_args_is_help=True, help="What the rules found, and what people did about it.")
review = typer.Typer(no_args_is_help=True, help="Sign off the weeks of the ledger.")

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The alert, or the beginning of its id.")]


@alerts.command("list")
def list_alerts(
    state: Annotated[str, typer.Option(help="open, acknowledged or resolved; default: all that is not resolved.")] = "",
    rule: Annotated[str, typer.Option(help="Of one rule only.")] = "",
    drills: Annotated[bool, typer.Option("--drills", help="Those of drills, too.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 200,
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """List alerts, the newest first (auditors)."""
    found = _all(home_of(home), state=state, rule=rule, drills=drills, limit=limit)
    if not state:
        found = tuple(alert for alert in found if alert.state != "resolved")
    if json_path is not None:
        write_json({"alerts": [to_json(alert) for alert in found]}, json_path)
        return
    columns = ("id", "opened", "severity", "rule", "subject", "value", "threshold", "state", "drill")
    tell_table(columns, [[_short(alert, name) for name in columns] for alert in found])


@alerts.command()
def show(alert: IdArgument, home: HomeOption = None, json_path: JsonOption = None) -> None:
    """Show one alert: what fired, for which events, what to do (auditors)."""
    found = _one(home_of(home), alert)
    if json_path is not None:
        write_json(to_json(found), json_path)
        return
    words().print(f"{found.title} ({found.severity}): {found.what}", markup=False)
    words().print(
        f"About {found.subject}, {found.key}: {found.value:g} of {found.threshold:g}, "
        f"{counted(found.events, 'event')} from {found.first_seq} to {found.last_seq}. It is {found.state}.",
        markup=False,
    )
    words().print(f"What to do: {found.remedy}", markup=False)


@alerts.command()
def acknowledge(alert: IdArgument, home: HomeOption = None, json_path: JsonOption = None) -> None:
    """Take an alert up: somebody looks at it now (auditors, never about themselves)."""
    at = home_of(home)
    found = _one(at, alert)
    _tell(_ask(at, m.AcknowledgeAlert(token=_token(at), id=found.id)), json_path)


@alerts.command()
def resolve(
    alert: IdArgument,
    verdict: Annotated[str, typer.Option(help="incident, expected, false_alert or drill.")],
    reason: Annotated[str, typer.Option(help="What it was and what was done; kept encrypted in the ledger.")],
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Close an alert with a verdict and a reason (auditors, never about themselves)."""
    at = home_of(home)
    found = _one(at, alert)
    _tell(_ask(at, m.ResolveAlert(token=_token(at), id=found.id, verdict=verdict, reason=reason)), json_path)


@alerts.command()
def canary(
    version: Annotated[str, typer.Argument(metavar="NAME@V", help="The dataset version that nobody has a use for.")],
    objects: Annotated[
        list[str] | None, typer.Option("--object", help="Only this object of it; may be repeated.")
    ] = None,
    home: HomeOption = None,
) -> None:
    """Declare a version, or objects of it, a canary: whoever touches it is an alert (auditors)."""
    at, name = home_of(home), VersionName.parse(version)
    message = m.DeclareCanary(
        token=_token(at), dataset=name.dataset, version=name.version, objects=tuple(objects or ())
    )
    _ask(at, message)
    words().print(f"{name} is a canary from now on.", markup=False)


@review.command("list")
def list_weeks(
    period: Annotated[str, typer.Option(help="Summarise this week, such as 2026-W47.")] = "",
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """List the weeks that are over and who signed them; exit 3 when some are unsigned (auditors)."""
    found = _reviews(home_of(home), period)
    unsigned = [week for week in found.weeks if not week.complete]
    if json_path is not None:
        write_json({**to_json(found), "unsigned": [week.period for week in unsigned]}, json_path)
    else:
        rows = [
            [week.period, "signed" if week.complete else "unsigned", ", ".join(s.person for s in week.signatures),
             week.open_alerts]
            for week in found.weeks
        ]  # fmt: skip
        tell_table(("week", "state", "signatures", "alerts nobody took up"), rows)
        if found.summary:
            tell_table(("what", "events"), sorted(found.summary.items()))
    if unsigned:
        words().print(f"{len(unsigned)} weeks are not signed off.")
        raise typer.Exit(3)


@review.command()
def sign(
    period: Annotated[str, typer.Argument(metavar="WEEK", help="An ISO week that is over, such as 2026-W47.")],
    note: Annotated[str, typer.Option(help="What was looked at; kept encrypted in the ledger.")],
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Sign off a week over the ledger as it stands now (auditors)."""
    at = home_of(home)
    week = _ask(at, m.SignReview(token=_token(at), period=period, note=note))
    if json_path is not None:
        write_json(to_json(week), json_path)
    last = week.signatures[-1]
    more = "" if week.complete else " You acted in it yourself: another auditor must sign, too."
    words().print(f"{week.period} is signed over {last.size} events, root {last.root}.{more}", markup=False)


def drill(
    rules: Annotated[list[str] | None, typer.Option("--rule", help="Only this rule; may be repeated.")] = None,
    wait_s: Annotated[float, typer.Option("--wait", min=0, help="How long to wait, in seconds.")] = DRILL_WAIT_S,
    home: HomeOption = None,
    json_path: JsonOption = None,
) -> None:
    """Play planted incidents and show what fired, after how long, and which receiver had it (auditors, operators).

    Planted events are marked in the ledger, and no view or figure counts them. Exit 3 when a rule did not fire.
    """
    at = home_of(home)
    found = _ask(at, m.RunDrill(token=_token(at), rules=tuple(rules or ())))
    end = time.monotonic() + wait_s
    while not _is_over(found) and time.monotonic() < end:
        time.sleep(DRILL_PAUSE_S)
        found = _ask(at, m.ShowDrill(token=_token(at), id=found.id))
    if json_path is not None:
        write_json(to_json(found), json_path)
    else:
        tell_table(("rule", "fired", "after s", "receivers"), [_drill_row(rule) for rule in found.rules])
    silent = [rule.rule for rule in found.rules if not rule.fired]
    if silent:
        words().print(f"Did not fire: {', '.join(silent)}.", markup=False)
        raise typer.Exit(3)
    words().print(f"Drill {found.id}: all {len(found.rules)} rules fired.", markup=False)


def _is_over(found: m.DrillReport) -> bool:
    return found.complete and all(rule.channels for rule in found.rules)


def _drill_row(rule: m.DrillRule) -> list[Any]:
    channels = ", ".join(f"{channel.channel} {channel.after_s:.1f} s" for channel in rule.channels)
    return [rule.rule, "yes" if rule.fired else "no", f"{rule.after_s:.1f}" if rule.fired else "", channels]


def _all(home: Home, *, state: str = "", rule: str = "", drills: bool = True, limit: int = 500) -> tuple[Any, ...]:
    message = m.ListAlerts(token=_token(home), state=state, rule=rule, drills=drills, limit=limit)
    return tuple(_ask(home, message).alerts)


def _one(home: Home, name: str) -> m.AlertInfo:
    found = [alert for alert in _all(home) if alert.id.startswith(name)] if len(name) >= 4 else []
    if len(found) != 1:
        raise InvalidError(f"alert: wanted an id, or its first letters, of one alert, got {len(found)} of them")
    alert: m.AlertInfo = found[0]
    return alert


def _tell(alert: m.AlertInfo, json_path: str | None) -> None:
    if json_path is not None:
        write_json(to_json(alert), json_path)
    words().print(f"{alert.title} about {alert.subject}: {alert.state}.", markup=False)


def _short(alert: m.AlertInfo, name: str) -> Any:
    value = getattr(alert, name)
    return value[:12] if name == "id" else round(value, 2) if isinstance(value, float) else value


def weeks_of(home: Home) -> tuple[m.ReviewWeek, ...]:
    """The weeks that are over, as the watch tells them."""
    return tuple(_reviews(home).weeks)


def _reviews(home: Home, period: str = "") -> Any:
    return _ask(home, m.ListReviews(token=_token(home), period=period))


def _token(home: Home) -> str:
    from enclave.cli.session import read_token

    return read_token(home)


def _ask(home: Home, message: Any) -> Any:
    try:
        return call(home, message, daemon="watchd")
    except UnavailableError as error:
        if error.code != "unavailable":
            raise
        raise UnavailableError("watch: wanted enclave-watchd to answer, got nothing; is the enclave running?") from None
