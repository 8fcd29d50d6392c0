"""A Hub as far as the launcher sees one: whose token it is. A token is its person's name."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ports import free_ports

from enclave.wire.client import WireClient
from enclave.wire.messages.launcher import OpenPersonSocket

ROLES = {
    "edgar": "expert",
    "eva": "expert",
    "oskar": "operator",
    "stella": "data_steward",
    "rosa": "researcher",
    "rita": "researcher",
    "hana": "honest_broker",
    "ada": "auditor",
    "olga": "output_checker",
    "nina": "nothing-known",
}


class _Hub(http.server.BaseHTTPRequestHandler):
    """Says whose token it is, as the Hub's API does."""

    def do_GET(self) -> None:
        name = self.headers["Authorization"].removeprefix("Bearer ")
        answer = {"kind": "user", "name": name, "scopes": [f"custom:enclave:{ROLES[name]}"]}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_words: object) -> None:
        """Says nothing."""


@contextmanager
def hub_settings() -> Iterator[str]:
    """The settings with which a launcher finds this Hub, which lives as long as the block."""
    port = free_ports(2)
    with http.server.ThreadingHTTPServer(("127.0.0.1", port + 1), _Hub) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"[hub]\nport = {port}\n"
        server.shutdown()


def person_socket(stand: Any, person: str) -> Path:
    """A launcher socket of ``person``; it lives as long as the stand's client."""
    return Path(stand.client.call(OpenPersonSocket(token=person)).socket)


def client_of(stand: Any, person: str) -> WireClient:
    """Who asks on it."""
    return WireClient(person_socket(stand, person), timeout_s=30)
