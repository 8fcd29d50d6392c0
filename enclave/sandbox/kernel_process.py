"""How one kernel's sandbox and tap are put together."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from enclave.core.errors import InvalidError, UnavailableError
from enclave.sandbox.bubblewrap import INNER, INSIDE, Bind, SandboxSpec, Tmpfs
from enclave.sandbox.cgroups import Group
from enclave.sandbox.kernel_rights import Rights
from enclave.sandbox.owner import Owner
from enclave.sandbox.places import make_dir
from enclave.sandbox.sandboxed import HostUser, Sandbox, Streams, start, start_host_process
from enclave.sandbox.set_store import ChosenSet
from enclave.sandbox.settings import KernelLimits
from enclave.sandbox.tap.amounts import FLOAT, NOTHING, amount_to_json
from enclave.sandbox.tap.settings import TapSettings
from enclave.sandbox.tap_channel import TapChannel
from enclave.sandbox.workshop import Bench, Workshop
from enclave.wire.messages.schema import to_json

_PORTS = {"shell_port": 1, "iopub_port": 2, "stdin_port": 3, "control_port": 4, "hb_port": 5}
_WORDS = {
    "exited": "the kernel ended by itself",
    "stopped": "the kernel was shut down",
    "restarted": "the kernel was restarted",
    "memory_limit": "the kernel used more than its {memory_mb} MB of memory and was ended; "
    "read less at once, or ask an operator for more",
    "run_time_over": "the kernel's longest running time is over",
    "idle": "nobody used the kernel for a long time",
    "tap_ended": "the tap that records the cells ended, and the kernel with it",
}
CODE = "/home/person/code"
# Memory of a large message is used again for the next one (mallopt(3)); otherwise the system takes each page back and
# clears it anew, which is a quarter of what a message of 1 MB costs a tap.
_TAP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(32 << 20), "MALLOC_MMAP_THRESHOLD_": str(32 << 20)}


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelPlan:
    """What stays the same over a kernel's restarts: ids, folders, packages, the keys of both legs."""

    id: str
    owner: Owner
    path: str
    notebook: str
    session: str
    folder: Path
    front: Path
    front_key: str
    back_key: str
    packages: ChosenSet


def notebook_of(path: str) -> str:
    """``path`` when it is one of a notebook and not of a folder."""
    return path if path.endswith(".ipynb") else ""


def connection_info(prefix: str, *, key: str) -> dict[str, Any]:
    """Jupyter connection info over ipc; the sockets are ``prefix-1`` … ``prefix-5``."""
    return {
        "transport": "ipc",
        "ip": prefix,
        "key": key,
        "signature_scheme": "hmac-sha256",
        "kernel_name": "enclave-python",
        **_PORTS,
    }


def start_tap(
    shop: Workshop, plan: KernelPlan, rights: Rights, *, on_request: Callable[[TapChannel, dict[str, Any]], None]
) -> TapChannel:
    """Takes a tap and tells it what it needs through its stdin."""
    places = shop.places
    home = places.runtime.home
    first = shop.display.draw(plan.owner.person, rights.project, need=NOTHING, spare=FLOAT)

    def socket(name: str) -> str:
        return str(places.child_view(home.socket(name)))

    settings = TapSettings(
        kernel=plan.id,
        person=plan.owner.person,
        role=rights.role,
        project=rights.project,
        session=plan.session,
        notebook=plan.notebook,
        environment=plan.packages.id,
        front=connection_info(str(places.child_view(plan.front) / "c"), key=plan.front_key),
        back=connection_info(str(places.child_view(plan.folder) / "zmq" / "k"), key=plan.back_key),
        audit_socket=socket("auditd"),
        broker_socket=socket("brokerd"),
        airlock_socket=socket("airlockd"),
        display=shop.display.policy(rights.project),
        left={window: amount_to_json(left) for window, left in first.left.items()},
        granted=amount_to_json(first.granted or NOTHING),
        idle_s=shop.settings.kernel.idle_s,
    )
    tap = TapChannel(shop.taps.take(), on_request=on_request, log=shop.log)
    if not tap.order(to_json(settings)):
        raise UnavailableError("tap: wanted a pipe to it, got none")
    return tap


def new_tap(shop: Bench) -> subprocess.Popen[bytes]:
    """A tap's process; it waits for its settings."""
    return start_host_process(
        "enclave.cli.tap", (), shop.places.runtime, shop.uids.door(), births=shop.births, stdout=subprocess.PIPE,
        environment=_TAP_MEMORY,
    )  # fmt: skip


def start_sandbox(shop: Bench, plan: KernelPlan, *, project: str, user: HostUser, group: Group, code: Path) -> Sandbox:
    """Starts the interpreter behind the tap; the kernel's folder is what ``/run/enclave`` shows inside, ``code`` what
    ``~/code`` does."""
    places, limits = shop.places, shop.settings.kernel
    zmq = plan.folder / "zmq"
    if zmq.exists():
        shutil.rmtree(zmq)  # the last kernel could write there: whatever it left goes
    make_dir(zmq, mode=0o711, owner=user)
    back = connection_info("/run/enclave/zmq/k", key=plan.back_key)
    _write_connection(plan.folder / "connection.json", back, user)
    inside = places.child_view(plan.folder)
    spec = SandboxSpec(
        program=(f"{INSIDE}/kernel_main.py", "/run/enclave/connection.json"),
        limits=_limits(limits, shop.cgroups.backend),
        environment=environment(project),
        env=plan.packages.env,
        devices=plan.packages.devices,
        packages=("enclave_kernel", "enclave_kernel_views"),
        tmpfs=(Tmpfs("/home/person", 32), Tmpfs("/home/person/work", limits.work_mb)),
        binds=(
            Bind(code, CODE),
            Bind(inside, "/run/enclave"),
            Bind(inside / "zmq", "/run/enclave/zmq", writable=True),
        ),
        cwd=_working_folder(code, plan.path),
        tmp_mb=limits.tmp_mb,
        shm_mb=limits.shm_mb,
    )
    return start(spec, places.runtime, user, births=shop.births, streams=Streams(confine=group.add))


def words_for(code: str, *, memory_mb: int) -> str:
    """Why a kernel ended, for the person."""
    return _WORDS.get(code, f"the enclave ended the kernel: {code}").format(memory_mb=memory_mb)


def _limits(limits: KernelLimits, backend: str) -> tuple[str, ...]:
    words = [f"NOFILE={limits.open_files}", f"FSIZE={limits.file_mb << 20}", f"NPROC={limits.processes}"]
    if backend == "rlimits":
        words.append(f"DATA={limits.memory_mb << 20}")
    return tuple(words)


def environment(project: str) -> dict[str, str]:
    """All that a kernel's environment holds at its start."""
    return {
        "HOME": "/home/person",
        "USER": "person",
        "PATH": f"{INNER}/env/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "PYTHONPATH": f"{INNER}/src",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "IPYTHONDIR": "/tmp/ipython",  # noqa: S108 - in the sandbox
        "MPLCONFIGDIR": "/tmp/matplotlib",  # noqa: S108 - in the sandbox
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "ENCLAVE_PROJECT": project,
    }


def _working_folder(code: Path, path: str) -> str:
    """The notebook's folder inside; the code folder when there is none of that name."""
    relative = PurePosixPath(path)
    if relative.is_absolute() or ".." in relative.parts:
        raise InvalidError("kernel path: wanted a path below the code folder, got another")
    parts = relative.parts[:-1] if relative.suffix == ".ipynb" else relative.parts
    place = code
    for part in parts:
        place = place / part
        try:
            if place.is_symlink() or not place.is_dir():
                return CODE
        except OSError:  # a name that no file can have
            return CODE
    return str(PurePosixPath(CODE, *parts))


def _write_connection(path: Path, info: dict[str, Any], user: HostUser) -> None:
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    with os.fdopen(fd, "w") as file:
        json.dump(info, file)
        if user.uid is not None:
            os.fchown(file.fileno(), user.uid, user.uid)
