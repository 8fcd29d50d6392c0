"""A running sandbox: born from one long-lived thread, limited before its program runs, killed from outside."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from enclave.core.errors import UnavailableError
from enclave.sandbox.bubblewrap import SandboxSpec, command, options
from enclave.sandbox.runtime_mounts import Runtime
from enclave.sandbox.seccomp import filter_bytes

T = TypeVar("T")
BIRTH_S = 20.0
_STOP_ROUNDS = 100
_SEALS = 0x0001 | 0x0002 | 0x0004 | 0x0008  # F_SEAL_SEAL, SHRINK, GROW, WRITE


class Births:
    """Runs jobs that start processes, all in one thread that lives as long as this object.

    A child's parent-death signal follows the *thread* that started it (prctl(2), PR_SET_PDEATHSIG), and the
    threads of a wire server end with their connection.
    """

    def __init__(self) -> None:
        self._jobs: queue.Queue[tuple[Callable[[], Any], Future[Any]] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, name="births", daemon=True)
        self._thread.start()

    def run(self, job: Callable[[], T]) -> T:
        """Runs ``job`` there and returns what it returned."""
        result: Future[T] = Future()
        self._jobs.put((job, result))
        return result.result()

    def close(self) -> None:
        """Ends the thread, and with it every child that is still there."""
        self._jobs.put(None)
        self._thread.join(timeout=5)

    def _work(self) -> None:
        while (one := self._jobs.get()) is not None:
            job, result = one
            try:
                result.set_result(job())
            except BaseException as error:  # noqa: BLE001 - handed to who waits for the result
                result.set_exception(error)


@dataclass(frozen=True, slots=True)
class HostUser:
    """The uid and gid that a child gets on the host; None keeps the launcher's own (ordinary user)."""

    uid: int | None

    @property
    def effective(self) -> int:
        """The uid as the host sees it."""
        return os.getuid() if self.uid is None else self.uid

    def popen(self) -> dict[str, Any]:
        """The arguments of ``Popen`` that drop to it."""
        if self.uid is None:
            return {}
        return {"user": self.uid, "group": self.uid, "extra_groups": []}


class Sandbox:
    """One bwrap with its program. ``inner`` is the host pid of pid 1 inside."""

    def __init__(self, process: subprocess.Popen[bytes], inner: int) -> None:
        self.process = process
        self.inner = inner
        self._pidfd = os.pidfd_open(inner)
        self._guard = threading.Lock()

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        return self.process.poll()

    def program_pid(self) -> int | None:
        """The host pid of the sandboxed program itself, the first child of pid 1 inside."""
        try:
            children = Path(f"/proc/{self.inner}/task/{self.inner}/children").read_text("ascii").split()
        except OSError:
            return None
        return int(children[0]) if children else None

    def signal_program(self, number: int) -> None:
        """Sends a signal to the program, never to bwrap (a SIGINT there ends the sandbox)."""
        pid = self.program_pid()
        if pid is None:
            return
        with contextlib.suppress(OSError):
            fd = os.pidfd_open(pid)
            try:
                signal.pidfd_send_signal(fd, number)
            finally:
                os.close(fd)

    def stop_all(self) -> bool:
        """Stops every process inside; nothing runs on its own again. Says whether all of them stand.

        A process that is forked while we look is found in a later round; a stopped one cannot wake another.
        """
        for _ in range(_STOP_ROUNDS):
            running = [pid for pid in (self.inner, *_descendants(self.inner)) if not _stands(pid)]
            if not running:
                return True
            for pid in running:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGSTOP)
            time.sleep(0.01)
        return False

    def kill(self, *, wait_s: float = 5.0) -> None:
        """Ends everything inside at once: pid 1 takes its namespace along, stopped or not (pid_namespaces(7)).

        After ``close`` it does nothing: the descriptor's number may be another sandbox's by then.
        """
        with self._guard, contextlib.suppress(ProcessLookupError):
            if self._pidfd >= 0:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(min(wait_s, 0.5))
        if self.process.poll() is None:
            self.process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(wait_s)

    def close(self) -> None:
        """Kills it and gives the descriptors back."""
        self.kill()
        with self._guard:
            pidfd, self._pidfd = self._pidfd, -1
        if pidfd >= 0:
            os.close(pidfd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """How a sandbox is tied to the launcher. ``confine`` gets the pids of bwrap and of pid 1 inside before the
    program runs; ``stderr`` None: read and forgotten; ``descriptors`` are those that the spec's files name."""

    confine: Callable[[Sequence[int]], None] = lambda _pids: None
    stdin: int = subprocess.DEVNULL
    stdout: int = subprocess.DEVNULL
    stderr: int | IO[bytes] | None = None
    descriptors: tuple[int, ...] = ()


_NO_STREAMS = Streams()


def start(
    spec: SandboxSpec, runtime: Runtime, user: HostUser, *, births: Births, streams: Streams = _NO_STREAMS
) -> Sandbox:
    """Starts ``spec`` as ``user``; raises ``UnavailableError`` with bwrap's own words when none came about."""
    if user.effective == 0:
        raise UnavailableError("sandbox: wanted an unprivileged uid, got 0; nothing of a user ever runs as root")
    info_read, info_write = os.pipe()
    block_read, block_write = os.pipe()
    complaint_read, complaint_write = os.pipe()
    rules = _sealed_memory("seccomp", filter_bytes())
    words = options(spec, runtime, seccomp_fd=rules, info_fd=info_write, block_fd=block_read)
    args = _sealed_memory("options", b"".join(word.encode() + b"\0" for word in words))
    argv = command(spec, runtime, args_fd=args)
    inherited = (info_write, block_read, rules, args, *streams.descriptors)
    stderr = complaint_write if streams.stderr is None else streams.stderr
    try:
        try:
            process = births.run(lambda: _spawn(argv, user, streams, stderr=stderr, inherited=inherited))
        finally:
            for fd in (info_write, block_read, complaint_write, rules, args):
                os.close(fd)
        try:
            inner = _await_birth(info_read, complaint_read, process)
            sandbox = Sandbox(process, inner)
            streams.confine((process.pid, inner))
        except BaseException:
            _end_unborn(process)
            raise
        os.write(block_write, b"1")
    except OSError as error:
        raise UnavailableError(f"sandbox: wanted room for one more, got {error.strerror}; try again later") from None
    else:
        return sandbox
    finally:
        os.close(block_write)
        os.close(info_read)
        if streams.stderr is None:
            _drain(complaint_read)
        else:
            os.close(complaint_read)


def _end_unborn(process: subprocess.Popen[bytes]) -> None:
    """Ends what waits for our word before that end of the pipe closes, which bwrap takes for the word."""
    process.kill()
    process.wait()


def _spawn(
    argv: Sequence[str], user: HostUser, streams: Streams, *, stderr: int | IO[bytes], inherited: tuple[int, ...]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        argv,
        env={},
        cwd="/",
        stdin=streams.stdin,
        stdout=streams.stdout,
        stderr=stderr,
        pass_fds=inherited,
        **user.popen(),
    )


def start_host_process(  # noqa: PLR0913 - what a process starts with, all but four by keyword
    module: str,
    options: Sequence[str],
    runtime: Runtime,
    user: HostUser,
    *,
    births: Births,
    environment: Mapping[str, str] | None = None,
    stdin: int = subprocess.PIPE,
    stdout: int = subprocess.DEVNULL,
    stderr: int | IO[bytes] | None = None,
) -> subprocess.Popen[bytes]:
    """Starts ``python -m module`` outside of a sandbox, as ``user``; it dies with the launcher."""
    base = {"LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1", **runtime.environment, **(environment or {})}
    pdeath = ("/usr/bin/setpriv", "--pdeathsig", "KILL") if Path("/usr/bin/setpriv").exists() else ()
    argv = [*pdeath, *runtime.command, "-m", module, *options]
    return births.run(
        lambda: subprocess.Popen(argv, env=base, cwd="/", stdin=stdin, stdout=stdout, stderr=stderr, **user.popen())
    )


def end_process(process: subprocess.Popen[bytes], *, grace_s: float = 2.0) -> None:
    """Asks ``process`` to end by closing its stdin and SIGTERM, then insists."""
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)


def _await_birth(info: int, complaint: int, process: subprocess.Popen[bytes]) -> int:
    end = time.monotonic() + BIRTH_S
    data = b""
    while time.monotonic() < end:
        ready, _, _ = select.select([info], [], [], 0.5)
        if not ready:
            continue
        part = os.read(info, 4096)
        data += part
        if data.rstrip().endswith(b"}"):
            return int(json.loads(data)["child-pid"])
        if not part:
            break
    _end_unborn(process)
    ready, _, _ = select.select([complaint], [], [], 0.2)
    words = os.read(complaint, 400).decode("utf-8", "replace").strip().splitlines() if ready else []
    what = words[0] if words else f"exit code {process.returncode}"
    raise UnavailableError(f"sandbox: wanted bubblewrap to start, got: {what}; `enclave doctor` says what is missing")


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, task.read_text("ascii").split()):
                found += [child, *_descendants(child)]
    return found


def _stands(pid: int) -> bool:
    """Whether every thread of it is stopped, or it is dead (proc_pid_stat(5): T, t, Z, X)."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return all(
            (one / "stat").read_text("ascii", "replace").rpartition(")")[2].split()[0] in "TtZX" for one in threads
        )
    except OSError:
        return True


def _drain(fd: int) -> None:
    """Reads and forgets what the program writes to stderr: it may hold data, so it stands in no log."""

    def forget() -> None:
        with contextlib.suppress(OSError):
            while os.read(fd, 65536):
                pass
        os.close(fd)

    threading.Thread(target=forget, name="forget", daemon=True).start()


def _sealed_memory(name: str, data: bytes) -> int:
    import fcntl

    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    fcntl.fcntl(fd, 1033, _SEALS)  # F_ADD_SEALS
    return fd
