"""The leg from the single-user server to the Hub's API: four requests, each about this person, and no other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qs, unquote

import aiohttp
from aiohttp import web
from yarl import URL

from enclave.core.errors import DeniedError
from enclave.server.gate.refusals import Refusals

Ask = Literal["version", "user", "token", "activity"]
MAX_BODY = 64 * 1024
_MAX_ANSWER = 1 << 20
_FORWARDED = ("Authorization", "Content-Type", "Accept")
_RETURNED = ("Content-Type", "X-JupyterHub-Version")


def classify(method: str, raw_path: str, *, person: str) -> Ask | None:
    """Which of the four requests this is, or None: then it is refused. Pure."""
    path, _, query = raw_path.partition("?")
    if query:
        return None
    if method == "GET" and path in ("/hub/api", "/hub/api/"):
        return "version"
    if method == "GET" and path == "/hub/api/user":
        return "user"
    if method == "POST" and path == "/hub/api/oauth2/token":
        return "token"
    prefix, _, last = path.rpartition("/")
    if method == "POST" and last == "activity" and prefix.startswith("/hub/api/users/"):
        name = prefix.removeprefix("/hub/api/users/")
        return "activity" if "/" not in name and unquote(name) == person else None
    return None


def check_token_request(body: bytes, *, person: str) -> None:
    """A code for a token, for this person's own server; raises ``DeniedError``. Pure."""
    try:
        form = parse_qs(body.decode("ascii"), strict_parsing=True, max_num_fields=12)
    except ValueError:
        form = {}
    own = f"jupyterhub-user-{person}"
    clients = [unquote(client) for client in form.get("client_id", [])]
    if form.get("grant_type") != ["authorization_code"] or clients != [own]:
        raise DeniedError("Hub: wanted this server's own sign-in, got another", code="foreign_client")


def check_user_reply(status: int, body: bytes, *, person: str) -> None:
    """The Hub's word about a token: only about this person; raises ``DeniedError``. Pure."""
    if status != 200:
        return
    try:
        model = json.loads(body)
    except ValueError:
        model = None
    if not isinstance(model, Mapping) or model.get("kind") != "user" or model.get("name") != person:
        raise DeniedError("Hub: wanted a token of this server's person, got another", code="foreign_person")


@dataclass(slots=True)
class HubLeg:
    """Serves the socket that the server sees as its Hub. ``api_url`` is the real Hub's ``…/hub/api``."""

    api_url: str
    person: str
    hub: aiohttp.ClientSession
    refusals: Refusals

    def app(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self.handle)
        return app

    async def handle(self, request: web.Request) -> web.Response:
        """One request: known, checked, passed on."""
        ask = classify(request.method, request.raw_path, person=self.person)
        if ask is None:
            return self._refuse(request, "other", "not_listed")
        try:
            body = await request.read()
            if ask == "token":
                check_token_request(body, person=self.person)
            status, headers, answer = await self._forward(request, body)
            if ask == "user":
                check_user_reply(status, answer, person=self.person)
        except web.HTTPRequestEntityTooLarge:
            return self._refuse(request, ask, "body_too_large")
        except DeniedError as error:
            return self._refuse(request, ask, error.code)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return web.json_response({"message": "The Hub does not answer."}, status=502)
        return web.Response(status=status, headers=headers, body=answer)

    def _refuse(self, request: web.Request, name: str, reason: str) -> web.Response:
        self.refusals.add("server", request.method, name, reason=reason)
        return web.json_response({"message": "The gate passes nothing of the Hub but this person's own."}, status=403)

    async def _forward(self, request: web.Request, body: bytes) -> tuple[int, dict[str, str], bytes]:
        path = request.raw_path.removeprefix("/hub/api")
        headers = {name: request.headers[name] for name in _FORWARDED if name in request.headers}
        async with self.hub.request(
            request.method,
            URL(self.api_url + path, encoded=True),
            headers=headers,
            data=body if request.method == "POST" else None,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=30),
        ) as answer:
            read = await answer.content.read(_MAX_ANSWER)
            while more := await answer.content.read(_MAX_ANSWER):
                read += more
                if len(read) > _MAX_ANSWER:
                    raise DeniedError("Hub: wanted a short answer, got a long one", code="answer_too_large")
            return answer.status, {n: answer.headers[n] for n in _RETURNED if n in answer.headers}, read
