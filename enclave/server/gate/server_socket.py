"""The way from a gate to its server: the socket that the person's sandbox made, and nothing else put in its place.

The folder of that socket belongs to the hostile side. What lies there is therefore opened without following a link,
looked at, and connected to as that very thing: a name that changes meanwhile changes nothing.
"""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

from enclave.core.errors import DeniedError


def open_server_socket(path: Path, *, uid: int) -> int:
    """A descriptor (O_PATH) of the socket at ``path``; ``/proc/self/fd/N`` of it can be connected to.

    Raises ``DeniedError`` unless it is a socket, no link, and owned by ``uid``; ``OSError`` when there is nothing.
    """
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        if stat.S_ISLNK(found.st_mode):
            raise _foreign("a link", code="server_socket_link")
        if not stat.S_ISSOCK(found.st_mode):
            raise _foreign("something that is no socket", code="server_socket_kind")
        if found.st_uid != uid:
            raise _foreign("one of another user", code="server_socket_owner")
    except BaseException:
        os.close(fd)
        raise
    return fd


class ServerConnector(aiohttp.UnixConnector):
    """Connects to the socket of one person's server after looking at it, each time anew."""

    def __init__(self, path: Path, *, uid: int) -> None:
        super().__init__(path=str(path), limit=0)
        self._uid = uid

    async def _create_connection(
        self,
        _req: Any,
        _traces: Any,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's name for it
    ) -> ResponseHandler:
        fd = open_server_socket(Path(self.path), uid=self._uid)
        try:
            async with asyncio.timeout(timeout.sock_connect):
                _, protocol = await self._loop.create_unix_connection(self._factory, f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)
        return protocol


def _foreign(got: str, *, code: str) -> DeniedError:
    return DeniedError(
        f"Server: wanted the socket that this person's server made, got {got}; stop the server and start it again",
        code=code,
    )
