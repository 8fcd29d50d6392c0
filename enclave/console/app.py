"""The console as a Tornado application: routes, templates, the Hub client."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jupyterhub.services.auth import HubOAuth
from tornado.web import Application

from enclave.audit.client import AuditClient
from enclave.console import (
    agreements,
    desks,
    egress,
    faces,
    glass,
    grants,
    intake,
    oversight,
    releases,
    security_keys,
    words,
)
from enclave.console.gateway import Gateway
from enclave.console.pages import Callback, Health, Missing, Static
from enclave.core.secret import Secret
from enclave.runtime.home import Home
from enclave.runtime.log import Log

PREFIX: Final = "/services/console/"
CLIENT_ID: Final = "service-console"
ACCESS_SCOPE: Final = "access:services!service=console"
_ID: Final = r"([0-9a-f]{32})"
_KEY: Final = r"([0-9a-f]{2,2048})"  # the credential id that its maker chose
_NAME: Final = r"([A-Za-z0-9._ %-]{1,400})"  # a plain base name, as the airlock takes it; a space comes as %20
_HERE: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class HubPlace:
    """Where the Hub is: ``api_url`` on this machine; ``token`` is the service's own."""

    api_url: str
    token: Secret
    https: bool = False
    session_check_s: int = 30


def make_app(home: Home, *, hub: HubPlace, timeout_s: float = 90.0, log: Log) -> Application:
    """The application; it listens nowhere yet."""
    return Application(
        [(PREFIX + path, handler, *rest) for path, handler, *rest in (*_routes(), *_routes_of_keys())]
        + [(r".*", Missing)],
        hub_auth=_hub_auth(hub),
        gateway=Gateway(home, timeout_s),
        audit=AuditClient(home.socket("auditd")),
        templates=_templates(),
        prefix=PREFIX,
        log=log,
        # Sessions end with the process: whoever comes back is signed in again by the Hub without a word.
        cookie_secret=secrets.token_bytes(32),
        xsrf_cookies=True,
        xsrf_cookie_kwargs={"samesite": "Lax", "secure": hub.https},
        log_function=lambda handler: _log_access(log, handler),
        max_body_size=1 << 20,
    )


def _routes() -> list[tuple[Any, ...]]:
    return [
        ("", desks.Start),
        ("health", Health),
        ("oauth_callback", Callback),
        (r"static/(htmx\.min\.js|security_key\.js|console\.css|icon\.svg)", Static, {"path": str(_HERE / "static")}),
        ("egress", egress.EgressList),
        (f"egress/{_ID}", egress.EgressPage),
        (f"egress/{_ID}/vote", egress.EgressVote),
        (f"egress/{_ID}/withdraw", egress.EgressWithdraw),
        (f"egress/{_ID}/deliver", egress.EgressDeliver),
        (f"egress/{_ID}/look/{_NAME}", egress.EgressLook),
        (f"egress/{_ID}/picture/{_NAME}", egress.EgressPicture),
        ("intake", intake.Batches),
        (f"intake/{_ID}/item", intake.Item),
        (f"intake/{_ID}/judge", intake.Judge),
        ("grants", grants.Grants),
        ("agreements", agreements.Agreements),
        ("datasets", releases.Datasets),
        ("releases", releases.Releases),
        ("releases/request", releases.RequestRelease),
        ("releases/review", releases.ReviewVersion),
        (f"releases/{_ID}/confirm", security_keys.ConfirmRelease),
        (f"releases/{_ID}/decide", releases.DecideRelease),
        (f"releases/{_ID}/withdraw", releases.WithdrawRelease),
        ("break-glass", glass.BreakGlass),
        ("break-glass/request", glass.RequestBreakGlass),
        (f"break-glass/{_ID}/decide", glass.ApproveBreakGlass),
        (f"break-glass/{_ID}/review", glass.ReviewBreakGlass),
        (f"break-glass/alarms/{_ID}/acknowledge", glass.AcknowledgeAlarm),
        ("reports", desks.Reports),
        ("reports/run", desks.RunReport),
        (f"reports/{_ID}", desks.ReportFrame),
        (f"reports/{_ID}/page", desks.ReportPage),
        *_audit_routes(),
    ]


def _audit_routes() -> list[tuple[Any, ...]]:
    return [
        ("audit", desks.Audit),
        ("audit/alerts", oversight.Alerts),
        (f"audit/alerts/{_ID}/acknowledge", oversight.AcknowledgeAlert),
        (f"audit/alerts/{_ID}/resolve", oversight.ResolveAlert),
        ("audit/reviews", oversight.Reviews),
        ("audit/reviews/sign", oversight.SignReview),
        ("audit/drills", oversight.Drills),
        ("audit/drills/run", oversight.RunDrill),
        ("audit/lineage", oversight.Lineage),
    ]


def _routes_of_keys() -> list[tuple[Any, ...]]:
    return [
        (f"determinations/{_ID}", security_keys.Determination),
        (f"determinations/{_ID}/report", security_keys.DeterminationReport),
        (f"determinations/{_ID}/faces", faces.Faces),
        (f"determinations/{_ID}/ask", security_keys.AskSignature),
        (f"determinations/{_ID}/sign", security_keys.SignDetermination),
        ("security-keys", security_keys.SecurityKeys),
        ("security-keys/code", security_keys.IssueCode),
        ("security-keys/begin", security_keys.BeginEnrolment),
        ("security-keys/enrol", security_keys.Enrol),
        (f"security-keys/{_KEY}/end", security_keys.EndKey),
    ]


def _hub_auth(hub: HubPlace) -> HubOAuth:
    return HubOAuth(
        api_url=hub.api_url,
        api_token=hub.token.reveal().decode("ascii"),
        oauth_client_id=CLIENT_ID,
        base_url=PREFIX,
        hub_prefix="/hub/",
        hub_host="",
        oauth_redirect_uri=PREFIX + "oauth_callback",
        access_scopes={ACCESS_SCOPE},
        cache_max_age=hub.session_check_s,
        cookie_options={"samesite": "Lax", "secure": hub.https},
    )


def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        state=words.state_words,
        tone=words.state_tone,
        role=words.role_words,
        time=words.time_words,
        moment=words.moment_words,
        size=words.size_words,
        place=words.place_words,
        cell=words.cell_words,
    )
    return environment


def _log_access(log: Log, handler: Any) -> None:
    """Method, page and status: no query, no name."""
    if handler.get_status() >= 400:
        log.warning(
            "request refused",
            method=str(handler.request.method),
            page=type(handler).__name__,
            status=handler.get_status(),
        )
