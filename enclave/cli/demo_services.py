"""The processes of one machine's enclave: what each is started as, in which order, and when it is ready."""

from __future__ import annotations

import socket
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from enclave.core.errors import UnavailableError
from enclave.hub.settings import HubSettings
from enclave.runtime.home import Home

DAEMONS = ("auditd", "vaultd", "registryd", "brokerd", "airlockd", "launcherd", "intaked", "reportd")


@dataclass(frozen=True, slots=True)
class Service:
    """One process. It is ready when its socket accepts or its URL answers (any HTTP status)."""

    name: str
    argv: tuple[str, ...]
    ready_socket: Path | None = None
    ready_url: str | None = None
    environment: dict[str, str] = field(default_factory=dict)

    def is_ready(self) -> bool:
        """Whether it answers now."""
        if self.ready_socket is not None:
            return _socket_accepts(self.ready_socket)
        return self.ready_url is None or _url_answers(self.ready_url)


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
        Service("hub", (*python, "jupyterhub", "-f", str(config)), ready_url=f"{settings.api_url}/health"),
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


def _url_answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - a loopback http address of our own settings
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
