"""The gate connects to the socket that the person's sandbox made; whatever else lies there is refused, on record."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from enclave.core.errors import DeniedError
from enclave.runtime.log import Log
from enclave.server.gate.front import Front
from enclave.server.gate.keeper import Keeper
from enclave.server.gate.refusals import Refusals
from enclave.server.gate.server_socket import ServerConnector, open_server_socket
from enclave.server.gate.uploads import Uploads

pytestmark = pytest.mark.row("S4.5")


def listening(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()
    return sock


def through_gate(folder: Path, auditd: Any, *, uid: int, before: Callable[[Path], None] | None = None) -> Any:
    """One page asked for through a gate in front of a real server; its socket is changed by ``before``."""

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text="the server")

    async def run() -> tuple[int, str]:
        inner = web.Application()
        inner.router.add_route("*", "/{path:.*}", page)
        path, door = folder / "server.sock", folder / "gate.sock"
        refusals = Refusals("rosa", auditd.client, Log("gate"))
        runners = [web.AppRunner(inner, access_log=None, shutdown_timeout=0.1)]
        await runners[0].setup()
        await web.UnixSite(runners[0], str(path)).start()
        if before is not None:
            before(path)
        async with aiohttp.ClientSession(connector=ServerConnector(path, uid=uid)) as session:
            runners.append(
                web.AppRunner(
                    Front(
                        "/user/rosa/", session, refusals, Uploads("rosa", auditd.client, Log("gate")), Keeper(folder)
                    ).app(),
                    access_log=None,
                )
            )
            await runners[1].setup()
            await web.UnixSite(runners[1], str(door)).start()
            async with (
                aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(door))) as browser,
                browser.get("http://localhost/user/rosa/lab") as answer,
            ):
                found = answer.status, await answer.text()
            await refusals.drain()
        for runner in reversed(runners):
            await runner.cleanup()
        return found

    return asyncio.run(run())


def test_the_server_of_its_person_answers_through_the_gate(tmp_path: Path, auditd: Any) -> None:
    assert through_gate(tmp_path, auditd, uid=os.getuid()) == (200, "the server")
    assert auditd.events(kind="gate.refused") == []


def as_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere.sock"))
    path.symlink_to("elsewhere.sock")


def as_file(path: Path) -> None:
    path.unlink()
    path.write_bytes(b"")


def as_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("before", "other_uid", "reason"),
    [
        (as_link, 0, "server_socket_link"),
        (as_file, 0, "server_socket_kind"),
        (as_pipe, 0, "server_socket_kind"),
        (as_folder, 0, "server_socket_kind"),
        (None, 1, "server_socket_owner"),
    ],
)
def test_anything_else_in_its_place_is_refused_and_the_refusal_is_in_the_ledger(
    tmp_path: Path, auditd: Any, before: Any, other_uid: int, reason: str
) -> None:
    status, said = through_gate(tmp_path, auditd, uid=os.getuid() + other_uid, before=before)
    assert status == 403
    assert "stop the server and start it again" in said
    assert [event["reason"] for event in auditd.events(kind="gate.refused", outcome="refused", actor="rosa")] == [
        reason
    ]


def test_a_socket_that_is_not_there_yet_is_no_refusal(tmp_path: Path, auditd: Any) -> None:
    status, said = through_gate(tmp_path, auditd, uid=os.getuid(), before=Path.unlink)
    assert status == 502
    assert "Is it starting" in said
    assert auditd.events(kind="gate.refused") == []


def test_what_was_looked_at_is_what_is_connected_to(tmp_path: Path) -> None:
    """A server that swaps the name between the look and the connection gains nothing."""
    path = tmp_path / "server.sock"
    own, foreign = listening(path), listening(tmp_path / "foreign.sock")
    fd = open_server_socket(path, uid=os.getuid())
    path.unlink()
    path.symlink_to("foreign.sock")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"/proc/self/fd/{fd}")
        own.settimeout(5)
        own.accept()[0].close()
    foreign.settimeout(0.2)
    with pytest.raises(TimeoutError):
        foreign.accept()
    os.close(fd)
    own.close()
    foreign.close()


def test_no_descriptor_is_left_open_by_a_refusal(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        with pytest.raises(DeniedError):
            open_server_socket(tmp_path / "file", uid=os.getuid())
    assert len(list(Path("/proc/self/fd").iterdir())) == before
