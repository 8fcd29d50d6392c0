"""What every page has: who is signed in, strict headers, errors in plain words, one look."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

from jinja2 import Environment
from jupyterhub.services.auth import HubOAuth, HubOAuthCallbackHandler, HubOAuthenticated
from tornado.web import Finish, HTTPError, RequestHandler, StaticFileHandler

from enclave.audit.client import AuditClient
from enclave.console.gateway import Gateway
from enclave.core.errors import DeniedError, EnclaveError
from enclave.identity.hub import actor_of
from enclave.policy.model import Actor
from enclave.runtime.log import Log
from enclave.wire.messages.vault import ListAlarms

STRICT: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; font-src 'self'; "
    "form-action 'self'; frame-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": STRICT,
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
    "Server": "enclave",
}
ALARMED: Final = ("auditor", "data_steward")  # who sees break-glass alarms on every page until they acknowledge them
STATUS: Final = {
    "denied": HTTPStatus.FORBIDDEN,
    "not_found": HTTPStatus.NOT_FOUND,
    "invalid": HTTPStatus.BAD_REQUEST,
    "conflict": HTTPStatus.CONFLICT,
    "unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "integrity": HTTPStatus.INTERNAL_SERVER_ERROR,
}
TITLES: Final = {
    "denied": "You may not do this",
    "not_found": "This is not here",
    "invalid": "Something is missing or has another form",
    "conflict": "This does not fit the present state",
    "unavailable": "A part of the enclave does not answer",
    "integrity": "Bytes are not what they were",
}
# What a page says after an act; the query holds only the code.
DONE: Final = {
    "voted": "Your vote is recorded.",
    "withdrawn": "The request is withdrawn.",
    "requested": "The release is requested. An honest broker decides.",
    "reviewed": "What you said of the sample is recorded.",
    "judged": "What you said of the item is recorded. This is the next one.",
    "sample_done": "What you said of the item is recorded. No item of this sample waits.",
    "decided": "The decision is recorded.",
    "glass_requested": "The request is recorded and the alarm raised. Two others decide.",
    "acknowledged": "You have acknowledged the alarm. Others see it until they have, too.",
    "queued": "The report is queued.",
    "taken_up": "You took the alert up.",
    "resolved": "The alert is closed.",
    "signed": "Your signature is recorded.",
    "determined": "Your signature is recorded with the determination.",
    "taken_back": "The release is taken back.",
    "enrolled": "The key is enrolled.",
    "key_ended": "The key is ended.",
    "drilled": "The drill is being played.",
}


CROSS_SITE: Final = "cross_site"


class Page(HubOAuthenticated, RequestHandler):
    """A page for a signed-in person. It shows what the daemons answer and decides nothing.

    To open one is an act of the person, which the daemons record: no other site opens it in their name.
    """

    FROM_ANYWHERE = False  # whether a link on another site may lead here
    actor: Actor
    token: str
    alarm_count: int | None = 0

    def initialize(self) -> None:
        """Takes the one Hub client of this process."""
        self.hub_auth = self.settings["hub_auth"]

    def set_default_headers(self) -> None:
        """On every answer, errors too."""
        for name, value in HEADERS.items():
            self.set_header(name, value)

    async def prepare(self) -> None:
        """Sends who is not signed in to the Hub; a form without a session is refused instead."""
        await self.auth.get_user(self, sync=False)
        user = self.current_user
        if not user:
            if self.request.method not in ("GET", "HEAD"):
                raise HTTPError(HTTPStatus.FORBIDDEN)
            self.redirect(self.get_login_url())
            raise Finish
        self.actor = actor_of(user)
        self.token = self.auth.get_token(self) or ""
        if not self.FROM_ANYWHERE and from_elsewhere(self.request.headers):
            await self._refuse_foreign()
        if self.request.method == "GET" and self.has_role(*ALARMED):
            self.alarm_count = await self._count_alarms()

    async def _refuse_foreign(self) -> None:
        """Raises ``DeniedError`` once the refusal is in the ledger."""
        ledger: AuditClient = self.settings["audit"]
        told = {"page": type(self).__name__}
        await asyncio.to_thread(
            ledger.record, "console.open", actor=self.actor.name, outcome="refused", reason=CROSS_SITE, detail=told
        )
        raise DeniedError(
            "page: wanted it opened within the enclave or by its typed address, got a way here from another site or "
            "from signing in; nothing was opened yet, open it from here if you meant to",
            code=CROSS_SITE,
        )

    async def _count_alarms(self) -> int | None:
        """How many break-glass alarms this person has not acknowledged; None when the vault does not say."""
        try:
            reply = await self.ask("vaultd", ListAlarms(token=self.token))
        except EnclaveError:
            return None
        return len(reply.alarms)

    @property
    def auth(self) -> HubOAuth:
        """The Hub client."""
        return self.settings["hub_auth"]

    @property
    def gateway(self) -> Gateway:
        """The way to the daemons."""
        gateway: Gateway = self.settings["gateway"]
        return gateway

    def has_role(self, *roles: str) -> bool:
        """Whether to offer something; what is allowed is decided elsewhere."""
        return bool(self.actor.roles & set(roles))

    async def ask(self, daemon: str, message: Any) -> Any:
        """A daemon's answer to this person."""
        return await self.gateway.ask(daemon, message)

    def text_field(self, name: str) -> str:
        """One field of the form, '' when it is absent."""
        return str(self.get_body_argument(name, ""))

    def url(self, *parts: str) -> str:
        """A path below the service's prefix."""
        return str(self.settings["prefix"]) + "/".join(parts)

    def show(self, template: str, **values: Any) -> None:
        """Renders a whole page or a fragment."""
        environment: Environment = self.settings["templates"]
        common = {
            "prefix": self.settings["prefix"],
            "actor": getattr(self, "actor", None),
            "xsrf": self.xsrf_token.decode("ascii") if getattr(self, "actor", None) else "",
            "done": DONE.get(self.get_query_argument("done", ""), ""),
            "path": self.request.path,
            "alarm_count": self.alarm_count,
        }
        self.finish(environment.get_template(template).render({**common, **values}))

    def go(self, *parts: str, done: str = "") -> None:
        """After a form: to a page that can be reloaded."""
        self.redirect(self.url(*parts) + (f"?done={done}" if done else ""), status=HTTPStatus.SEE_OTHER)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Every error as a page in plain words; nothing of a trace."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        title, message = _words(status_code, error)
        if isinstance(error, EnclaveError):
            self.set_status(STATUS.get(error.family, HTTPStatus.INTERNAL_SERVER_ERROR))
        back = self.request.headers.get("Referer", "")
        same = back.startswith(f"{self.request.protocol}://{self.request.host}{self.settings['prefix']}")
        # By this link the person goes on, and no other site in their name: it is one of the console's own.
        onward = self.request.uri if getattr(error, "code", "") == CROSS_SITE and self.request.method == "GET" else ""
        self.show("error.html", title=title, message=message, back=back if same else self.url(), onward=onward)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Class and place only: a text may hold data."""
        del typ
        if isinstance(value, HTTPError | EnclaveError):
            return
        journal: Log = self.settings["log"]
        journal.error("page failed", value.with_traceback(tb) if value else None, page=type(self).__name__)


def from_elsewhere(headers: Mapping[str, str]) -> bool:
    """Whether a page of another origin asks, by what the browser says (Fetch Metadata; else Origin or Referer).

    A typed address and a bookmark come from nowhere, and so does what is no browser.
    """
    site = headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in ("same-origin", "none")
    asker = headers.get("Origin") or headers.get("Referer")
    return asker is not None and urlsplit(asker).netloc != headers.get("Host")


class Callback(HubOAuthCallbackHandler):
    """Where the Hub sends people back to after they signed in."""

    def initialize(self) -> None:
        """As ``Page``."""
        self.hub_auth = self.settings["hub_auth"]

    def set_default_headers(self) -> None:
        """As ``Page``."""
        for name, value in HEADERS.items():
            self.set_header(name, value)


class Health(RequestHandler):
    """Says that the console listens; asks nobody."""

    def set_default_headers(self) -> None:
        """As ``Page``."""
        for name, value in HEADERS.items():
            self.set_header(name, value)

    def get(self) -> None:
        """``ok``."""
        self.finish("ok")


class Static(StaticFileHandler):
    """Style sheet and htmx; the only answers a browser may keep."""

    def set_extra_headers(self, path: str) -> None:
        """As ``Page``, but it may be kept for an hour."""
        del path
        for name, value in HEADERS.items():
            self.set_header(name, value)
        self.set_header("Cache-Control", "public, max-age=3600")


class Missing(Page):
    """Any other path."""

    async def get(self) -> None:
        """404 in our own words."""
        raise HTTPError(HTTPStatus.NOT_FOUND)

    post = get


def _words(status_code: int, error: BaseException | None) -> tuple[str, str]:
    if isinstance(error, DeniedError) and error.code == "token_invalid":
        return "Your session is over", "Sign in again to go on."
    if isinstance(error, EnclaveError):
        return TITLES.get(error.family, "This did not work"), error.message
    if status_code == HTTPStatus.FORBIDDEN:
        return "You may not do this", "Your session is over or the form is too old. Open the page again."
    if status_code == HTTPStatus.NOT_FOUND:
        return "This is not here", "The page does not exist, or you may not know that it does."
    return "This did not work", "The console failed while doing this; its log says where. Nothing was decided."
