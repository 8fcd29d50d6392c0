"""The page on egress, made from the tables: states, who owns them, the rules of the machine check."""

from __future__ import annotations

from enclave.airlock.states import OWNERS, PARTIES, STATES, TRANSITIONS
from enclave.airlock.views import WORDS
from enclave.disclosure.rules import RULES

_STANDING = """\
Submission, a vote that approves, release and delivery each ask the registry anew: the project is open, its agreement
(if it ever had one) is in force, and the author still belongs to it. Delivery also asks the Hub anew who the person is.
A refusal is an event and loses nothing: the request stays in its state, says why (`held`), and goes on when the project
works again. Returning, rejecting and withdrawing are always possible.

A released package waits `[airlock] delivery_days` for its author. Time is the ledger's: under a clock that was set back
nothing is handed in, approved, packed or delivered (`clock_step`), and no delivery that is over comes back.

"""


def egress_page() -> str:
    """States and transitions of an egress request with a diagram, then every rule of the machine check."""
    lines = ["# Egress\n\n## States\n\n| state | owner | what it means |\n|---|---|---|\n"]
    lines += [f"| `{state}` | {OWNERS[state]} | {WORDS[state]} |\n" for state in STATES]
    lines += ["\n```mermaid\nstateDiagram-v2\n    [*] --> submitted\n"]
    lines += [
        f"    {state} --> {then}: {act} ({PARTIES[act]})\n"
        for (state, act), then in TRANSITIONS.items()
        if act != "withdraw"
    ]
    lines += [f"    {state} --> [*]\n" for state in STATES if OWNERS[state] == "nobody"]
    open_states = ", ".join(f"`{state}`" for state, act in TRANSITIONS if act == "withdraw")
    lines += [f"```\n\nIts author may withdraw a request from {open_states}.\n\n", _STANDING]
    lines += [
        "## Rules of the machine check\n\nIds are stable. `block` keeps a file in, `review` needs a checker's eye.\n\n"
    ]
    lines += ["| rule | severity | what it says | what to do |\n|---|---|---|---|\n"]
    lines += [f"| `{r.id}` | {r.severity} | {r.message} | {r.remedy} |\n" for r in RULES.values()]
    return "".join(lines)
