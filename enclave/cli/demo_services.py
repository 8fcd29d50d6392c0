"""The processes of one machine's enclave: what each is started as, in which order, and when it is ready."""

from __future__ import annotations

import http.client
import socket
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from enclave.core.errors import UnavailableError
from enclave.hub.settings import HubSettings
from enclave.runtime.home import Home

DAEMONS = ("auditd", "watchd", "vaultd", "registryd", "brokerd", "airlockd", "launcherd", "intaked", "reportd")

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # this machine itself, past any http_proxy


@dataclass(frozen=True, slots=True)
class Service:
    """One process. It is ready when its socket accepts or its URL answers: with ``ready_status``, or any status."""

    name: str
    argv: tuple[str, ...]
    ready_socket: Path | None = None
    ready_url: str | None = None
    ready_status: int | None = None
    environment: dict[str, str] = field(default_factory=dict)

    def is_ready(self) -> bool:
        """Whether it answers now."""
        if self.ready_socket is not None:
            return _socket_accepts(self.ready_socket)
        if self.ready_url is None:
            return True
        status = _status_of(self.ready_url)
        return status is not None and self.ready_status in (None, status)


def demo_services(home: Home) -> tuple[Service, ...]:
    """All processes in the order in which they start; they end in the reverse order."""
    settings = home.settings(HubSettings, section="hub")
    python = (sys.executable, "-P", "-m")
    daemons = tuple(
        Service(name, (*python, f"enclave.cli.{name}", "--home", str(home.root)), ready_socket=home.socket(name))
        for name in DAEMONS
    )
    return (*daemons, *_web(home, settings, python))


def _web(home: Home, settings: HubSettings, python: tuple[str, ...]) -> tuple[Service, ...]:
    config = Path(__file__).parents[2] / "hub_config" / "jupyterhub_config.py"
    place = ("--home", str(home.root))
    provider = Service(
        "devidp", (*python, "enclave.hub.devidp", *place), ready_url=f"http://127.0.0.1:{settings.idp_port}/jwks"
    )
    return (
        *((provider,) if settings.embedded_idp else ()),
        Service(
            "proxy",
            (*python, "enclave.hub.proxy", *place),
            ready_url=f"http://127.0.0.1:{settings.proxy_api_port}/api/routes",
        ),
        Service(
            "hub",
            (*python, "jupyterhub", "-f", str(config)),
            # The door that people use: the proxy answers 404 there until the Hub has told it the way.
            ready_url=f"http://localhost:{settings.port}/hub/health",
            ready_status=200,
        ),
        Service(
            "console",
            (*python, "enclave.cli.console", *place),
            ready_url=f"http://127.0.0.1:{settings.console_port}/services/console/health",
        ),
    )


def check_ports(home: Home) -> None:
    """Raises ``UnavailableError`` naming the first of the six ports that is in use."""
    first = home.settings(HubSettings, section="hub").port
    for port in range(first, first + 6):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                raise UnavailableError(
                    f"port {port}: wanted it free, got one in use; end what uses it, "
                    f"or choose another range: make demo PORT={first + 100}"
                ) from None


def _socket_accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def _status_of(url: str) -> int | None:
    try:
        with _DIRECT.open(url, timeout=2) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except (OSError, http.client.HTTPException):
        return None
