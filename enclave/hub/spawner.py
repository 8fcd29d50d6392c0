"""A server for a person: the Hub only asks `enclave-launcherd`, which starts it in a sandbox behind a gate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from jupyterhub.objects import Server
from jupyterhub.spawner import Spawner, SpawnException
from traitlets import Integer, Unicode

from enclave.core.errors import DeniedError, EnclaveError, InvalidError, NotFoundError
from enclave.core.ids import check_principal
from enclave.wire.client import call_once
from enclave.wire.messages.launcher import PollServer, StartServer, StopServer

# What a single-user server is told. The launcher has a list of its own; anything else stays here.
ENVIRONMENT = frozenset(
    {
        "JUPYTERHUB_API_TOKEN",
        "JUPYTERHUB_BASE_URL",
        "JUPYTERHUB_CLIENT_ID",
        "JUPYTERHUB_COOKIE_HOST_PREFIX_ENABLED",
        "JUPYTERHUB_COOKIE_OPTIONS",
        "JUPYTERHUB_HOST",
        "JUPYTERHUB_OAUTH_ACCESS_SCOPES",
        "JUPYTERHUB_OAUTH_CALLBACK_URL",
        "JUPYTERHUB_OAUTH_CLIENT_ALLOWED_SCOPES",
        "JUPYTERHUB_OAUTH_SCOPES",
        "JUPYTERHUB_PUBLIC_HUB_URL",
        "JUPYTERHUB_PUBLIC_URL",
        "JUPYTERHUB_SERVER_NAME",
        "JUPYTERHUB_SERVICE_PREFIX",
        "JUPYTERHUB_USER",
    }
)


class GateServer(Server):
    """A server behind a Unix socket. JupyterHub's own client lower-cases the socket's path, so we ask ourselves."""

    ended: Callable[[], Awaitable[int | None]] | None = None

    async def wait_up(self, timeout: float = 10, *, extra_path: str = "", **_: Any) -> Any:  # noqa: ASYNC109 - the Hub's signature
        """Waits until the server behind the gate answers; any status below 500 will do. Gives up when it ended."""
        path = unquote(urlsplit(self.connect_url).netloc)
        end = time.monotonic() + timeout
        while True:
            answer = await _ask(path, f"{self.base_url}{extra_path}")
            if answer is not None and answer.status < 500:
                return answer
            if self.ended is not None and await self.ended() is not None:
                raise SpawnException(
                    "Server: wanted it ready, got an end; try again, and tell the operator if it stays so",
                    reason="server_ended",
                    status_code=503,
                )
            if time.monotonic() > end:
                raise TimeoutError(f"server did not answer within {timeout} s")
            await asyncio.sleep(0.25)


class GateAnswer:
    """Status and headers, as far as the Hub looks at them."""

    def __init__(self, status: int, headers: dict[str, str]) -> None:
        self.status = status
        self.headers = headers


class EnclaveSpawner(Spawner):
    """Starts, polls and stops a person's server by asking the launcher over its socket."""

    launcher_socket = Unicode(help="The launcher's socket.").tag(config=True)
    launcher_timeout_s = Integer(45, help="How long the launcher may take to start a server.").tag(config=True)

    gate_url = ""
    server_id = ""
    _steps: tuple[str, ...] = ()

    @property
    def server(self) -> Server | None:
        """The Hub's record of the server, with the address of its gate."""
        server = super().server
        if server is None or not self.gate_url:
            return server
        if not isinstance(server, GateServer):
            server = self._server = GateServer(orm_server=server.orm_server)
        if not server.connect_url:
            server.connect_url = self.gate_url
            server.ended = self.poll
        return server

    @server.setter
    def server(self, server: Server | None) -> None:
        Spawner.server.fset(self, server)

    async def start(self) -> str:
        """Asks for a server; returns the gate's ``http+unix://`` URL."""
        self._steps = ("Asking for a sandbox without network …",)
        person = check_principal(self.user.name)
        record = self.server
        if record is None:
            raise InvalidError("server: wanted the Hub's record of it, got none")
        environment = {name: str(value) for name, value in self.get_env().items() if name in ENVIRONMENT}
        request = StartServer(
            person=person,
            base_url=record.base_url,
            hub_api_url=self.hub.api_url,
            environment=environment,
        )
        try:
            reply = await asyncio.to_thread(self._call, request, timeout_s=self.launcher_timeout_s)
        except DeniedError as error:
            raise SpawnException(error.message, reason=error.code, status_code=403) from None
        except EnclaveError as error:
            raise SpawnException(error.message, reason=error.code, status_code=503) from None
        self.server_id, self.gate_url = reply.server, _checked_url(reply.url)
        self._steps = (*self._steps, "The sandbox runs; waiting for JupyterLab in it …")
        return self.gate_url

    async def poll(self) -> int | None:
        """None while it runs, else its exit code (0 when nobody knows the server any more)."""
        if not self.server_id:
            return 0
        try:
            status = await asyncio.to_thread(self._call, PollServer(server=self.server_id), timeout_s=10)
        except NotFoundError:
            return 0
        except EnclaveError as error:
            self.log.warning("Launcher did not say whether the server runs: %s", error.code)
            return None  # an unknown state is no reason to forget a server that may run
        code: int | None = status.exit_code
        return code

    async def stop(self, now: bool = False) -> None:  # noqa: FBT001, FBT002 - the Hub's signature
        """Ends server, gate and kernels."""
        del now
        if self.server_id:
            try:
                await asyncio.to_thread(self._call, StopServer(server=self.server_id), timeout_s=30)
            except NotFoundError:
                pass
            except EnclaveError as error:
                self.log.error("Launcher did not end the server: %s", error.code)  # noqa: TRY400 - the code says it
        self.clear_state()

    def get_state(self) -> dict[str, Any]:
        """What a restarted Hub needs to find the server again."""
        state: dict[str, Any] = super().get_state()
        return {**state, "server_id": self.server_id, "gate_url": self.gate_url} if self.server_id else state

    def load_state(self, state: dict[str, Any]) -> None:
        """The reverse of ``get_state``."""
        super().load_state(state)
        self.server_id = str(state.get("server_id") or "")
        self.gate_url = str(state.get("gate_url") or "")

    def clear_state(self) -> None:
        """Forgets the server."""
        super().clear_state()
        self.server_id = self.gate_url = ""
        self._steps = ()

    async def get_url(self) -> str:
        """The server's URL as the Hub keeps it."""
        return self.server.url if self.server is not None else self.gate_url

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """The steps in plain words while a person waits."""
        told = 0
        while True:
            for step in self._steps[told:]:
                told += 1
                yield {"progress": min(90, 30 * told), "message": step}
            await asyncio.sleep(0.2)

    def _call(self, message: Any, *, timeout_s: float) -> Any:
        return call_once(Path(self.launcher_socket), message, timeout_s=timeout_s)


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "http+unix" or not unquote(parts.netloc).startswith("/"):
        raise InvalidError("gate: wanted an http+unix:// address from the launcher, got another form")
    return f"{parts.scheme}://{parts.netloc}"


async def _ask(socket_path: str, path: str) -> GateAnswer | None:
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_unix_connection(socket_path)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode("ascii"))
                head = await reader.readuntil(b"\r\n\r\n")
            finally:
                writer.close()
    except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {
        name.strip().title(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
    }
    try:
        status = int(first.split(" ")[1])
    except (IndexError, ValueError):
        return None
    return GateAnswer(status, {"X-JupyterHub-Version": headers.get("X-Jupyterhub-Version", "")})
