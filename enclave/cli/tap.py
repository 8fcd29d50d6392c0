"""``enclave-tap``: the process between one client and one kernel. Started by the launcher, never by hand."""

from __future__ import annotations

import os
import signal
import sys

from enclave.core.canonical import parse_json
from enclave.core.errors import EnclaveError, InvalidError
from enclave.runtime.log import Log
from enclave.sandbox.tap.journal import Journal
from enclave.sandbox.tap.settings import IDLE_EXIT, TapSettings
from enclave.sandbox.tap.tap import Tap
from enclave.wire.messages.schema import from_json


class Orders:
    """The launcher's lines on our stdin; its end is the launcher's end."""

    def __init__(self) -> None:
        self._rest = b""

    def take(self, *, wait: bool = False) -> list[dict[str, object]] | None:
        """The whole lines that are there, or None when the launcher is gone."""
        while True:
            part = os.read(0, 65536)
            if not part:
                return None
            *lines, self._rest = (self._rest + part).split(b"\n")
            if lines or not wait:
                return [parse_json(line) for line in lines]


def main() -> None:
    """Reads its settings from stdin, then works until stdin ends."""
    os.umask(0)  # the client is another uid; only who can pass the folder reaches the sockets
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    log = Log("tap")
    try:
        orders = Orders()
        first = orders.take(wait=True)
        if not first:
            raise InvalidError("tap: wanted settings from the launcher, got none")
        settings = from_json(TapSettings, first[0])
        journal = Journal(settings, log=log)
        tap = Tap(settings, journal=journal, log=log)
    except EnclaveError as error:
        log.warning("tap did not start", code=error.code)
        sys.exit(error.exit_code)

    def obey() -> bool:
        lines = orders.take()
        for order in lines or ():
            if "ended" in order:
                tap.kernel_ended(str(order["ended"]))
            elif "tell" in order:
                tap.tell(str(order["tell"]))
        return lines is not None

    tap.run(0, obey)
    tap.close()
    journal.close()
    sys.exit(IDLE_EXIT if tap.idled else 0)


if __name__ == "__main__":
    main()
