"""One gate as a process: two sockets, two legs, no secret."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp import web

from enclave.audit.client import AuditClient
from enclave.core.errors import UnavailableError
from enclave.core.ids import check_principal
from enclave.runtime.daemon import notify
from enclave.runtime.log import Log
from enclave.server.gate.front import Front
from enclave.server.gate.hub_leg import HubLeg
from enclave.server.gate.keeper import Keeper
from enclave.server.gate.refusals import Refusals
from enclave.server.gate.server_socket import ServerConnector
from enclave.server.gate.uploads import Uploads


@dataclass(frozen=True, slots=True, kw_only=True)
class GateOptions:
    """What a gate is told. ``listen`` is for the proxy, ``hub_listen`` for the server inside its sandbox.

    ``keep`` seals the code folder.
    ``server_uid`` is the uid of that sandbox as the host sees it: only a socket of this owner is connected to.
    """

    listen: Path
    server: Path
    server_uid: int
    hub_api: str
    hub_listen: Path
    base_url: str
    person: str
    keep: Path
    audit: Path


async def serve(options: GateOptions, *, log: Log) -> None:
    """Runs until SIGTERM or SIGINT; both sockets listen before *ready* is logged."""
    check_principal(options.person)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    audit = AuditClient(options.audit)
    refusals = Refusals(options.person, audit, log)
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(
            aiohttp.ClientSession(
                connector=ServerConnector(options.server, uid=options.server_uid),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                max_line_size=64 * 1024,
                max_field_size=64 * 1024,
            )
        )
        hub = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
        keeper = Keeper(options.keep)
        front = Front(options.base_url, server, refusals, Uploads(options.person, audit, log), keeper)
        leg = HubLeg(options.hub_api.rstrip("/"), options.person, hub, refusals)
        for app, path in ((leg.app(), options.hub_listen), (front.app(), options.listen)):
            await _listen(app, path, stack)
        writer = asyncio.create_task(refusals.run())
        stack.callback(writer.cancel)
        notify("READY=1")
        log.info("ready", pid=os.getpid())
        await stop.wait()
        await refusals.drain()
    log.info("stopped")


async def _listen(app: web.Application, path: Path, stack: contextlib.AsyncExitStack) -> None:
    sock = _bound(path)
    runner = web.AppRunner(
        app, access_log=None, shutdown_timeout=1.0, max_line_size=64 * 1024, max_field_size=64 * 1024
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.SockSite(runner, sock).start()


def _bound(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    try:
        path.unlink(missing_ok=True)
        sock.bind(str(path))
        path.chmod(0o666)  # the folder around each socket decides who reaches it
    except OSError as error:
        sock.close()
        raise UnavailableError(f"gate: wanted a socket at {path}, got {error.strerror}") from None
    return sock
