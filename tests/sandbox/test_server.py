"""A single-user server in its sandbox, behind its gate, with a Hub that only answers."""

from __future__ import annotations

import http.client
import http.server
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from enclave.wire.messages import launcher

pytestmark = pytest.mark.slow


class _Hub(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"version": "6.1.1", "name": "rosa", "kind": "user", "groups": [], "scopes": []}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def hub() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/hub/api"
    server.shutdown()


def _get(path: str, url: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("localhost", timeout=5)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(5)
    connection.sock.connect(path)
    connection.request("GET", url)
    answer = connection.getresponse()
    return answer.status, answer.read()


def _start(stand: Any, hub: str) -> tuple[str, str]:
    environment = {
        "JUPYTERHUB_API_TOKEN": "t" * 32,
        "JUPYTERHUB_CLIENT_ID": "jupyterhub-user-rosa",
        "JUPYTERHUB_HOST": "",
        "JUPYTERHUB_OAUTH_CALLBACK_URL": "/user/rosa/oauth_callback",
        "JUPYTERHUB_OAUTH_SCOPES": '["access:servers!server=rosa/"]',
        "JUPYTERHUB_OAUTH_ACCESS_SCOPES": '["access:servers!server=rosa/"]',
        "JUPYTERHUB_USER": "rosa",
        "JUPYTERHUB_SERVER_NAME": "",
        "JUPYTERHUB_BASE_URL": "/",
        "JUPYTERHUB_SERVICE_PREFIX": "/user/rosa/",
        "LD_PRELOAD": "/nowhere.so",
    }
    message = launcher.StartServer(person="rosa", base_url="/user/rosa/", hub_api_url=hub, environment=environment)
    reply = stand.client.call(message, timeout_s=40)
    gate = unquote(urlsplit(reply.url).netloc)
    end = time.monotonic() + 40
    while time.monotonic() < end:
        status = stand.client.call(launcher.PollServer(server=reply.server)).exit_code
        assert status is None, (stand.home.root / "logs" / "server-rosa.log").read_text()
        code, _ = _get(gate, "/user/rosa/api")
        if code < 500:
            return reply.server, gate
        time.sleep(0.2)
    raise AssertionError((stand.home.root / "logs" / "server-rosa.log").read_text())


def test_a_server_answers_through_its_gate_and_leaves_nothing_behind(stand: Any, hub: str) -> None:
    server, gate = _start(stand, hub)
    assert _get(gate, "/user/rosa/api")[0] < 400
    code = stand.home.root / "people" / "rosa" / "code"
    assert code.is_dir()
    if os.getuid() == 0:
        assert code.stat().st_uid not in (0, os.getuid())
    running = stand.descendants()
    assert len(running) >= 3  # bwrap, pid 1 inside, the server, the gate
    stand.client.call(launcher.StopServer(server=server), timeout_s=20)
    stand.client.call(launcher.StopServer(server=server))
    assert [pid for pid in running if Path(f"/proc/{pid}").exists()] == []
    outcomes = [event["outcome"] for event in stand.ledger.events(kind="server.start")]
    assert outcomes == ["intent", "ok"]
    assert not Path(gate).exists()
