"""The escape suite: attempts from inside a real kernel in a real sandbox, which holds no lease and sees no data."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enclave.core.errors import EnclaveError, UnavailableError
from enclave.runtime.home import HOME_FORMAT, Home, ensure_private_dir
from enclave.runtime.log import Log, LogValue
from enclave.sandbox import cgroups, kernel_process
from enclave.sandbox.installation import find_installation
from enclave.sandbox.owner import Owner
from enclave.sandbox.places import Places, make_dir
from enclave.sandbox.runtime_mounts import Runtime, prepare, release
from enclave.sandbox.sandboxed import Births, HostUser, Sandbox
from enclave.sandbox.set_store import ChosenSet
from enclave.sandbox.settings import LauncherSettings
from enclave.sandbox.uids import Uids
from enclave.sandbox.workshop import Bench
from enclave.wire.messages import broker
from enclave.wire.peer import MAX_OF_ONE_SANDBOX, WireServer

_READY_S = 40.0
_CODE = """
import json as _json, runpy as _runpy
_rows = _runpy.run_path("/run/enclave-runtime/inside/attempts.py")["run"](_json.loads({facts!r}))
print("ENCLAVE-ATTEMPTS" + _json.dumps(_rows))
"""


@dataclass(frozen=True, slots=True)
class SelfTest:
    """``attempts``: ``{id, what, expected, got, ok}``; ``escapes`` counts those that are not ok."""

    attempts: tuple[dict[str, Any], ...]
    escapes: int
    backend: str


def run_selftest() -> SelfTest:
    """Starts one kernel as the launcher would, runs all attempts in it, and ends it.

    Under root this process enters a mount namespace of its own, so it must have one thread yet.
    """
    with tempfile.TemporaryDirectory(prefix="enclave-selftest-") as place:
        Path(place).chmod(0o711)
        home = Home(Path(place) / "home")
        ensure_private_dir(home.root, mode=0o711)
        home.format_file.write_text(str(HOME_FORMAT), "ascii")
        home.settings_file.write_text("", "utf-8")
        ensure_private_dir(home.run_dir, mode=0o711)
        runtime = prepare(find_installation(), home)
        with _host_side(runtime) as facts, _kernel(runtime) as (sandbox, connection, limits):
            rows = _ask(connection, facts)
            rows.append(_host_uid(sandbox))
        release(runtime)
        version = ".".join(map(str, runtime.bwrap_version))
        escapes = sum(not row["ok"] for row in rows)
        return SelfTest(tuple(rows), escapes, f"bubblewrap {version}, seccomp, {limits}")


@contextlib.contextmanager
def _host_side(runtime: Runtime) -> Iterator[dict[str, Any]]:
    """What the attempts aim at: a readable file, listeners on loopback only, this process."""
    secret = runtime.home.root / "secret"
    secret.write_text("not for kernels", "utf-8")
    secret.chmod(0o644)
    with contextlib.ExitStack() as stack:
        four = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = four.getsockname()[1]
        with contextlib.suppress(OSError):
            stack.enter_context(socket.create_server(("::1", port), family=socket.AF_INET6))
        name = f"enclave-selftest-{secrets.token_hex(8)}"
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind("\0" + name)
        abstract.listen(1)
        yield {
            "secret": str(secret),
            "link": "link",
            "port": port,
            "abstract": name,
            "host_pid": os.getpid(),
            "hostname_sha256": hashlib.sha256(socket.gethostname().encode()).hexdigest(),
        }


@contextlib.contextmanager
def _kernel(runtime: Runtime) -> Iterator[tuple[Sandbox, dict[str, Any], str]]:
    births = Births()
    settings = LauncherSettings()
    places = Places(runtime)
    places.prepare()
    state = ensure_private_dir(runtime.home.state("launcher"))
    uids = Uids(state, base=settings.base_uid, drops=runtime.drops)
    groups = cgroups.detect()
    bench = Bench(places=places, settings=settings, uids=uids, births=births, cgroups=groups)
    owner = Owner(id="self", person="selftest", front=places.run, view=str(places.run))
    folder = make_dir(places.run / "kernels" / "selftest", mode=0o711)
    plan = kernel_process.KernelPlan(
        id=secrets.token_hex(16), owner=owner, path="",
            notebook="", session="", folder=folder, front=folder,
        front_key="", back_key=secrets.token_hex(32),
        packages=ChosenSet(runtime.environment_id, runtime.kernel_env),
    )  # fmt: skip
    code = runtime.code_memory("selftest", uid=uids.person("selftest").effective, size_mb=8)
    (code / "link").symlink_to(runtime.home.root / "secret")
    group = groups.make(
        f"selftest-{secrets.token_hex(4)}",
        memory_bytes=settings.kernel.memory_mb << 20,
        processes=settings.kernel.processes,
    )
    user = uids.kernel()
    lease = _lease(folder, user)
    sandbox = kernel_process.start_sandbox(bench, plan, project="selftest", user=user, group=group, code=code)
    try:
        connection = kernel_process.connection_info(str(folder / "zmq" / "k"), key=plan.back_key)
        yield sandbox, connection, groups.backend
    finally:
        sandbox.close()
        lease.close()
        group.remove()
        births.close()
        runtime.forget_all_code()


class _NoLog(Log):
    """Of the refusals that this test provokes nothing is worth a line."""

    def _write(self, level: str, event: str, fields: dict[str, LogValue]) -> None:
        del level, event, fields


def _lease(folder: Path, user: HostUser) -> WireServer:
    """A lease socket with nothing behind it, so that what is no request can be sent to one."""
    handlers: dict[type[Any], Any] = {broker.ListDatasets: lambda _m, _c: broker.DatasetList(datasets=())}
    uids = frozenset({user.effective})
    server = WireServer(
        folder / "lease.sock", handlers, log=_NoLog("selftest"), allowed_uids=uids, mode=0o666,
        max_connections=MAX_OF_ONE_SANDBOX,
    )  # fmt: skip
    server.start()
    return server


def _ask(connection: dict[str, Any], facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Runs the attempts as a notebook would and reads what they print."""
    from jupyter_client.blocking.client import BlockingKernelClient

    client = BlockingKernelClient()
    client.load_connection_info({**connection, "key": connection["key"].encode()})
    shown: list[str] = []

    def hook(message: dict[str, Any]) -> None:
        if message["msg_type"] == "stream":
            shown.append(message["content"]["text"])

    client.start_channels()
    try:
        client.wait_for_ready(timeout=_READY_S)
        client.execute_interactive(_CODE.format(facts=json.dumps(facts)), timeout=120, output_hook=hook)
    except (RuntimeError, TimeoutError):
        raise UnavailableError("self-test: wanted an answer from the kernel, got none; `enclave doctor`") from None
    finally:
        client.stop_channels()
    text = "".join(shown)
    if "ENCLAVE-ATTEMPTS" not in text:
        raise EnclaveError("self-test: wanted the attempts' results from the kernel, got something else")
    rows: list[dict[str, Any]] = json.loads(text.split("ENCLAVE-ATTEMPTS", 1)[1])
    return rows


def _host_uid(sandbox: Sandbox) -> dict[str, Any]:
    pid = sandbox.program_pid() or sandbox.inner
    uid = Path(f"/proc/{pid}").stat().st_uid
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    real = next(line.split()[1:] for line in status.splitlines() if line.startswith("Uid:"))
    ok = "0" not in real
    got = f"uid {real[0]}" if ok else f"uid {uid}"
    return {"id": "host.uid", "what": "be uid 0 as the host sees it", "expected": "another", "got": got, "ok": ok}
