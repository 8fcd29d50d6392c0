"""When a process of the demo counts as ready."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from enclave.cli.demo_services import Service, demo_services
from enclave.cli.init import make_home

Answer = Callable[[int], str]


@pytest.fixture
def answer() -> Iterator[Answer]:
    """Makes a loopback server answer with a status; returns its address."""
    servers = []

    def make(status: int) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_words: object) -> None:
                """Says nothing."""

        server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/"

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("status", [200, 204, 403, 404, 503])
def test_a_service_is_ready_at_any_status_unless_it_names_one(answer: Answer, status: int) -> None:
    url = answer(status)
    assert Service("any", (), ready_url=url).is_ready()
    assert Service("one", (), ready_url=url, ready_status=200).is_ready() == (status == 200)


def test_a_service_that_nobody_serves_is_not_ready(answer: Answer, tmp_path: Path) -> None:
    assert not Service("web", (), ready_url="http://127.0.0.1:9/").is_ready()
    assert not Service("daemon", (), ready_socket=tmp_path / "none.sock").is_ready()


def test_readiness_does_not_go_through_a_proxy_of_the_environment(
    answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    assert Service("web", (), ready_url=answer(200), ready_status=200).is_ready()


def test_the_hub_is_ready_when_people_reach_it_at_the_public_port(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", port=8123)
    hub = next(service for service in demo_services(home) if service.name == "hub")
    assert hub.ready_url == "http://localhost:8123/hub/health"
    assert hub.ready_status == 200
