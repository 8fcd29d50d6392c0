"""Limits that hold for a whole sandbox: cgroup v2 when delegated, else v1, else none (then rlimits per process).

Source: Linux, Documentation/admin-guide/cgroup-v2.rst ("Delegation", "No Internal Process Constraint").
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from enclave.core.errors import UnavailableError

Backend = Literal["cgroup2", "cgroup1", "rlimits"]
_ROOT = Path("/sys/fs/cgroup")
_CONTROLLERS = "+memory +pids"


@dataclass(frozen=True, slots=True)
class Group:
    """One sandbox's group; with rlimits only it is empty and does nothing."""

    folders: tuple[Path, ...] = ()

    def add(self, pids: Sequence[int]) -> None:
        """Moves processes in; their children follow. Raises ``OSError``: what has no limits must not run."""
        for folder in self.folders:
            for pid in pids:
                _write(folder / "cgroup.procs", str(pid))

    def killed_for_memory(self) -> bool:
        """Whether the kernel had to end something in here because of the memory limit."""
        for folder in self.folders:
            for name in ("memory.events", "memory.oom_control"):
                with contextlib.suppress(OSError):
                    for line in (folder / name).read_text("ascii").splitlines():
                        word, _, number = line.partition(" ")
                        if word == "oom_kill" and int(number) > 0:
                            return True
        return False

    def remove(self) -> None:
        """Takes the empty group away."""
        for folder in self.folders:
            with contextlib.suppress(OSError):
                folder.rmdir()


@dataclass(frozen=True, slots=True)
class Cgroups:
    """What this machine lets this launcher do."""

    backend: Backend
    parents: tuple[Path, ...] = ()

    def make(self, name: str, *, memory_bytes: int, processes: int) -> Group:
        """A group with these limits; raises ``UnavailableError`` when the machine does not give them any more."""
        folders: list[Path] = []
        try:
            for parent in self.parents:
                folder = parent / name
                folder.mkdir(exist_ok=True)
                folders.append(folder)
            self._limit(folders, memory_bytes, processes)
        except OSError as error:
            Group(tuple(folders)).remove()
            words = f"limits: wanted a group of processes for a sandbox, got {error.strerror}; tell the operator"
            raise UnavailableError(words, code="no_limits") from None
        return Group(tuple(folders))

    def _limit(self, folders: list[Path], memory_bytes: int, processes: int) -> None:
        if self.backend == "cgroup2":
            _write(folders[0] / "memory.max", str(memory_bytes))
            _write(folders[0] / "pids.max", str(processes))
            with contextlib.suppress(OSError):
                _write(folders[0] / "memory.swap.max", "0")
            with contextlib.suppress(OSError):
                _write(
                    folders[0] / "memory.oom.group", "1"
                )  # a kernel without its children, or the reverse, is no kernel
        elif self.backend == "cgroup1":
            _write(folders[0] / "memory.limit_in_bytes", str(memory_bytes))
            _write(folders[1] / "pids.max", str(processes))


def detect() -> Cgroups:
    """The best backend that works here, found by trying."""
    for found in (_version_2(), _version_1()):
        if found is not None:
            with contextlib.suppress(UnavailableError):
                found.make(f"probe-{os.getpid()}", memory_bytes=1 << 28, processes=16).remove()
                return found
    return Cgroups("rlimits")


def _version_2() -> Cgroups | None:
    if not (_ROOT / "cgroup.controllers").is_file():
        return None
    own = next((line[3:] for line in _own_lines() if line.startswith("0::")), "/")
    base = _ROOT / own.strip("/") if own != "/" else _ROOT
    parent = base / "enclave-sandboxes"
    try:
        parent.mkdir(exist_ok=True)
        _give_controllers(base)
        _write(parent / "cgroup.subtree_control", _CONTROLLERS)
    except OSError:
        return None
    return Cgroups("cgroup2", (parent,))


def _give_controllers(base: Path) -> None:
    """Lets groups below ``base`` have limits.

    A group with processes of its own may not, so those go to a group beside the sandboxes first: a service that
    was delegated its group (systemd, ``Delegate=``) stands in it itself.
    """
    try:
        _write(base / "cgroup.subtree_control", _CONTROLLERS)
    except OSError as fault:
        if fault.errno != errno.EBUSY:
            raise
        own = base / "enclave-launcher"
        own.mkdir(exist_ok=True)
        for pid in (base / "cgroup.procs").read_text("ascii").split():
            with contextlib.suppress(ProcessLookupError):  # it has ended
                _write(own / "cgroup.procs", pid)
        _write(base / "cgroup.subtree_control", _CONTROLLERS)


def _write(path: Path, text: str) -> None:
    path.write_text(text, "ascii")


def _version_1() -> Cgroups | None:
    parents = (_ROOT / "memory" / "enclave", _ROOT / "pids" / "enclave")
    try:
        for parent in parents:
            if not parent.parent.is_dir():
                return None
            parent.mkdir(exist_ok=True)
    except OSError:
        return None
    return Cgroups("cgroup1", parents)


def _own_lines() -> list[str]:
    try:
        return Path("/proc/self/cgroup").read_text("ascii").splitlines()
    except OSError:
        return []
