"""The page on alerts, made from the rules that the watch itself reads."""

from __future__ import annotations

from enclave.audit.alerts.model import TRANSITIONS, VERDICTS
from enclave.audit.alerts.rules import known_rules


def alerts_page() -> str:
    """Every rule with its threshold, measure, remedy and SQL; the states of an alert; where alerts go."""
    lines = [
        "# Alerts\n\nRules look at the ledger when events arrive and on a schedule. They are part of the release: ",
        "no setting changes a threshold or turns a rule off. `enclave audit drill` plays an incident for each.\n\n",
        "| rule | severity | what it tells | fires from | looked at every | history |\n|---|---|---|---|---|---|\n",
    ]
    lines += [
        f"| [`{rule.id}`](#{rule.id}) | {rule.severity} | {rule.what} | {rule.threshold:g} | {rule.every_s} s "
        f"| {rule.history_days} days |\n"
        for rule in known_rules().values()
    ]
    lines += ["\n## States\n\n| from | act | to |\n|---|---|---|\n"]
    lines += [f"| {state} | {act} | {after} |\n" for (state, act), after in TRANSITIONS.items()]
    lines += [
        "\nAuditors act on alerts, never on one about themselves; each change is an event. Who closes one names a ",
        "verdict and a reason; the reason's words stand encrypted in the ledger.\n\n",
    ]
    lines += ["| verdict | what it says |\n|---|---|\n"]
    lines += [f"| `{code}` | {words} |\n" for code, words in VERDICTS.items()]
    lines.append(_WHERE)
    for rule in known_rules().values():
        lines += [f"\n## {rule.id}\n\n**{rule.title}**, {rule.severity}. {rule.what}\n\n"]
        lines += [f"- Measure: {rule.measure}; fires from {rule.threshold:g}.\n- What to do: {rule.remedy}\n"]
        kinds = ", ".join(f"`{kind}`" for kind in rule.on)
        lines += [f"- Looked at when these arrive: {kinds}.\n\n```sql\n{rule.sql.strip()}\n```\n"]
    return "".join(lines)


_WHERE = """
## Where alerts go

- The console's audit desk and `enclave audit alerts`.
- `HOME/watch/alerts.jsonl`: one OCSF 1.4 Detection Finding (class 2004) per change.
- With `syslog_host` in `[watch]`: the same as text of RFC 5424 messages over TLS (RFC 5425), facility *log audit*.
  The receiver's certificate and name are always checked. What it does not take waits, in order, and that is an event.
- Prometheus: `GET /metrics` on the socket `metrics.sock`, or on a port of 127.0.0.1. Labels hold rules, severities,
  states and receivers, never a name.

## What rules see

`watched` holds every event by the time at which the ledger took it (`moment`), and the planted events of drills,
whose person is `drill:ID`. A rule gives a row per `subject` and `key` with its `value`; each is told once. A plain
first sign-in from a new network is no alert, for people travel: the review of the week counts them.
"""
