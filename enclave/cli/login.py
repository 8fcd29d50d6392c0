"""``enclave login | logout | whoami``: acting for a person from a shell."""

from __future__ import annotations

import http.server
import time
import webbrowser
from http import HTTPStatus
from typing import Self

import typer

from enclave.cli.output import HomeOption, JsonOption, home_of, words, write_json
from enclave.cli.session import Session, forget_session, read_session, write_session
from enclave.core.errors import DeniedError, UnavailableError
from enclave.hub.secrets_files import CLI_CLIENT, read_hub_secret
from enclave.hub.settings import HubSettings
from enclave.identity.authorization import end_token, exchange, new_attempt
from enclave.identity.hub import HubIdentity

WAIT_S = 300.0
_DONE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Signed in</title>
<style>body{font:16px/1.5 system-ui,sans-serif;margin:4rem auto;max-width:36rem;color:#1c2733}</style>
<h1>%s</h1><p>%s</p></html>"""


def login(
    home: HomeOption = None,
    browser: bool = typer.Option(True, help="Open the page in a browser; otherwise only print its address."),
) -> None:
    """Sign in with a browser, to act from this shell (at most 8 hours)."""
    place = home_of(home)
    settings = place.settings(HubSettings, section="hub")
    attempt = new_attempt(settings.cli_redirect_uri)
    client = read_hub_secret(place, CLI_CLIENT)
    with _Waiter(settings.login_port) as waiter:
        url = attempt.authorize_url(settings.url)
        words().print(f"Confirm in your browser, at\n{url}", markup=False)
        if browser:
            webbrowser.open(url)
        code = attempt.code_from(waiter.wait())
    granted = exchange(settings.api_url, attempt=attempt, code=code, client=client)
    lifetime = min(granted.expires_in, settings.session_hours * 3600)
    actor = HubIdentity(settings.api_url).resolve(granted.token)
    write_session(place, Session(token=granted.token, person=actor.name, expires=int(time.time()) + lifetime))
    words().print(f"Signed in as {actor.name} ({_roles(actor.roles)}) for {lifetime // 3600} hours.", markup=False)


def logout(home: HomeOption = None) -> None:
    """Forget the sign-in of this shell, and end its token at the Hub."""
    place = home_of(home)
    token = forget_session(place)
    if token is None:
        words().print("This shell was not signed in.")
        return
    settings = place.settings(HubSettings, section="hub")
    try:
        ended = end_token(settings.api_url, token=token)
    except UnavailableError:
        words().print(
            "Signed out of this shell: the token is deleted here. The Hub did not answer; "
            f"a copy of the token would count until {settings.session_hours} hours after the sign-in."
        )
        return
    words().print(f"Signed out{'; the token has ended' if ended else '; the token had ended before'}.")


def whoami(home: HomeOption = None, json_path: JsonOption = None) -> None:
    """Who this shell acts for, as the Hub says now."""
    place = home_of(home)
    session = read_session(place)
    actor = HubIdentity(place.settings(HubSettings, section="hub").api_url).resolve(session.token)
    if json_path is not None:
        write_json({"name": actor.name, "roles": sorted(actor.roles), "expires": session.expires}, json_path)
        return
    left = max(0, session.expires - int(time.time()))
    words().print(f"{actor.name}: {_roles(actor.roles)}; signs out in {left // 60} minutes", markup=False)


def _roles(roles: frozenset[str]) -> str:
    return ", ".join(role.replace("_", " ") for role in sorted(roles)) or "no role"


class _Waiter:
    """Listens on the loopback address until the browser comes back once."""

    def __init__(self, port: int) -> None:
        self._callback = ""
        waiter = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                """The browser's return; anything else is not here."""
                if not self.path.startswith("/callback?"):
                    self.send_error(HTTPStatus.NOT_FOUND)
                    return
                waiter._callback = self.path
                refused = "error=" in self.path
                title = "Not signed in" if refused else "Signed in"
                text = "You refused. This window can be closed." if refused else "Go back to your shell."
                body = (_DONE % (title, text)).encode()
                self.send_response(HTTPStatus.OK)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """The path holds the code: nothing is logged."""

        try:
            self._server = http.server.HTTPServer(("127.0.0.1", port), Handler)
        except OSError:
            raise UnavailableError(
                f"port {port}: wanted it for the browser's return, got one in use; is another `enclave login` waiting?"
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.server_close()

    def wait(self) -> str:
        """The path that the browser came back to; raises ``DeniedError`` after five minutes."""
        end = time.monotonic() + WAIT_S
        while not self._callback and time.monotonic() < end:
            self._server.timeout = max(0.1, end - time.monotonic())
            self._server.handle_request()
        if not self._callback:
            raise DeniedError("Sign-in: wanted a confirmation within five minutes, got none; run `enclave login` again")
        return self._callback
