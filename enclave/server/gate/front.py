"""The leg from the browser to the single-user server: listed requests pass, everything else is refused and noted."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import aiohttp
from aiohttp import WSMsgType, web
from multidict import CIMultiDict
from yarl import URL

from enclave.core.errors import DeniedError, UnavailableError
from enclave.server.gate import bodies
from enclave.server.gate.headers import SECURITY, safe_location, to_browser, to_server
from enclave.server.gate.keeper import Keeper
from enclave.server.gate.refusals import Refusals
from enclave.server.gate.routes import Route, judge, same_origin
from enclave.server.gate.scan import WORDS as SCANNED
from enclave.server.gate.uploads import Uploads

MAX_MESSAGE = 64 * 1024 * 1024  # one websocket message; the tap's output budget is far below
# The proxy asks each time on a new connection and ends a request with an empty write. On a Unix socket that write
# fails when the other end is closed already, and the proxy then answers 503 in place of the answer that it has.
LINGER_S = 0.2
_CHUNK = 64 * 1024
_FOREIGN = "Request: wanted a page of this host, got one of another; only this host's pages change anything here"
_REFUSAL = "This server's gate lets only what JupyterLab needs pass; this request is not on its list."


@dataclass(slots=True)
class Front:
    """Handles every request of one person's server. ``server`` talks to its Unix socket."""

    base_url: str
    server: aiohttp.ClientSession
    refusals: Refusals
    uploads: Uploads
    keeper: Keeper

    def app(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self.handle)
        return app

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One request: judged, checked, passed on; its connection stays open for a moment after the answer."""
        answer = await self._answered(request)
        if not answer.prepared:
            await answer.prepare(request)
            await answer.write_eof()
        if not isinstance(answer, web.WebSocketResponse):
            await asyncio.sleep(LINGER_S)
        return answer

    async def _answered(self, request: web.Request) -> web.StreamResponse:
        raw_path, _, _ = request.raw_path.partition("?")
        if raw_path + "/" == self.base_url and request.method in ("GET", "HEAD"):
            return _answer(302, "", location=self.base_url)
        verdict = judge(request.method, raw_path, base_url=self.base_url)
        if verdict.route is None:
            return self._refuse(request, verdict.name, "not_listed", _REFUSAL)
        try:
            if request.method not in ("GET", "HEAD") and not same_origin(request.headers):
                raise DeniedError(_FOREIGN, code="foreign_origin")
            if verdict.route.check == "websocket":
                return await self._websocket(request, verdict.route)
            body = await self._checked_body(request, verdict.route, verdict.path)
            return await self._http(request, verdict.route, body, verdict.path)
        except DeniedError as error:
            if error.code not in SCANNED:  # those have an event of their own
                self.refusals.add("browser", request.method, verdict.name, reason=error.code)
            return _answer(403, error.message)
        except UnavailableError as error:
            return _answer(503, error.message)
        except aiohttp.WSServerHandshakeError as error:
            return _answer(error.status if error.status >= 400 else 502, "The server refused this websocket.")
        except (aiohttp.ClientError, TimeoutError, OSError):
            return _answer(502, "The server behind this gate does not answer. Is it starting, or has it ended?")

    def _refuse(self, request: web.Request, name: str, reason: str, message: str) -> web.Response:
        self.refusals.add("browser", request.method, name, reason=reason)
        return _answer(403, message)

    async def _checked_body(self, request: web.Request, route: Route, path: str) -> bytes:
        if (request.content_length or 0) > route.max_body:
            raise DeniedError("Request: wanted a smaller body, got one over the limit", code="body_too_large")
        body = b""
        async for chunk in request.content.iter_chunked(_CHUNK):
            body += chunk
            if len(body) > route.max_body:
                raise DeniedError("Request: wanted a smaller body, got one over the limit", code="body_too_large")
        if route.check == "read_file":
            bodies.check_read(path, request.query)
        elif route.check == "write_file":
            written = bodies.check_write(request.method, path, body)
            if written is not None:
                await self.uploads.admit(path, written)
        elif route.check == "start_kernel":
            bodies.check_kernel(body, session=path.startswith("api/sessions"))
        return body

    async def _http(self, request: web.Request, route: Route, body: bytes, path: str) -> web.StreamResponse:
        headers = CIMultiDict(to_server(request.headers.items()))
        if route.check == "read_file":
            headers["Accept-Encoding"] = "identity"  # the answer is read here
        async with self.server.request(
            request.method,
            _target(request),
            headers=headers,
            data=body if body or request.method in ("POST", "PUT", "PATCH") else None,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=300),
        ) as answer:
            location = answer.headers.get("Location", "")
            if location and not safe_location(location, host=request.host):
                raise DeniedError("Answer: wanted a page of this host, got a redirect elsewhere", code="redirect")
            passed = CIMultiDict(to_browser(answer.headers.items(), base_url=self.base_url))
            if route.writes and request.method != "GET" and answer.status < 400:
                await self.keeper.keep()
            if route.check == "read_file" and answer.status == 200:
                return await self._whole_file(answer, passed, path)
            return await _stream(request, answer, passed)

    async def _whole_file(self, answer: aiohttp.ClientResponse, headers: CIMultiDict[str], path: str) -> web.Response:
        """A file's content, once it was looked at and counted as shown."""
        body = await answer.content.read(bodies.MAX_REPLY + 1)
        while len(body) <= bodies.MAX_REPLY and (more := await answer.content.read(bodies.MAX_REPLY + 1 - len(body))):
            body += more
        if len(body) > bodies.MAX_REPLY:
            raise DeniedError("Files: wanted at most 5 MB, got more", code="file_too_large")
        if bodies.check_read_reply(body):
            await self.keeper.count(path.removeprefix("api/contents").strip("/"), len(body))
        headers.popall("Content-Length", None)
        return web.Response(status=answer.status, headers=headers, body=body)

    async def _websocket(self, request: web.Request, route: Route) -> web.StreamResponse:
        if not same_origin(request.headers):
            raise DeniedError("Websocket: wanted a page of this host, got another origin", code="foreign_origin")
        if request.headers.get("Upgrade", "").lower() != "websocket":
            raise DeniedError(f"{route.name}: wanted a websocket, got a plain request", code="no_websocket")
        protocols = [p.strip() for p in request.headers.get("Sec-WebSocket-Protocol", "").split(",") if p.strip()]
        headers = CIMultiDict(to_server(request.headers.items()))
        async with self.server.ws_connect(
            _target(request), headers=headers, protocols=protocols, max_msg_size=MAX_MESSAGE, autoclose=True
        ) as inner:
            chosen = (inner.protocol,) if inner.protocol else ()
            outer = web.WebSocketResponse(protocols=chosen, max_msg_size=MAX_MESSAGE, compress=False)
            await outer.prepare(request)
            await _bridge(outer, inner)
            return outer


async def _stream(
    request: web.Request, answer: aiohttp.ClientResponse, headers: CIMultiDict[str]
) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=headers)
    await response.prepare(request)
    async for chunk in answer.content.iter_chunked(_CHUNK):
        await response.write(chunk)
    await response.write_eof()
    return response


async def _bridge(outer: web.WebSocketResponse, inner: aiohttp.ClientWebSocketResponse) -> None:
    """Passes messages both ways until one side closes, then closes the other."""
    tasks = [asyncio.ensure_future(_pump(outer, inner)), asyncio.ensure_future(_pump(inner, outer))]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        code = inner.close_code if inner.closed else outer.close_code
        await inner.close(code=code or 1000)
        await outer.close(code=code or 1000)


async def _pump(
    source: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
    sink: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
) -> None:
    async for message in source:
        if message.type is WSMsgType.TEXT:
            await sink.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await sink.send_bytes(message.data)
        else:
            return


def _target(request: web.Request) -> URL:
    return URL(f"http://server{request.raw_path}", encoded=True)


def _answer(status: int, message: str, *, location: str = "") -> web.Response:
    headers = dict(SECURITY)
    if location:
        headers["Location"] = location
        return web.Response(status=status, headers=headers)
    return web.json_response({"message": message}, status=status, headers=headers)
