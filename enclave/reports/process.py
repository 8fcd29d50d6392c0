"""Starts one papermill run as a process and brings back its page: in memory only, within a time limit."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from enclave.core.errors import UnavailableError

_SPEC: Final = {
    "argv": [],
    "display_name": "Enclave Python",
    "language": "python",
    "metadata": {"kernel_provisioner": {"provisioner_name": "enclave"}},
}
_SEALS: Final = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_GRACE_S: Final = 30.0  # for starting, converting and ending, beside the notebook's own time
_ANSWER_LIMIT: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is run: a notebook file, its parameters, the project, the launcher's socket for our identity."""

    notebook: Path
    parameters: dict[str, str]
    title: str
    project: str
    launcher_socket: str
    time_limit_s: float
    page_limit_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How it went. ``code`` is stable; ``cell`` is the number of the failed cell, ``error`` its exception's class."""

    ok: bool
    page: bytes = b""
    cells: int = 0
    code: str = ""
    cell: int = 0
    error: str = ""


class PapermillProcess:
    """One run; ``end`` may be called from another thread at any time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = False
        self._guard = threading.Lock()

    def run(self, task: Task) -> Result:
        """Runs to the end or the time limit; raises ``UnavailableError`` when it was ended from outside."""
        page_fd = os.memfd_create("report", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            with tempfile.TemporaryDirectory(prefix="enclave-report-") as folder:
                answer = self._communicate(task, Path(folder), page_fd)
            if answer is None:
                return Result(ok=False, code="time_limit")
            if not answer.get("ok"):
                return _failure(answer)
            size = os.fstat(page_fd).st_size
            if size > task.page_limit_bytes:
                return Result(ok=False, code="page_too_large")
            return Result(ok=True, page=os.pread(page_fd, size, 0), cells=int(answer["cells"]))
        finally:
            os.close(page_fd)

    def end(self) -> None:
        """Kills the run, and what it started."""
        with self._guard:
            self._ended = True
            if self._process is not None:
                _kill(self._process)

    def _communicate(self, task: Task, folder: Path, page_fd: int) -> dict[str, Any] | None:
        process = self._start(task, folder, page_fd)
        question = {
            "notebook": str(task.notebook),
            "parameters": task.parameters,
            "title": task.title,
            "time_limit_s": task.time_limit_s,
            "page_fd": page_fd,
        }
        try:
            out, _ = process.communicate(json.dumps(question).encode(), timeout=task.time_limit_s + _GRACE_S)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _kill(process)
            process.wait()
        if self._ended:
            raise UnavailableError("report: wanted the run to end, got a stop of the daemon; it runs again")
        try:
            answer = json.loads(out[:_ANSWER_LIMIT])
        except ValueError:
            return {"ok": False, "code": "run_crashed", "error": "no answer"}
        return answer if isinstance(answer, dict) else {"ok": False, "code": "run_crashed", "error": "no answer"}

    def _start(self, task: Task, folder: Path, page_fd: int) -> subprocess.Popen[bytes]:
        spec = folder / "kernels" / "enclave-python"
        spec.mkdir(parents=True)
        (spec / "kernel.json").write_text(json.dumps(_SPEC), "ascii")
        environment = {
            "PATH": "/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "HOME": str(folder),
            "JUPYTER_PATH": str(folder),
            "JUPYTER_DATA_DIR": str(folder),
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
            "JUPYTER_NO_CONFIG": "1",
            "ENCLAVE_LAUNCHER_SOCKET": task.launcher_socket,
            "ENCLAVE_PROJECT": task.project,
            "JPY_SESSION_NAME": task.notebook.name,
        }
        with self._guard:
            if self._ended:
                raise UnavailableError("report: wanted to start a run, got a stop of the daemon; it runs again")
            self._process = subprocess.Popen(
                (sys.executable, "-P", "-m", "enclave.reports.run"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # papermill logs what cells print
                cwd=folder,
                env=environment,
                pass_fds=(page_fd,),
                start_new_session=True,
            )
        return self._process


def sealed_memory(name: str, data: bytes) -> int:
    """A fresh read-only descriptor of sealed memory that holds ``data``; the caller closes it."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
        return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(fd)


def _failure(answer: dict[str, Any]) -> Result:
    return Result(
        ok=False,
        code=str(answer.get("code", "run_crashed")),
        cell=int(answer.get("cell", 0)),
        error=str(answer.get("error", "")),
    )


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
