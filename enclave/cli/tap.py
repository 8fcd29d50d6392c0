"""``enclave-tap``: the process between one client and one kernel. Started by the launcher, never by hand."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
from typing import Any

from enclave.core.canonical import parse_json
from enclave.core.errors import EnclaveError, InvalidError
from enclave.runtime.log import Log
from enclave.sandbox.tap.journal import Journal
from enclave.sandbox.tap.settings import IDLE_EXIT, TapSettings
from enclave.sandbox.tap.tap import Tap
from enclave.wire.messages.schema import from_json

_OWN_MEMORY_BYTES = 512 << 20
_SWITCH_S = 0.0002  # the poller does not wait 5 ms, Python's default, for a record that is being written
_COPIES = 8  # of a message: as it came, as text, as it goes, and what waits behind it


class Orders:
    """The launcher's lines on our stdin; its end is the launcher's end."""

    def __init__(self) -> None:
        self._rest = b""

    def take(self, *, wait: bool = False) -> list[dict[str, Any]] | None:
        """The whole lines that are there, or None when the launcher is gone."""
        while True:
            part = os.read(0, 65536)
            if not part:
                return None
            *lines, self._rest = (self._rest + part).split(b"\n")
            if lines or not wait:
                return [parse_json(line) for line in lines]


def ask(line: dict[str, object]) -> None:
    """One line to the launcher."""
    with contextlib.suppress(BrokenPipeError):  # it is gone, and we hear so on stdin
        os.write(1, json.dumps(line).encode() + b"\n")


def obey(tap: Tap, order: dict[str, Any]) -> None:
    """Does what one line of the launcher says, and says so when it asks for it."""
    match order:
        case {"ended": reason, "words": words}:
            tap.kernel_ended(str(reason), words=str(words))
        case {"started": _}:
            tap.kernel_started()
        case {"tell": text}:
            tap.tell(str(text))
        case {"freeze": text}:
            tap.freeze(str(text))
        case {"notebook": name}:
            tap.name_notebook(str(name))
        case {"shown": answer}:
            tap.display_answer(answer)
    if "ack" in order:
        ask({"ack": order["ack"]})


def main() -> None:
    """Reads its settings from stdin, then works until stdin ends."""
    sys.setswitchinterval(_SWITCH_S)
    os.umask(0)  # the client is another uid; only who can pass the folder reaches the sockets
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    log = Log("tap")
    try:
        orders = Orders()
        first = orders.take(wait=True)
        if not first:
            raise InvalidError("tap: wanted settings from the launcher, got none")
        settings = from_json(TapSettings, first[0])
        limit_memory(settings)
        journal = Journal(settings, log=log)
        tap = Tap(settings, journal=journal, log=log, ask=ask)
    except EnclaveError as error:
        log.warning("tap did not start", code=error.code)
        sys.exit(error.exit_code)

    def on_order() -> bool:
        lines = orders.take()
        for order in lines or ():
            obey(tap, order)
        return lines is not None

    for order in first[1:]:  # what the launcher said while we were starting
        obey(tap, order)
    tap.run(0, on_order)
    tap.close()
    journal.close()
    sys.exit(IDLE_EXIT if tap.idled else 0)


def limit_memory(settings: TapSettings) -> None:
    """A tap that a kernel floods ends, and the kernel with it, before it takes the machine's memory."""
    most = _OWN_MEMORY_BYTES + _COPIES * settings.display.cell.amount.bytes
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most if hard == resource.RLIM_INFINITY else min(most, hard)))


if __name__ == "__main__":
    main()
