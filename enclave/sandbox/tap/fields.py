"""Which fields of a request a kernel gets, and what may stand in them. Pure. Source: wire protocol 5.3."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

MAX_NUMBER: Final = 2**31 - 1
COMMS: Final = frozenset({"comm_open", "comm_msg", "comm_close"})
_HISTORIES: Final = ("range", "tail", "search")
_TARGETS: Final = ("jupyter.widget",)


def whole(value: Any) -> int:
    """A number of either side as it is passed on: within 31 bits, else 0."""
    return value if type(value) is int and -MAX_NUMBER <= value <= MAX_NUMBER else 0


def text(value: Any) -> str:
    """Words of either side as they are; empty when it is something else."""
    return value if isinstance(value, str) else ""


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


_Fields = dict[str, Callable[[Any], Any]]
_CODE: Final[_Fields] = {"code": text, "cursor_pos": whole}
_FIELDS: Final[dict[str, _Fields]] = {
    "execute_request": {
        "code": text,
        "silent": bool,
        "store_history": bool,
        "user_expressions": _object,
        "allow_stdin": bool,
        "stop_on_error": bool,
    },
    "complete_request": _CODE,
    "inspect_request": {**_CODE, "detail_level": whole},
    "is_complete_request": {"code": text},
    "input_reply": {"status": lambda _: "ok", "value": text},
    # These are not recorded: they hold numbers and words of a list, and nothing that somebody wrote.
    "kernel_info_request": {},
    "interrupt_request": {},
    "shutdown_request": {"restart": bool},
    "comm_info_request": {"target_name": lambda value: value if value in _TARGETS else None},
    "history_request": {
        **dict.fromkeys(("output", "raw", "unique"), bool),
        **dict.fromkeys(("session", "start", "stop", "n"), whole),
        "hist_access_type": lambda value: value if value in _HISTORIES else "tail",
        "pattern": lambda _: "*",
    },
}


def known_fields(kind: str, content: dict[str, Any]) -> dict[str, Any]:
    """Of ``content`` what a request of this ``kind`` has; a field that holds something else is as if it were empty."""
    found = {name: read(content[name]) for name, read in _FIELDS[kind].items() if name in content}
    return {name: value for name, value in found.items() if value is not None}
