"""What may be asked of a single-user server: a list by method and path; whatever is not on it is refused. Pure.

Made for JupyterLab 4.6 over jupyter_server 2.21. Downloads, exports, terminals, language servers, settings and
foreign kernels are not on the list; files and kernels carry a further check of query and body (``bodies``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote_to_bytes

Check = Literal["none", "read_file", "write_file", "start_kernel", "websocket"]

KERNEL_NAME = "enclave-python"
_ID = r"[0-9a-fA-F-]{36}"
_AMBIGUOUS = re.compile(r"%(2f|5c|2e|25|00)|//|\\", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Route:
    """One entry of the list. ``name`` is stable and goes into events; ``pattern`` fits the path below the base."""

    name: str
    methods: frozenset[str]
    pattern: re.Pattern[str]
    check: Check = "none"
    max_body: int = 64 * 1024

    @property
    def writes(self) -> bool:
        """Whether what is not a GET here may change the code folder."""
        return self.check == "write_file" or self.name in ("checkpoints", "checkpoint")


def _route(name: str, methods: str, pattern: str, check: Check = "none", max_body: int = 64 * 1024) -> Route:
    return Route(name, frozenset(methods.split()), re.compile(pattern), check, max_body)


FILE_BODY = 8 * 1024 * 1024  # 5 MB of text, escaped as JSON or base64

ROUTES: tuple[Route, ...] = (
    _route("lab", "GET HEAD", r"(lab)?/?|lab/(tree|workspaces)(/.*)?|doc(/(tree|workspaces)(/.*)?)?"),
    _route(
        "static", "GET HEAD", r"static/.+|lab/(extensions|static)/.+|lab/api/themes/.+|custom/custom\.css|favicon\.ico"
    ),
    _route("oauth", "GET", r"oauth_callback|logout"),
    _route("about", "GET HEAD", r"api/?|api/(status|me)"),
    _route("settings", "GET", r"lab/api/(settings|translations|listings)(/.*)?|api/config/[\w-]+"),
    _route("layout", "GET PUT POST DELETE", r"lab/api/workspaces(/.*)?", max_body=1024 * 1024),
    _route("checkpoints", "GET POST", r"api/contents/.+/checkpoints"),
    _route("checkpoint", "POST DELETE", r"api/contents/.+/checkpoints/[\w-]+"),
    _route("files", "GET", r"api/contents(/.*)?", "read_file"),
    _route("files", "PUT POST PATCH DELETE", r"api/contents(/.*)?", "write_file", FILE_BODY),
    _route("kernelspecs", "GET", rf"api/kernelspecs(/{KERNEL_NAME})?|kernelspecs/{KERNEL_NAME}/[\w.-]+"),
    _route("kernels", "GET", rf"api/kernels(/{_ID})?"),
    _route("kernels", "POST", r"api/kernels", "start_kernel"),
    _route("kernels", "DELETE", rf"api/kernels/{_ID}"),
    _route("kernels", "POST", rf"api/kernels/{_ID}/(interrupt|restart)"),
    _route("channels", "GET", rf"api/kernels/{_ID}/channels", "websocket"),
    _route("sessions", "GET DELETE", rf"api/sessions(/{_ID})?"),
    _route("sessions", "POST PATCH", rf"api/sessions(/{_ID})?", "start_kernel"),
    _route("events", "GET", r"api/events/subscribe", "websocket"),
)

# Names for what is asked most often and refused, so that events say more than "other". First fit.
REFUSED: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("download", re.compile(r"(files|view)(/.*)?")),
    ("export", re.compile(r"(api/)?nbconvert(/.*)?")),
    ("terminals", re.compile(r"(api/)?terminals(/.*)?")),
    ("language_server", re.compile(r"lsp(/.*)?")),
    ("settings_write", re.compile(r"lab/api/settings(/.*)?|api/config(/.*)?")),
    ("extensions", re.compile(r"lab/api/(extensions|plugins|news|update|build)(/.*)?")),
    ("checkpoints", re.compile(r"api/contents/.+/checkpoints(/.*)?")),
    ("files", re.compile(r"api/contents(/.*)?")),
    ("kernelspecs", re.compile(r"(api/)?kernelspecs(/.*)?")),
    ("kernels", re.compile(r"api/(kernels|sessions)(/.*)?")),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """``route`` None: refused; ``name`` is then the name for the event. ``path`` is decoded, below the base."""

    route: Route | None
    name: str
    path: str = ""


def below_base(raw_path: str, *, base_url: str) -> str | None:
    """The decoded path below ``base_url`` (``/user/rosa/``), or None when it is outside or can be read two ways."""
    if _AMBIGUOUS.search(raw_path):
        return None
    try:
        path = unquote_to_bytes(raw_path).decode("utf-8")
        base = unquote_to_bytes(base_url).decode("utf-8")
    except UnicodeDecodeError:
        return None
    if not path.startswith(base) or any(ord(char) < 32 or ord(char) == 127 for char in path):
        return None
    rest = path[len(base) :]
    return None if any(part in (".", "..") for part in rest.split("/")) else rest


def judge(method: str, raw_path: str, *, base_url: str) -> Verdict:
    """Whether ``method`` on ``raw_path`` (as received, without the query) is on the list."""
    path = below_base(raw_path, base_url=base_url)
    if path is None:
        return Verdict(None, "path")
    for route in ROUTES:
        if method in route.methods and route.pattern.fullmatch(path):
            return Verdict(route, route.name, path)
    name = next((name for name, pattern in REFUSED if pattern.fullmatch(path)), "other")
    return Verdict(None, name, path)


def hidden(path: str) -> bool:
    """Whether a segment of a file's path starts with a dot."""
    return any(part.startswith(".") for part in path.split("/"))


def same_origin(headers: Mapping[str, str]) -> bool:
    """Whether a request comes from a page of this very host, or from no browser.

    Browsers say so of each websocket and of whatever is not a GET: by Origin (RFC 6454), and newer ones by
    Sec-Fetch-Site (W3C Fetch Metadata), which calls another host of the same site by that name.
    """
    origin = headers.get("Origin")
    site = headers.get("Sec-Fetch-Site", "same-origin")
    own = origin is None or origin.partition("://")[2] == headers.get("Host")
    return own and site in ("same-origin", "none")
