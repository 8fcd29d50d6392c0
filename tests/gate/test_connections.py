"""How a gate ends its connections."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from enclave.audit.client import AuditClient
from enclave.runtime.log import Log
from enclave.server.gate.front import Front
from enclave.server.gate.keeper import Keeper
from enclave.server.gate.uploads import Uploads


class Heard:
    """Counts what the gate refuses."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, *_: str, reason: str) -> None:
        del reason
        self.count += 1


async def _serve(path: Path, ask: Any) -> Any:
    heard = Heard()
    uploads = Uploads("rosa", AuditClient(path.with_name("no-ledger")), Log("gate"))
    async with aiohttp.ClientSession() as session:
        runner = web.AppRunner(
            Front("/user/rosa/", session, heard, uploads, Keeper(path.with_name("none"))).app(),
            access_log=None,
            shutdown_timeout=0.1,
        )
        await runner.setup()
        await web.UnixSite(runner, str(path)).start()
        try:
            return await asyncio.to_thread(ask), heard.count
        finally:
            await runner.cleanup()


def test_an_empty_write_after_the_answer_meets_an_open_connection(tmp_path: Path) -> None:
    """What the proxy does at the end of each request; on a closed Unix socket it is a broken pipe."""
    path = tmp_path / "gate.sock"

    def ask() -> list[str]:
        found = []
        for _ in range(5):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(10)
                sock.connect(str(path))
                head = "GET /user/rosa/files/secret.csv HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
                sock.sendall(head.encode())
                answer = b""
                while b"}" not in answer:
                    answer += sock.recv(65536)
                time.sleep(0.05)
                os.write(sock.fileno(), b"")  # raises BrokenPipeError when the gate has closed already
                found.append(answer.split(b"\r\n")[0].decode())
        return found

    answers, refused = asyncio.run(_serve(path, ask))
    assert answers == ["HTTP/1.1 403 Forbidden"] * 5
    assert refused == 5


def test_a_page_of_another_host_changes_nothing_and_the_refusal_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "gate.sock"

    def ask() -> list[bytes]:
        found = []
        for said in (
            "Origin: http://elsewhere",
            "Origin: null",
            "Sec-Fetch-Site: same-site",
            "Origin: http://localhost",
        ):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(10)
                sock.connect(str(path))
                lines = ("DELETE /user/rosa/api/contents/a.py HTTP/1.1", "Host: localhost", said, "Connection: close")
                sock.sendall("".join(f"{line}\r\n" for line in (*lines, "")).encode())
                found.append(sock.recv(65536).split()[1])
        return found

    answers, refused = asyncio.run(_serve(path, ask))
    assert answers == [
        b"403",
        b"403",
        b"403",
        b"502",
    ]  # the last one is passed on to the server, of which there is none
    assert refused == 3
