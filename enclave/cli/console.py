"""The process ``enclave-console``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

from tornado.httpserver import HTTPServer

from enclave.cli.output import tell_error
from enclave.console.app import HubPlace, make_app
from enclave.console.settings import ConsoleSettings
from enclave.core.errors import EnclaveError, UnavailableError
from enclave.core.secret import Secret
from enclave.hub.secrets_files import CONSOLE_TOKEN, read_hub_secret
from enclave.hub.settings import HubSettings
from enclave.runtime.daemon import notify
from enclave.runtime.home import Home, home_from
from enclave.runtime.log import Log


async def serve(home: Home, *, log: Log) -> None:
    """Listens on loopback behind the Hub's proxy until a signal."""
    settings = home.settings(HubSettings, section="hub")
    own = home.settings(ConsoleSettings, section="console")
    place = HubPlace(
        api_url=settings.api_url,
        token=Secret(read_hub_secret(home, CONSOLE_TOKEN).encode("ascii")),
        https=settings.url.startswith("https://"),
        session_check_s=own.session_check_s,
    )
    app = make_app(home, hub=place, timeout_s=own.daemon_timeout_s, log=log)
    server = HTTPServer(app, xheaders=True, trusted_downstream=["127.0.0.1"])
    try:
        server.listen(settings.console_port, address="127.0.0.1")
    except OSError:
        raise UnavailableError(
            f"port {settings.console_port}: wanted it free for the console, got one in use; end what uses it"
        ) from None
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    notify("READY=1")
    log.info("ready", pid=os.getpid(), port=settings.console_port)
    await stop.wait()
    notify("STOPPING=1")
    server.stop()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(server.close_all_connections(), 5)
    log.info("stopped")


def main() -> None:
    """``enclave-console --home DIR``: the pages of release desk, egress desk, reports and audit desk."""
    parser = argparse.ArgumentParser(prog="enclave-console", description="The pages of an enclave.")
    parser.add_argument("--home", type=Path, default=None)
    arguments = parser.parse_args()
    try:
        asyncio.run(serve(home_from(arguments.home), log=Log("console")))
    except EnclaveError as error:
        sys.exit(tell_error(error))


if __name__ == "__main__":
    main()
