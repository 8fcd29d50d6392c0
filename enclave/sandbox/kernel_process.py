"""How one kernel's sandbox and tap are put together."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from enclave.core.errors import InvalidError
from enclave.sandbox.bubblewrap import INNER, INNER_PYTHON, Bind, SandboxSpec, Tmpfs
from enclave.sandbox.cgroups import Group
from enclave.sandbox.kernel_rights import Rights
from enclave.sandbox.places import Places, make_dir
from enclave.sandbox.sandboxed import Births, HostUser, Sandbox, start, start_host_process
from enclave.sandbox.settings import KernelLimits
from enclave.sandbox.tap.settings import TapSettings
from enclave.wire.messages.schema import to_json

if TYPE_CHECKING:
    from enclave.sandbox.kernels import Owner

_PORTS = {"shell_port": 1, "iopub_port": 2, "stdin_port": 3, "control_port": 4, "hb_port": 5}
_WORDS = {
    "exited": "the kernel ended by itself",
    "stopped": "the kernel was shut down",
    "restarted": "the kernel was restarted",
    "memory_limit": "the kernel used more than its {memory_mb} MB of memory and was ended",
    "run_time_over": "the kernel's longest running time is over",
    "tap_ended": "the tap that records the cells ended, and the kernel with it",
}
CODE = "/home/person/code"


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
    places: Places, births: Births, door: HostUser, *, kernel: str, owner: Owner, rights: Rights, session: str,
    folder: Path, front: Path, keys: tuple[str, str], output_bytes: int,
) -> subprocess.Popen[bytes]:  # fmt: skip
    """Starts the tap and tells it what it needs through its stdin."""
    home = places.runtime.home

    def socket(name: str) -> str:
        return str(places.child_view(home.socket(name)))

    settings = TapSettings(
        kernel=kernel,
        person=owner.person,
        role=rights.role,
        project=rights.project,
        session=session,
        front=connection_info(str(places.child_view(front) / "c"), key=keys[0]),
        back=connection_info(str(places.child_view(folder) / "zmq" / "k"), key=keys[1]),
        audit_socket=socket("auditd"),
        broker_socket=socket("brokerd"),
        airlock_socket=socket("airlockd"),
        output_bytes=output_bytes,
    )
    tap = start_host_process("enclave.cli.tap", (), places.runtime, door, births=births)
    assert tap.stdin is not None  # noqa: S101 - start_host_process gave it a pipe
    tap.stdin.write(json.dumps(to_json(settings)).encode() + b"\n")
    tap.stdin.flush()
    return tap


def start_sandbox(
    places: Places, births: Births, limits: KernelLimits, *, kernel: str, user: HostUser, person: str,
    person_user: HostUser, path: str, project: str, folder: Path, back: dict[str, Any], group: Group, backend: str,
) -> Sandbox:  # fmt: skip
    """Starts the interpreter behind the tap; its folder holds what ``/run/enclave`` shows inside."""
    zmq = folder / "zmq"
    if zmq.exists():
        for stale in zmq.iterdir():
            stale.unlink()
        zmq.rmdir()
    make_dir(zmq, mode=0o711, owner=user)
    _write_connection(folder / "connection.json", back, user)
    code = places.code_folder(person, person_user)
    inside = places.child_view(folder)
    cwd = _working_folder(code, path)
    spec = SandboxSpec(
        argv=(
            INNER_PYTHON, "-P", f"{INNER}/inside/kernel_main.py", "/run/enclave/connection.json",
            *_limits(limits, backend),
        ),
        environment=_environment(project),
        env="kernel",
        packages=("enclave_kernel", "enclave_kernel_views"),
        tmpfs=(Tmpfs("/home/person", 32), Tmpfs("/home/person/work", limits.work_mb)),
        binds=(
            Bind(places.runtime.packages["enclave"] / "sandbox" / "inside", f"{INNER}/inside"),
            Bind(code, CODE),
            Bind(inside, "/run/enclave"),
            Bind(inside / "zmq", "/run/enclave/zmq", writable=True),
        ),
        cwd=cwd,
        tmp_mb=limits.tmp_mb,
        shm_mb=limits.shm_mb,
    )  # fmt: skip
    return start(spec, places.runtime, user, births=births, confine=group.add)


def words_for(code: str, *, memory_mb: int) -> str:
    """Why a kernel ended, for the person."""
    return _WORDS.get(code, f"the enclave ended the kernel: {code}").format(memory_mb=memory_mb)


def _limits(limits: KernelLimits, backend: str) -> list[str]:
    words = [f"NOFILE={limits.open_files}", f"FSIZE={limits.file_mb << 20}", f"NPROC={limits.processes}"]
    if backend == "rlimits":
        words.append(f"DATA={limits.memory_mb << 20}")
    return words


def _environment(project: str) -> dict[str, str]:
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
        if place.is_symlink() or not place.is_dir():
            return CODE
    return str(PurePosixPath(CODE, *parts))


def _write_connection(path: Path, info: dict[str, Any], user: HostUser) -> None:
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    with os.fdopen(fd, "w") as file:
        json.dump(info, file)
        if user.uid is not None:
            os.fchown(file.fileno(), user.uid, user.uid)
