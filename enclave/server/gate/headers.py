"""Which headers pass a gate, in either direction, and the policy that every answer carries. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

Pairs = Iterable[tuple[str, str]]

HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# An answer of the server never sets these: they would reach beyond its own pages.
_DROPPED = frozenset(
    {
        "content-security-policy",
        "content-security-policy-report-only",
        "clear-site-data",
        "refresh",
        "link",
        "report-to",
        "reporting-endpoints",
        "nel",
        "service-worker-allowed",
        "strict-transport-security",
        "x-content-type-options",
        "referrer-policy",
        "x-frame-options",
        "cross-origin-opener-policy",
        "cross-origin-resource-policy",
        "alt-svc",
        "x-sendfile",  # this and x-accel-* make a web server in front hand out files of its own
    }
)
_DROPPED_BEGINNINGS = ("access-control-", "x-accel-")
_COOKIES = ("_xsrf", "jupyterhub-session-id", "jupyterhub-user-")

# JupyterLab compiles its settings' JSON schemas ('unsafe-eval') and styles its widgets inline. No inline script:
# what an output displays cannot run one; and nothing on the page can talk to any other host.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' data: blob:; connect-src 'self'; "
    "worker-src 'self' blob:; frame-src 'self' blob:; form-action 'self'; object-src 'none'; base-uri 'self'; "
    "frame-ancestors 'self'"
)
SECURITY: tuple[tuple[str, str], ...] = (
    ("Content-Security-Policy", POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("X-Frame-Options", "SAMEORIGIN"),
)


def to_server(pairs: Pairs) -> Iterator[tuple[str, str]]:
    """The request's headers for the server: no hop-by-hop ones, and only the cookies that are its own."""
    for name, value in pairs:
        lower = name.lower()
        if lower in HOP_BY_HOP or lower.startswith("sec-websocket-") or lower == "content-length":
            continue
        if lower == "cookie":
            kept = [part for part in value.split(";") if part.strip().startswith(_COOKIES)]
            if kept:
                yield name, ";".join(kept).strip()
            continue
        yield name, value


def to_browser(pairs: Pairs, *, base_url: str) -> Iterator[tuple[str, str]]:
    """The answer's headers for the browser: ours instead of the server's, cookies only for the server's own path."""
    for name, value in pairs:
        lower = name.lower()
        if lower in HOP_BY_HOP or lower in _DROPPED or lower.startswith(_DROPPED_BEGINNINGS):
            continue
        if lower == "set-cookie" and not own_cookie(value, base_url=base_url):
            continue
        yield name, value
    yield from SECURITY


def own_cookie(value: str, *, base_url: str) -> bool:
    """Whether a Set-Cookie stays below the server's path and pretends to be nothing of the Hub."""
    try:
        jar: SimpleCookie = SimpleCookie(value)
    except CookieError:
        return False
    return bool(jar) and all(
        morsel["path"].startswith(base_url) and not morsel["domain"] and name.startswith(_COOKIES)
        for name, morsel in jar.items()
    )


def safe_location(value: str, *, host: str) -> bool:
    """Whether a redirect stays on this host: elsewhere it would carry whatever the server puts into it."""
    if value.startswith("/"):
        return not value.startswith(("//", "/\\"))
    parts = urlsplit(value)
    return parts.scheme in ("http", "https") and parts.netloc == host
