"""Which messages pass which channel, and under which name they are recorded. What is not listed is refused. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

Channel = Literal["shell", "control", "stdin"]
CLIENT_CELL: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")  # what a client may call its cell


@dataclass(frozen=True, slots=True)
class Rule:
    """``kind`` is the event's kind, empty when the message cannot run code and is not recorded.

    ``text`` names the field of the content that the kernel may run or show to code.
    """

    kind: str = ""
    text: str = ""


_PASS: Final = Rule()
RULES: Final[dict[Channel, dict[str, Rule]]] = {
    "shell": {
        "execute_request": Rule("cell.execute", "code"),
        "complete_request": Rule("cell.complete", "code"),
        "inspect_request": Rule("cell.inspect", "code"),
        "is_complete_request": Rule("cell.complete", "code"),
        "comm_open": Rule("cell.comm"),
        "comm_msg": Rule("cell.comm"),
        "comm_close": Rule("cell.comm"),
        "kernel_info_request": _PASS,
        "comm_info_request": _PASS,
        "history_request": _PASS,
    },
    # The control channel never waits for the ledger, so nothing that runs code passes it.
    "control": {
        "kernel_info_request": _PASS,
        "interrupt_request": _PASS,
        "shutdown_request": _PASS,
    },
    "stdin": {"input_reply": Rule("cell.input", "value")},
}
# A kernel that answers one request at a time keeps a read and its cell together; a debugger runs code unrecorded.
HIDDEN_FEATURES: Final = frozenset({"kernel subshells", "debugger"})


def rule_for(channel: Channel, kind: str) -> Rule | None:
    """The rule, or None: refuse."""
    return RULES[channel].get(kind)
