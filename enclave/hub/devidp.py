"""The development identity provider: real OpenID Connect, synthetic people, no passwords.

``python -m enclave.hub.devidp --home DIR``. Anybody who reaches the page is whoever they say, so it listens on
loopback only and serves enclaves with synthetic data. One person, ``nomfa``, signs in without a second factor.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import flask
import werkzeug.serving

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what the provider's library will have to change is no news for an operator
    from oidc_provider_mock import User, init_app

from enclave.core.errors import EnclaveError, UnavailableError
from enclave.hub.settings import HubSettings
from enclave.identity.roles import group_of
from enclave.runtime.daemon import run_until_signal
from enclave.runtime.home import home_from
from enclave.runtime.log import Log

SERVED = frozenset({"/oauth2/authorize", "/oauth2/token", "/userinfo", "/jwks", "/.well-known/openid-configuration"})


@dataclass(frozen=True, slots=True)
class Person:
    """One synthetic person."""

    id: str
    role: str
    task: str
    second_factor: bool = True


PEOPLE: tuple[Person, ...] = (
    Person("rosa", "researcher", "works in a notebook"),
    Person("edgar", "expert", "signs expert determinations"),
    Person("hana", "honest_broker", "releases dataset versions"),
    Person("olga", "output_checker", "reviews what leaves"),
    Person("omar", "output_checker", "reviews what leaves"),
    Person("stella", "data_steward", "takes data in, makes projects"),
    Person("ada", "auditor", "reads the ledger"),
    Person("otto", "operator", "runs the machine"),
    Person("nomfa", "researcher", "has no second factor and is refused", second_factor=False),
)


def users() -> tuple[User, ...]:
    """The people as the provider knows them."""
    return tuple(
        User(
            sub=person.id,
            claims={
                "groups": [group_of(person.role)],
                "amr": ["pwd", "otp", "mfa"] if person.second_factor else ["pwd"],
                "name": person.id.capitalize(),
            },
        )
        for person in PEOPLE
    )


def make_app(settings: HubSettings) -> flask.Flask:
    """The provider for exactly one client and one redirect address, with a page of our own and no debugger."""
    app = flask.Flask(__name__, template_folder="idp_templates")
    app.secret_key = os.urandom(32)
    plain = app.wsgi_app
    init_app(app, require_client_registration=False, issue_refresh_token=False, user_claims=users())
    app.wsgi_app = plain  # type: ignore[method-assign]  # takes the interactive debugger off again
    app.debug = False

    @app.before_request
    def only_what_the_hub_needs() -> None:
        if flask.request.path not in SERVED:
            flask.abort(404)
        if flask.request.path == "/oauth2/authorize":
            asked = flask.request.args
            if asked.get("client_id") != settings.idp_client_id or asked.get("redirect_uri") != settings.callback_url:
                flask.abort(400, "This provider serves one Hub only: another client or address asked.")
            if flask.request.method == "POST" and flask.request.form.get("sub") not in _KNOWN:
                flask.abort(400, "Nobody here has that id. Go back and choose one of the list.")

    @app.context_processor
    def people() -> dict[str, object]:
        return {"people": PEOPLE}

    @app.after_request
    def strict(response: flask.Response) -> flask.Response:
        response.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'"
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["X-Frame-Options"] = "DENY"
        return response

    return app


_KNOWN = frozenset(person.id for person in PEOPLE)


def serve(settings: HubSettings) -> werkzeug.serving.BaseWSGIServer:
    """A server that listens on loopback; call ``serve_forever`` on it."""
    try:
        return werkzeug.serving.make_server(
            "127.0.0.1", settings.idp_port, make_app(settings), threaded=True, request_handler=_QuietHandler
        )
    except (OSError, SystemExit):
        raise UnavailableError(
            f"port {settings.idp_port}: wanted it for the development identity provider, got one in use"
        ) from None


class _QuietHandler(werkzeug.serving.WSGIRequestHandler):
    """Request lines hold codes and tokens: they are not logged."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Logs nothing."""


def main() -> None:
    """Serves until a signal."""
    import threading

    parser = argparse.ArgumentParser(prog="enclave-devidp")
    parser.add_argument("--home", type=Path)
    home = home_from(parser.parse_args().home)
    log = Log("devidp")
    os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"  # http, on loopback only
    try:
        settings = home.settings(HubSettings, section="hub")
        server = serve(settings)
    except EnclaveError as error:
        sys.stderr.write(f"{error.message}\n")
        sys.exit(error.exit_code)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    run_until_signal(log, close=server.shutdown)


if __name__ == "__main__":
    main()
