"""Starts all processes of one machine's enclave, restarts what dies, ends all of it.

In production systemd does this (``hub_config/systemd``); here one process does, so that two commands suffice.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import json
import os
import pwd
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import IO

from enclave.cli.demo_services import Service, check_ports, demo_services
from enclave.cli.output import tell_error
from enclave.core.errors import ConflictError, EnclaveError, UnavailableError
from enclave.hub.settings import HubSettings
from enclave.runtime.home import Home, ensure_private_dir
from enclave.runtime.log import Log

READY_TIMEOUT_S = 90.0
END_TIMEOUT_S = 15.0
MAX_RESTARTS_PER_MINUTE = 5
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


class Supervisor:
    """Owns the processes of one home while it holds the home's lock."""

    def __init__(self, home: Home, *, services: tuple[Service, ...], log: Log) -> None:
        self._home = home
        self._services = services
        self._log = log
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._restarts: dict[str, deque[float]] = {}
        self._stop = threading.Event()
        self._lock_file: IO[str] | None = None

    def run(self) -> None:
        """Starts everything, then keeps it running until a signal; returns after all have ended."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        ensure_private_dir(self._home.run_dir, mode=0o711)
        self._lock_file = take_lock(self._home)
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        try:
            check_ports(self._home)
            for service in self._services:
                self._start(service)
                self._wait_ready(service)
                if self._stop.is_set():
                    return
            self._write_status("up")
            self._log.info("all processes are ready")
            self._watch()
        finally:
            self._end_all()

    def _start(self, service: Service) -> None:
        log_path = self._home.state("logs") / f"{service.name}.log"
        with log_path.open("ab") as log_file:
            self._running[service.name] = subprocess.Popen(
                service.argv,
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=subprocess.STDOUT,
                env={**os.environ, "ENCLAVE_HOME": str(self._home.root), **service.environment},
                start_new_session=True,  # Ctrl-C reaches the supervisor alone, which ends the others in order
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - one prctl, no threads of ours hold locks here
            )
        self._write_status("starting")

    def _wait_ready(self, service: Service) -> None:
        end = time.monotonic() + READY_TIMEOUT_S
        while not self._stop.is_set() and not service.is_ready():
            code = self._running[service.name].poll()
            if code is not None or time.monotonic() > end:
                what = f"exit code {code}" if code is not None else f"no answer within {READY_TIMEOUT_S:.0f} s"
                log_path = self._home.state("logs") / f"{service.name}.log"
                raise UnavailableError(
                    f"{service.name}: wanted it ready, got {what}; {_last_words(log_path)} (whole log: {log_path})"
                )
            time.sleep(0.05)

    def _watch(self) -> None:
        by_name = {service.name: service for service in self._services}
        while not self._stop.wait(0.5):
            for name, process in list(self._running.items()):
                if process.poll() is not None:
                    self._restart(by_name[name], process.returncode)
            _reap_orphans({process.pid for process in self._running.values()})

    def _restart(self, service: Service, code: int) -> None:
        now = time.monotonic()
        recent = self._restarts.setdefault(service.name, deque(maxlen=MAX_RESTARTS_PER_MINUTE))
        if len(recent) == MAX_RESTARTS_PER_MINUTE and now - recent[0] < 60:
            raise UnavailableError(f"{service.name}: wanted it to stay up, got {len(recent)} ends within a minute")
        recent.append(now)
        self._log.warning("process ended, starting it again", service=service.name, exit_code=code)
        self._start(service)
        self._wait_ready(service)
        self._write_status("up")

    def _end_all(self) -> None:
        self._write_status("stopping")
        for name, process in reversed(list(self._running.items())):
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(END_TIMEOUT_S)
                except subprocess.TimeoutExpired:
                    self._log.warning("process did not end in time, killing it", service=name)
                    process.kill()
                    process.wait()
        _end_orphans()
        status_file(self._home).unlink(missing_ok=True)

    def _write_status(self, state: str) -> None:
        settings = self._home.settings(HubSettings, section="hub")
        status = {
            "state": state,
            "url": f"http://localhost:{settings.port}",
            "supervisor": os.getpid(),
            "started": start_of(os.getpid()),
            "pids": {name: process.pid for name, process in self._running.items()},
            "users": {name: pwd.getpwuid(os.getuid()).pw_name for name in self._running},
            "sockets": {
                service.name: str(service.ready_socket)
                for service in self._services
                if service.ready_socket is not None
            },
        }
        target = status_file(self._home)
        part = target.with_suffix(".part")
        part.write_text(json.dumps(status), "utf-8")
        part.replace(target)


def status_file(home: Home) -> Path:
    """Where the supervisor says what runs."""
    return home.run_dir / "demo.json"


def start_of(pid: int) -> str:
    """When a running process started, in clock ticks since boot (proc_pid_stat(5), field 22); '' when it has ended.

    With the pid it names one process for good: a pid alone may be somebody else's by now.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] in ("Z", "X") else fields[19]


def take_lock(home: Home) -> IO[str]:
    """The home's lock, held while the file stays open; raises ``ConflictError`` when another holds it."""
    file = (home.run_dir / "demo.lock").open("a+", encoding="ascii")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise ConflictError("enclave: wanted it down, got one running on this home; `enclave demo status`") from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _last_words(log_path: Path) -> str:
    lines = log_path.read_text("utf-8", errors="replace").strip().splitlines()[-1:] if log_path.exists() else []
    return f"its last words: {lines[0][:300]}" if lines else "it said nothing"


def _children() -> list[int]:
    path = Path(f"/proc/self/task/{os.getpid()}/children")
    return [int(pid) for pid in path.read_text("ascii").split()] if path.exists() else []


def _reap_orphans(own: set[int]) -> None:
    """Collects ended processes that came to us because their own parent died."""
    for pid in _children():
        if pid not in own:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue


def _end_orphans() -> None:
    """Kills what outlived its parent and came to us, until nothing is left."""
    end = time.monotonic() + END_TIMEOUT_S
    while time.monotonic() < end:
        left = _children()
        if not left:
            return
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                continue


def main() -> None:
    """``python -m enclave.cli.demo_supervisor --home DIR``."""
    parser = argparse.ArgumentParser(prog="enclave-demo-supervisor")
    parser.add_argument("--home", required=True, type=Path)
    arguments = parser.parse_args()
    try:
        home = Home(arguments.home.absolute())
        Supervisor(home, services=demo_services(home), log=Log("supervisor")).run()
    except EnclaveError as error:
        sys.exit(tell_error(error))


if __name__ == "__main__":
    main()
