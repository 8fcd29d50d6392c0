"""Single-user servers: each in a sandbox without network, behind its own gate, with its person's launcher socket."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from enclave.core.errors import EnclaveError, InvalidError, NotFoundError, UnavailableError
from enclave.core.ids import check_principal
from enclave.sandbox.bubblewrap import INNER, Bind, SandboxSpec, Tmpfs
from enclave.sandbox.gate_desk import GateDesk
from enclave.sandbox.kernels import Kernels
from enclave.sandbox.owner import Owner
from enclave.sandbox.places import make_dir, person_folder, short
from enclave.sandbox.sandboxed import HostUser, Sandbox, Streams, end_process, start, start_host_process
from enclave.sandbox.workshop import Workshop
from enclave.wire.messages import launcher
from enclave.wire.peer import MAX_OF_ONE_SANDBOX, WireServer

Serve = Callable[[Path, Owner, frozenset[int]], WireServer]
GATE_S = 20.0
_BASE_URL = re.compile(r"/(?:[A-Za-z0-9._~@%+-]+/)*")
# Of the Hub's environment only these names reach the server; the values are its own token and names.
_FROM_HUB = frozenset(
    {
        "JUPYTERHUB_API_TOKEN", "JUPYTERHUB_CLIENT_ID", "JUPYTERHUB_HOST", "JUPYTERHUB_OAUTH_CALLBACK_URL",
        "JUPYTERHUB_OAUTH_SCOPES", "JUPYTERHUB_OAUTH_ACCESS_SCOPES", "JUPYTERHUB_OAUTH_CLIENT_ALLOWED_SCOPES",
        "JUPYTERHUB_USER", "JUPYTERHUB_SERVER_NAME", "JUPYTERHUB_BASE_URL", "JUPYTERHUB_SERVICE_PREFIX",
        "JUPYTERHUB_PUBLIC_URL", "JUPYTERHUB_PUBLIC_HUB_URL", "JUPYTERHUB_ACTIVITY_INTERVAL",
        "JUPYTERHUB_ACTIVITY_URL", "JUPYTERHUB_COOKIE_OPTIONS", "JUPYTERHUB_COOKIE_HOST_PREFIX_ENABLED",
        "JUPYTERHUB_DEBUG",
    }
)  # fmt: skip
_CONFIG = f"{INNER}/src/enclave/server/config/server_config.py"
_INSIDE_URL = "http+unix://%2Frun%2Fenclave%2F{}.sock"


@dataclass(slots=True, kw_only=True)
class Server:
    """One running server."""

    id: str
    person: str
    owner: Owner
    folder: Path
    door: WireServer
    keeper: WireServer
    gate: subprocess.Popen[bytes]
    sandbox: Sandbox


class Servers:
    """All servers of this launcher."""

    def __init__(self, workshop: Workshop, *, kernels: Kernels, serve: Serve) -> None:
        self._shop = workshop
        self._places = workshop.places
        self._kernels = kernels
        self._serve = serve
        self._by_id: dict[str, Server] = {}
        self._guard = threading.Lock()

    def start(self, message: launcher.StartServer) -> launcher.ServerReply:
        """Starts gate and server; returns when the gate listens. The Hub waits for the server itself."""
        person = check_principal(message.person)
        if not _BASE_URL.fullmatch(message.base_url):
            raise InvalidError("server: wanted a base URL such as /user/NAME/, got another form")
        server_id = secrets.token_hex(16)
        user = self._shop.uids.person(person)
        detail: dict[str, Any] = {"server": server_id, "host_uid": user.effective}
        self._shop.audit.append(self._shop.event("server.start", actor=person, outcome="intent", detail=detail))
        folder = make_dir(self._places.run / "servers" / short(server_id), mode=0o711)
        try:
            server = self._bring_up(server_id, person, user, folder, message)
        except EnclaveError as error:
            self._shop.code.release(person, server_id)
            shutil.rmtree(folder, ignore_errors=True)
            self._shop.debts.owe_event(
                self._shop.event("server.start", actor=person, outcome="failed", reason=error.code, detail=detail)
            )
            raise
        with self._guard:
            self._by_id[server_id] = server
        self._shop.debts.owe_event(self._shop.event("server.start", actor=person, outcome="ok", detail=detail))
        threading.Thread(target=self._watch, args=(server,), name="server-watch", daemon=True).start()
        return launcher.ServerReply(server=server_id, url=f"http+unix://{quote(str(_gate(folder)), safe='')}")

    def poll(self, server_id: str) -> launcher.ServerStatus:
        """Whether it runs; raises ``NotFoundError`` when it was stopped or never was."""
        with self._guard:
            server = self._by_id.get(server_id)
        if server is None:
            raise NotFoundError("server: wanted one of this launcher, got none of that id; it has ended")
        code = server.sandbox.poll()
        gate = server.gate.poll()
        return launcher.ServerStatus(exit_code=code if code is not None else gate)

    def stop(self, server_id: str) -> None:
        """Ends kernels, server and gate; asking twice is fine."""
        with self._guard:
            server = self._by_id.pop(server_id, None)
        if server is None:
            return
        server.door.close()
        server.keeper.close()
        kernels = self._kernels.stop_all_of(server.owner.id, "server_stopped")
        code = server.sandbox.poll()
        server.sandbox.close()
        end_process(server.gate)
        shutil.rmtree(server.folder, ignore_errors=True)
        self._shop.code.release(server.person, server.id)
        detail = {"server": server.id, "exit_code": -9 if code is None else code, "kernels": kernels}
        reason = "stopped" if code is None else "exited"
        event = self._shop.event("server.stop", actor=server.person, outcome="ok", reason=reason, detail=detail)
        self._shop.debts.owe_event(event)

    def close(self) -> None:
        """Ends all of them."""
        for server_id in list(self._by_id):
            self.stop(server_id)

    # ── inside ──────────────────────────────────────────────────────────────

    def _bring_up(
        self, server_id: str, person: str, user: HostUser, folder: Path, message: launcher.StartServer
    ) -> Server:
        inner = make_dir(folder / "inner", mode=0o711, owner=user)
        front = make_dir(folder / "kernels", mode=0o711)
        door = self._shop.uids.door()
        make_dir(folder / "gate", mode=0o711, owner=door)
        owner = Owner(id=server_id, person=person, front=front, view="/run/enclave/kernels")
        code = self._shop.code.hold(person, server_id, owner=user)
        serve = self._serve(folder / "launcher.sock", owner, frozenset({user.effective}))
        keeper = self._serve_gate(folder / "keep.sock", owner, door)
        gate: subprocess.Popen[bytes] | None = None
        log = self._log_file(f"gate-{person_folder(person)}")
        try:
            gate = self._start_gate(folder, message, user, door, log)
            sandbox = self._start_sandbox(folder, inner, code, user, message)
        except BaseException:
            serve.close()
            keeper.close()
            if gate is not None:
                end_process(gate)
            raise
        finally:
            log.close()
        return Server(
            id=server_id, person=person, owner=owner, folder=folder, door=serve, keeper=keeper, gate=gate,
            sandbox=sandbox
        )  # fmt: skip

    def _serve_gate(self, path: Path, owner: Owner, door: HostUser) -> WireServer:
        server = WireServer(
            path,
            GateDesk(self._shop, owner).handlers(),
            log=self._shop.log,
            allowed_uids=frozenset({door.effective}),
            mode=0o666,
            max_connections=MAX_OF_ONE_SANDBOX,
        )
        server.start()
        return server

    def _start_gate(
        self, folder: Path, message: launcher.StartServer, user: HostUser, door: HostUser, log: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        view = self._places.child_view(folder)
        options = (
            "--listen", str(view / "gate" / "gate.sock"),
            "--server", str(view / "inner" / "server.sock"),
            "--server-uid", str(user.effective),
            "--hub", message.hub_api_url,
            "--hub-listen", str(view / "gate" / "hub.sock"),
            "--base-url", message.base_url,
            "--person", message.person,
            "--keep", str(view / "keep.sock"),
            "--audit", str(self._places.child_view(self._places.runtime.home.socket("auditd"))),
        )  # fmt: skip
        gate = start_host_process(
            "enclave.cli.gate", options, self._places.runtime, door, births=self._shop.births, stderr=log,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        end = time.monotonic() + GATE_S
        while not (_gate(folder).exists() and (folder / "gate" / "hub.sock").exists()):
            if gate.poll() is not None or time.monotonic() > end:
                end_process(gate)
                raise UnavailableError("gate: wanted it to listen, got an end; see logs/ in the enclave home")
            time.sleep(0.02)
        return gate

    def _start_sandbox(
        self, folder: Path, inner: Path, code: Path, user: HostUser, message: launcher.StartServer
    ) -> Sandbox:
        view = self._places.child_view(folder)
        spec = SandboxSpec(
            program=("-m", "jupyterhub.singleuser", f"--config={_CONFIG}"),
            limits=("NOFILE=4096", "NPROC=256", f"FSIZE={self._shop.settings.code_mb << 20}"),
            environment=environment(message),
            env=self._places.runtime.host_env,
            packages=("enclave", "enclave_kernel"),
            tmpfs=(Tmpfs("/home/person", 128),),
            binds=(
                Bind(code, "/home/person/code", writable=True),
                Bind(self._places.child_view(inner), "/run/enclave", writable=True),
                Bind(view / "kernels", "/run/enclave/kernels"),
                Bind(view / "launcher.sock", "/run/enclave/launcher.sock"),
                Bind(view / "gate" / "hub.sock", "/run/enclave/hub.sock"),
            ),
            cwd="/home/person/code",
        )  # fmt: skip
        with self._log_file(f"server-{person_folder(message.person)}") as log:
            return start(spec, self._places.runtime, user, births=self._shop.births, streams=Streams(stderr=log))

    def _log_file(self, name: str) -> IO[bytes]:
        """What servers and gates say about themselves; neither sees data."""
        folder = self._places.runtime.home.root / "logs"
        folder.mkdir(mode=0o700, exist_ok=True)
        fd = os.open(folder / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        return os.fdopen(fd, "wb")

    def _watch(self, server: Server) -> None:
        """Ends what is left when the server or its gate ends by itself; the Hub then polls the exit code."""
        while server.sandbox.poll() is None and server.gate.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.sandbox.process.wait(1.0)
        server.sandbox.kill()
        self._kernels.stop_all_of(server.owner.id, "server_ended")


def environment(message: launcher.StartServer) -> dict[str, str]:
    """The server's environment: what the Hub may pass, and the addresses inside."""
    passed = {name: value for name, value in message.environment.items() if name in _FROM_HUB}
    api = _INSIDE_URL.format("hub") + "/hub/api"
    return {
        **passed,
        "JUPYTERHUB_API_URL": api,
        "JUPYTERHUB_ACTIVITY_URL": f"{api}/users/{quote(message.person, safe='')}/activity",
        "JUPYTERHUB_SERVICE_URL": _INSIDE_URL.format("server") + message.base_url,
        "ENCLAVE_LAUNCHER_SOCKET": "/run/enclave/launcher.sock",
        "HOME": "/home/person",
        "USER": "person",
        "SHELL": "/bin/sh",
        "PATH": f"{INNER}/env/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "PYTHONPATH": f"{INNER}/src",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _gate(folder: Path) -> Path:
    return folder / "gate" / "gate.sock"
