"""The demo's people without a browser: the same pages, forms, cookies and tokens that a browser would use.

Works with the embedded development provider only: nobody can be signed in this way where a password is needed.
"""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass, field
from html import unescape
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

from enclave.core.errors import DeniedError, UnavailableError
from enclave.hub.secrets_files import CLI_CLIENT, read_hub_secret
from enclave.hub.settings import HubSettings
from enclave.identity.authorization import exchange, new_attempt
from enclave.runtime.home import Home

START_TIMEOUT_S = 90.0
HUB_TIMEOUT_S = 30.0
_MAX_STEPS = 12
_FORM = re.compile(r"<form\b[^>]*>.*?</form>", re.DOTALL | re.IGNORECASE)
_INPUT = re.compile(r"<input\b[^>]*>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"([a-zA-Z_-]+)\s*=\s*(\"[^\"]*\"|'[^']*')")
_MESSAGE = re.compile(r"<p[^>]*>(Sign-in:.*?)</p>", re.DOTALL)


@dataclass(slots=True)
class PersonSession:
    """A signed-in person's cookies. ``url`` is the public address without a slash at the end."""

    url: str
    person: str
    http: httpx.Client = field(repr=False)

    def get(self, path: str, **options: Any) -> httpx.Response:
        """GET ``path`` of the public address, redirects followed; OAuth between services happens on the way."""
        return self.http.get(self._address(path), **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        """POST to ``path`` with the XSRF token that the page's cookie holds."""
        return self._change("POST", path, **options)

    def get_json(self, path: str) -> Any:
        """GET ``path`` as JSON; raises unless it worked."""
        return _answered(self.get(path, headers={"Accept": "application/json"}))

    def post_json(self, path: str, body: Any) -> Any:
        """POST ``body`` as JSON to ``path``; raises unless it worked."""
        return _answered(self.post(path, json=body))

    def put_json(self, path: str, body: Any) -> Any:
        """PUT ``body`` as JSON to ``path``; raises unless it worked."""
        return _answered(self._change("PUT", path, json=body))

    def delete(self, path: str) -> None:
        """DELETE ``path``; raises unless it worked."""
        _answered(self._change("DELETE", path))

    def websocket_url(self, path: str) -> str:
        """The ``ws://`` address of ``path``."""
        return "ws" + self._address(path).removeprefix("http")

    def cookie_header(self, path: str) -> str:
        """The cookies that a browser would send to ``path``."""
        return str(self.http.build_request("GET", self._address(path)).headers.get("Cookie", ""))

    def xsrf(self, path: str) -> str:
        """The XSRF token that belongs to ``path``: of the cookies that match it, the most specific one's."""
        where = urlsplit(self._address(path)).path
        fitting = [c for c in self.http.cookies.jar if c.name == "_xsrf" and where.startswith(c.path)]
        best = max(fitting, key=lambda cookie: len(cookie.path), default=None)
        return str(best.value) if best is not None else ""

    def close(self) -> None:
        """Ends the connections."""
        self.http.close()

    def _change(self, method: str, path: str, **options: Any) -> httpx.Response:
        token = self.xsrf(path)
        headers = {"X-XSRFToken": token, "Referer": self._address(path), **options.pop("headers", {})}
        return self.http.request(method, self._address(path), headers=headers, **options)

    def _address(self, path: str) -> str:
        return urljoin(self.url + "/", path)


def sign_in(home: Home, person: str) -> PersonSession:
    """Signs ``person`` in at the Hub through the provider's page; raises ``DeniedError`` when the Hub refuses."""
    settings = home.settings(HubSettings, section="hub")
    return sign_in_at(settings.url, person)


def sign_in_at(public_url: str, person: str) -> PersonSession:
    """As ``sign_in``, by address."""
    client = httpx.Client(follow_redirects=True, timeout=60, trust_env=False)
    session = PersonSession(public_url.rstrip("/"), person, client)
    try:
        _await_hub(session)
        page = session.get("/hub/oauth_login")
        if "/oauth2/authorize" not in page.url.path:
            raise UnavailableError(f"Hub: wanted the provider's page, got status {page.status_code}; is it running?")
        page = client.post(page.url, data={"sub": person})
    except httpx.HTTPError:
        client.close()
        raise UnavailableError("Hub: wanted its sign-in page, got no answer; is it running?") from None
    if page.status_code >= 400 and page.url.path == "/hub/oauth_callback":
        client.close()
        raise DeniedError(_refusal(page), code="sign_in_refused")
    if page.status_code >= 500 and not page.url.path.startswith("/services/"):
        client.close()
        raise UnavailableError(f"Hub: wanted a page after the sign-in, got status {page.status_code}")
    return session


def _await_hub(session: PersonSession) -> None:
    """The proxy answers 404 or 503 until the Hub has told it where it is."""
    end = time.monotonic() + HUB_TIMEOUT_S
    while session.get("/hub/health").status_code != 200:
        if time.monotonic() > end:
            raise UnavailableError(f"Hub: wanted it ready within {HUB_TIMEOUT_S:.0f} s, got none; see its log")
        time.sleep(0.2)


def start_server(session: PersonSession) -> None:
    """Starts the person's server, waits until it answers and signs in there; raises when it does not start."""
    session.get("/hub/home")
    started = session.post(f"/hub/api/users/{session.person}/server")
    if started.status_code not in (201, 202, 400):
        raise UnavailableError(f"server: wanted it started, got status {started.status_code}: {_told(started)}")
    end = time.monotonic() + START_TIMEOUT_S
    base = f"/user/{session.person}"
    while True:
        model = session.get_json(f"/hub/api/users/{session.person}")
        server = (model.get("servers") or {}).get("") or {}
        if server.get("ready"):
            break
        if not server.get("pending") and started.status_code == 202:
            raise UnavailableError("server: wanted it ready, got a start that failed; see the Hub's log")
        if time.monotonic() > end:
            raise UnavailableError(f"server: wanted it ready within {START_TIMEOUT_S:.0f} s, got none")
        time.sleep(0.2)
    page = session.get(f"{base}/lab")
    if page.status_code != 200:
        raise UnavailableError(f"server: wanted JupyterLab's page, got status {page.status_code}")


def token_for(home: Home, person: str) -> str:
    """A Hub token of ``person`` as ``enclave login`` would get it; kept for five minutes in this process."""
    key = (str(home.root), person)
    with _guard:
        kept = _tokens.get(key)
    if kept is not None and kept[0] > time.monotonic():
        return kept[1]
    session = sign_in(home, person)
    try:
        token = issue_cli_token(home, session)
    finally:
        session.close()
    with _guard:
        _tokens[key] = (time.monotonic() + 300, token)
    return token


def issue_cli_token(home: Home, session: PersonSession) -> str:
    """The OAuth of ``enclave login`` with the confirmation page answered by its form."""
    settings = home.settings(HubSettings, section="hub")
    attempt = new_attempt(settings.cli_redirect_uri)
    callback = confirm_at(session, attempt.authorize_url(session.url), redirect_uri=settings.cli_redirect_uri)
    client = read_hub_secret(home, CLI_CLIENT)
    return exchange(settings.api_url, attempt=attempt, code=attempt.code_from(callback), client=client).token


def confirm_at(session: PersonSession, url: str, *, redirect_uri: str) -> str:
    """Confirms at the Hub's page, as a person would; returns the loopback address that the browser is sent to."""
    answer = session.http.get(url, follow_redirects=False)
    for _ in range(_MAX_STEPS):
        target = answer.headers.get("Location", "")
        if target.startswith(redirect_uri):
            return str(target)
        if target:
            answer = session.http.get(urljoin(str(answer.url), target), follow_redirects=False)
        elif answer.status_code == 200:
            answer = session.http.post(answer.url, data=_confirmation(answer.text), follow_redirects=False)
        else:
            break
    raise DeniedError(f"Sign-in: wanted a code for the shell, got status {answer.status_code}", code="not_granted")


_tokens: dict[tuple[str, str], tuple[float, str]] = {}
_guard = threading.Lock()


def _confirmation(page: str) -> dict[str, list[str]]:
    form = next((f for f in _FORM.findall(page) if "scopes" in f), "")
    fields: dict[str, list[str]] = {}
    for tag in _INPUT.findall(form):
        attributes = {name.lower(): unescape(value[1:-1]) for name, value in _ATTRIBUTE.findall(tag)}
        if attributes.get("name"):
            fields.setdefault(attributes["name"], []).append(attributes.get("value", ""))
    return fields


def _refusal(page: httpx.Response) -> str:
    found = _MESSAGE.search(page.text)
    text = unescape(re.sub(r"<[^>]+>|\s+", " ", found.group(1))).strip() if found else ""
    return text or f"Sign-in: wanted it accepted, got status {page.status_code}"


def _told(answer: httpx.Response) -> str:
    try:
        return str(answer.json().get("message", ""))[:300]
    except (ValueError, AttributeError):
        return ""


def _answered(answer: httpx.Response) -> Any:
    if answer.status_code >= 400:
        told = _told(answer) or "no words"
        message = f"{answer.request.method} {answer.url.path}: wanted it done, got status {answer.status_code}: {told}"
        raise DeniedError(message) if answer.status_code == 403 else UnavailableError(message)
    return answer.json() if answer.content else None
