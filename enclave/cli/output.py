"""What all commands share at their edges: the home option, ``--json``, words on stderr, exit codes."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from enclave.core.errors import EnclaveError, UnavailableError
from enclave.core.ids import check_ticket
from enclave.runtime.home import Home, home_from

HomeOption = Annotated[
    Path | None,
    typer.Option("--home", envvar="ENCLAVE_HOME", help="The enclave home (default ./.enclave).", show_default=False),
]
JsonOption = Annotated[
    str | None,
    typer.Option("--json", metavar="PATH", help="Write the result as JSON to PATH; - is standard output."),
]

ReasonOption = Annotated[str, typer.Option("--reason", help="Why.")]
TicketOption = Annotated[
    str | None,
    typer.Option(
        "--ticket", envvar="ENCLAVE_TICKET", metavar="ID", help="The ticket that asks for it; acts without are told."
    ),
]

_FAMILY_WORDS = {
    "denied": "Refused",
    "not_found": "Not found",
    "invalid": "Invalid",
    "conflict": "Conflict",
    "unavailable": "Unavailable",
    "integrity": "Integrity failure",
}


def words() -> Console:
    """The console for people: standard error, so that standard output stays for results; text is shown as it is."""
    return Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def write_json(value: Any, path: str) -> None:
    """Writes ``value`` as JSON to ``path``, whole or not at all; ``-`` is standard output."""
    text = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
    if path == "-":
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    write_file(Path(path), text.encode("utf-8"), named="--json ")


def write_file(path: Path, data: bytes, *, named: str = "") -> None:
    """Makes or replaces a file that the person named (by an option), whole or not at all; ``UnavailableError``."""
    target = path.absolute()
    part = target.parent / f".enclave-write.{os.getpid()}.part"
    try:
        part.write_bytes(data)
        part.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):  # where no file could be made there is none to remove
            part.unlink()
        raise UnavailableError(f"{named}{path}: wanted a file to write, got {error.strerror}; choose another") from None


def home_of(option: Path | None) -> Home:
    """The home a command works on; raises when there is none or it is of a newer release."""
    home = home_from(option)
    home.check_format()
    return home


def ticket_of(option: str | None) -> str | None:
    """The ticket of an administrative act; without one says that auditors will see it."""
    if option:
        return check_ticket(option)
    words().print("No --ticket was named: auditors will see an administrative act without one.")
    return None


def tell_error(error: EnclaveError) -> int:
    """Says what went wrong on standard error and returns the exit code of its family."""
    words().print(f"[bold red]{_FAMILY_WORDS.get(error.family, 'Failed')}:[/] ", end="")
    words().print(error.message, markup=False)
    return error.exit_code
