"""A single-user server in its sandbox, behind its gate, with a Hub that only answers."""

from __future__ import annotations

import base64
import contextlib
import http.client
import http.server
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from code_desk import everything

from enclave.policy.model import Actor
from enclave.wire.client import WireClient
from enclave.wire.messages import launcher
from enclave.wire.messages.audit import Query

SCOPES = ["access:servers!server=rosa/"]
pytestmark = pytest.mark.slow


class _Hub(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"version": "6.1.1", "name": "rosa", "kind": "user", "groups": [], "scopes": SCOPES}).encode()
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
    connection = http.client.HTTPConnection("localhost", timeout=30)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(5)
    connection.sock.connect(path)
    connection.request("GET", url)
    answer = connection.getresponse()
    return answer.status, answer.read()


def _as_server(stand: Any) -> socket.socket:
    """A connection to the server's own socket, as only its gate has one."""
    (path,) = stand.home.run_dir.glob("servers/*/inner/server.sock")
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(20)
    sock.connect(str(path))
    return sock


def _post(stand: Any, url: str, body: dict[str, Any], headers: dict[str, str]) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("localhost")
    connection.sock = _as_server(stand)
    connection.request("POST", url, json.dumps(body), headers)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


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
    end = time.monotonic() + 90
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
    running = stand.descendants()
    assert len(running) >= 3  # bwrap, pid 1 inside, the server, the gate
    stand.client.call(launcher.StopServer(server=server), timeout_s=20)
    stand.client.call(launcher.StopServer(server=server))
    assert [pid for pid in running if Path(f"/proc/{pid}").exists()] == []
    outcomes = [event["outcome"] for event in stand.ledger.events(kind="server.start")]
    assert outcomes == ["intent", "ok"]
    deadline = time.monotonic() + 60
    while not (found := stand.ledger.events(kind="server.stop")) and time.monotonic() < deadline:
        time.sleep(0.05)  # an end is written beside what goes on
    (stopped,) = found
    assert (stopped["actor"], stopped["detail"]["server"]) == ("rosa", server)
    assert not Path(gate).exists()


def test_a_notebook_in_the_server_runs_in_a_tapped_kernel_of_its_person(stand: Any, hub: str) -> None:
    """The whole way as JupyterLab goes it: REST to start, websocket to run."""
    import websocket

    server, gate = _start(stand, hub)
    headers = {"Authorization": "token " + "t" * 32, "Content-Type": "application/json"}
    assert _post(stand, "/user/rosa/api/kernels", {"name": "somebody-elses"}, headers)[0] >= 400
    status, made = _post(stand, "/user/rosa/api/kernels", {"name": "enclave-python"}, headers)
    assert status == 201, made
    (info,) = stand.client.call(launcher.ListKernels()).kernels
    assert (info.person, info.project) == ("rosa", "demo")
    channel = websocket.create_connection(
        f"ws://localhost/user/rosa/api/kernels/{made['id']}/channels",
        socket=_as_server(stand),
        header=["Authorization: token " + "t" * 32],
    )
    assert _put(gate, "saved_later.py", "answer = 42\n")[0] in (200, 201)
    code = "import os; print(os.getuid(), os.listdir('.'), os.access('saved_later.py', os.W_OK))"
    content = {"code": code, "silent": False}
    header = {"msg_id": "1", "msg_type": "execute_request", "session": "s", "username": "", "version": "5.3"}
    request = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
    channel.send(json.dumps(request))
    text = ""
    while not text:
        message = json.loads(channel.recv())
        if message["msg_type"] == "stream":
            text = message["content"]["text"]
    channel.close()
    assert text.startswith("1000 ")
    assert text == "1000 ['saved_later.py'] False\n"
    events = stand.ledger.events(kind="cell.execute", actor="rosa")
    assert events[0]["outcome"] == "intent"
    running = stand.descendants()
    stand.client.call(launcher.StopServer(server=server), timeout_s=20)
    assert [pid for pid in running if Path(f"/proc/{pid}").exists()] == []


@pytest.mark.row("S10.1")
def test_a_notebook_that_is_renamed_is_recorded_by_its_new_name(stand: Any, hub: str) -> None:
    """As JupyterLab does it: the file is renamed, then the session is told its path and its name."""
    import websocket

    _, gate = _start(stand, hub)
    cells = json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    assert _put(gate, "first.ipynb", cells)[0] in (200, 201)
    wanted = {"path": "first.ipynb", "name": "first.ipynb", "type": "notebook", "kernel": {"name": "enclave-python"}}
    status, text = _ask(gate, "POST", "", json.dumps(wanted), api="sessions")
    assert status == 201, text
    session = json.loads(text)
    channel = websocket.create_connection(
        f"ws://localhost/user/rosa/api/kernels/{session['kernel']['id']}/channels",
        socket=_as_server(stand),
        header=["Authorization: token " + "t" * 32],
    )

    def run(number: int) -> None:
        header = {
            "msg_id": f"{number}",
            "msg_type": "execute_request",
            "session": "s",
            "username": "",
            "version": "5.3",
        }
        request = {"header": header, "parent_header": {}, "metadata": {}, "channel": "shell"}
        channel.send(json.dumps({**request, "content": {"code": f"{number}", "silent": False}}))
        while True:
            message = json.loads(channel.recv())
            if message["msg_type"] == "execute_reply" and message["parent_header"]["msg_id"] == f"{number}":
                return

    run(1)
    assert _ask(gate, "PATCH", "first.ipynb", json.dumps({"path": "renamed.ipynb"}))[0] == 200
    assert _ask(gate, "PATCH", session["id"], json.dumps({"path": "renamed.ipynb"}), api="sessions")[0] == 200
    run(2)
    assert _ask(gate, "PATCH", session["id"], json.dumps({"name": "renamed.ipynb"}), api="sessions")[0] == 200
    run(3)
    channel.close()
    stand.ledger.people["ada-token"] = Actor("ada", frozenset({"auditor"}))
    asking = Query(token="ada-token", sql="SELECT notebook FROM cell_executions ORDER BY seq", limit=10)
    with contextlib.closing(WireClient(stand.home.socket("auditd"), timeout_s=30)) as client:
        assert list(client.call(asking).rows) == [["first.ipynb"], ["renamed.ipynb"], ["renamed.ipynb"]]
    assert "renamed.ipynb" not in json.dumps(stand.ledger.records())


def test_the_servers_token_stands_in_no_command_line(stand: Any, hub: str) -> None:
    _start(stand, hub)
    lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in stand.descendants()]
    assert lines
    assert not [line for line in lines if b"t" * 32 in line]


_LOOK = """
import json, os, stat
found = {"sockets": [], "keys": [], "pids": sorted(int(p) for p in os.listdir("/proc") if p.isdigit())}
for top in ("/run", "/tmp", "/home", "/etc", "/dev"):
    for folder, _, files in os.walk(top):
        for name in files:
            path = os.path.join(folder, name)
            if stat.S_ISSOCK(os.lstat(path).st_mode):
                found["sockets"].append(path)
            own = not folder.startswith("/run/enclave-runtime")  # packages bring test keys of their own
            if own and (name.endswith((".key", ".seg", ".duckdb")) or name == "enclave.toml"):
                found["keys"].append(path)
found["top"] = sorted(os.listdir("/"))
found["net"] = len(open("/proc/net/route").readlines()) - 1
print(json.dumps(found))
"""


def test_code_run_as_the_server_finds_no_key_no_ledger_no_other_socket_and_no_other_process(
    stand: Any, hub: str
) -> None:
    _start(stand, hub)
    inside = [pid for pid in stand.descendants() if Path(f"/proc/{pid}/cwd").resolve() == Path("/home/person/code")]
    enter = ["nsenter", f"--target={inside[0]}", "--user", "--mount", "--pid", "--net", "--ipc", "--uts"]
    done = subprocess.run(
        [*enter, "--setuid=1000", "--setgid=1000", "/run/enclave-runtime/env/bin/python", "-P", "-c", _LOOK],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        env={},
    )
    found = json.loads(done.stdout)
    doors = {"/run/enclave/hub.sock", "/run/enclave/launcher.sock", "/run/enclave/server.sock"}
    assert set(found["sockets"]) == doors
    assert found["keys"] == []
    assert found["net"] == 0
    assert len(found["pids"]) <= 3  # pid 1, the server, this look
    assert set(found["top"]) <= {"bin", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "proc", "run",
                                 "sbin", "tmp", "usr"}  # fmt: skip


# ── code folders ────────────────────────────────────────────────────────────

MARK = "MARKER-of-a-notebook-5150"


def _ask(gate: str, method: str, name: str, body: str | None = None, *, api: str = "contents") -> tuple[int, str]:
    connection = http.client.HTTPConnection("localhost", timeout=20)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(20)
    connection.sock.connect(gate)
    headers = {"Content-Type": "application/json", "Authorization": "token " + "t" * 32}
    connection.request(method, f"/user/rosa/api/{api}/{name}".rstrip("/"), body, headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def _put(gate: str, name: str, text: str) -> tuple[int, str]:
    content = base64.b64encode(text.encode()).decode()
    return _ask(gate, "PUT", name, json.dumps({"type": "file", "format": "base64", "content": content}))


@pytest.mark.row("S4.5")
def test_a_saved_file_survives_kill_9_and_never_stands_on_the_disk(stand: Any, hub: str) -> None:
    """Saved as a browser does, and there again after the launcher was killed."""
    _, gate = _start(stand, hub)
    text = f"x = '{MARK}'\n"
    status, words = _put(gate, "secret.py", text)
    assert status in (200, 201), words
    assert json.loads(_ask(gate, "GET", "secret.py")[1])["content"] == text
    assert MARK.encode() not in everything(stand.home)
    stand.kill()
    assert MARK.encode() not in everything(stand.home)
    server, gate = _start(stand, hub)
    assert json.loads(_ask(gate, "GET", "secret.py")[1])["content"] == text
    (inside,) = [
        pid for pid in stand.descendants() if b"jupyterhub.singleuser" in _line(pid) and b"bwrap" not in _line(pid)
    ][-1:]
    held = _put(gate, "later.py", text)[0]
    os.kill(inside, signal.SIGKILL)
    stand.client.call(launcher.StopServer(server=server), timeout_s=20)
    assert held in (200, 201)
    assert MARK.encode() not in everything(stand.home)
    _, gate = _start(stand, hub)
    assert json.loads(_ask(gate, "GET", "later.py")[1])["content"] == text


def _line(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def test_a_save_that_cannot_be_sealed_is_not_called_saved(stand: Any, hub: str) -> None:
    _, gate = _start(stand, hub)
    assert _put(gate, "a.py", "x = 1\n")[0] in (200, 201)
    stand.broker.close()
    status, words = _put(gate, "a.py", f"x = '{MARK}'\n")
    assert status == 503
    assert "save again" in words


@pytest.mark.parametrize("launcher_settings", ["[launcher.display]\nhour = { mb = 1, images = 10, rows = 10000 }\n"])
def test_what_a_browser_reads_of_saved_files_is_held_to_the_display_budgets(
    stand: Any, hub: str, launcher_settings: str
) -> None:
    _, gate = _start(stand, hub)
    text = "x = '" + "a b " * 75_000 + "'\n"
    assert _put(gate, "large.py", text)[0] in (200, 201)
    answers = [_ask(gate, "GET", "large.py") for _ in range(4)]
    assert [status for status, _ in answers] == [200, 200, 200, 403]
    assert "this hour" in answers[3][1]
