"""Which limits a machine has; version 2 on a model of a delegated hierarchy, for not every machine has a real one."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from enclave.core.errors import UnavailableError
from enclave.sandbox import cgroups

SERVICE = "system.slice/enclave-launcherd.service"


class Hierarchy:
    """As much of cgroup v2 as a delegated service meets: files that appear with a folder, and its two rules.

    A group with processes of its own gives no controllers on; a group has a limit only when its parent gave one on.
    """

    def __init__(self, root: Path, *, available: str = "cpu memory pids") -> None:
        self.root = root
        self.service = root / SERVICE
        self.written: list[tuple[str, str]] = []
        self.service.mkdir(parents=True)
        (root / "cgroup.controllers").write_text("cpu memory pids")
        (self.service / "cgroup.controllers").write_text(available)
        (self.service / "cgroup.procs").write_text("4711\n4712\n")

    def write(self, path: Path, text: str) -> None:
        self.written.append((str(path.relative_to(self.service)), text))
        if path.name == "cgroup.procs":
            self._move(path, text)
        elif path.name == "cgroup.subtree_control":
            if self._procs(path.parent):
                raise OSError(errno.EBUSY, "busy")
            wanted = {word.removeprefix("+") for word in text.split()}
            if not wanted <= set(self._controllers(path.parent)):
                raise OSError(errno.ENOENT, "no such controller")
            path.write_text(" ".join(sorted(wanted)))
        else:
            controller = path.name.partition(".")[0]
            if controller not in self._controllers(path.parent):
                raise OSError(errno.EACCES, "no such file")
            path.write_text(text)

    def _move(self, path: Path, pid: str) -> None:
        for one in self.root.rglob("cgroup.procs"):
            one.write_text("".join(f"{word}\n" for word in one.read_text().split() if word != pid))
        path.write_text("".join(f"{word}\n" for word in (*self._procs(path.parent), pid)))

    def _procs(self, folder: Path) -> list[str]:
        place = folder / "cgroup.procs"
        return place.read_text().split() if place.exists() else []

    def _controllers(self, folder: Path) -> list[str]:
        if folder == self.service:
            return (folder / "cgroup.controllers").read_text().split()
        given = folder.parent / "cgroup.subtree_control"
        return given.read_text().split() if given.exists() else []


@pytest.fixture
def delegated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hierarchy:
    """The launcher stands in a service that was delegated to it."""
    return _model(tmp_path, monkeypatch, Hierarchy(tmp_path / "cgroup"))


def _model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: Hierarchy) -> Hierarchy:
    monkeypatch.setattr(cgroups, "_ROOT", tmp_path / "cgroup")
    monkeypatch.setattr(cgroups, "_own_lines", lambda: ["1:name=systemd:/x", f"0::/{SERVICE}"])
    monkeypatch.setattr(cgroups, "_write", found.write)
    return found


def test_a_delegated_version_2_is_used_though_the_launcher_stands_in_it(delegated: Hierarchy) -> None:
    found = cgroups.detect()
    assert found.backend == "cgroup2"
    assert (delegated.service / "enclave-launcher" / "cgroup.procs").read_text().split() == ["4711", "4712"]
    assert (delegated.service / "cgroup.procs").read_text().split() == []


def test_a_kernel_gets_a_group_with_its_limits_and_its_processes(delegated: Hierarchy) -> None:
    group = cgroups.detect().make("kernel-1", memory_bytes=4 << 30, processes=512)
    (folder,) = group.folders
    assert folder == delegated.service / "enclave-sandboxes" / "kernel-1"
    assert {name: (folder / name).read_text() for name in ("memory.max", "pids.max", "memory.swap.max")} == {
        "memory.max": str(4 << 30), "pids.max": "512", "memory.swap.max": "0",
    }  # fmt: skip
    assert (folder / "memory.oom.group").read_text() == "1"
    group.add((100, 101))
    assert (folder / "cgroup.procs").read_text().split() == ["100", "101"]


def test_who_was_killed_for_memory_is_known(delegated: Hierarchy) -> None:
    group = cgroups.detect().make("kernel-1", memory_bytes=1 << 30, processes=16)
    events = group.folders[0] / "memory.events"
    events.write_text("low 0\nhigh 0\nmax 12\noom 0\noom_kill 0\noom_group_kill 0\n")
    assert not group.killed_for_memory()
    events.write_text("low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 1\n")
    assert group.killed_for_memory()


def test_a_second_launcher_start_finds_the_groups_of_the_first(delegated: Hierarchy) -> None:
    assert cgroups.detect().backend == cgroups.detect().backend == "cgroup2"


@pytest.mark.parametrize("available", ["cpu pids", "memory", ""])
def test_without_both_controllers_version_2_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, available: str
) -> None:
    _model(tmp_path, monkeypatch, Hierarchy(tmp_path / "cgroup", available=available))
    assert cgroups.detect().backend == "rlimits"


def test_a_group_that_cannot_be_limited_is_no_group_to_run_in(
    delegated: Hierarchy, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = cgroups.detect()

    def refuse(path: Path, text: str) -> None:
        if path.name == "memory.max":
            raise OSError(errno.EACCES, "no")
        delegated.write(path, text)

    monkeypatch.setattr(cgroups, "_write", refuse)
    with pytest.raises(UnavailableError) as fault:
        found.make("kernel-2", memory_bytes=1 << 30, processes=16)
    assert fault.value.code == "no_limits"


def test_without_any_cgroups_there_are_rlimits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "_ROOT", tmp_path / "nothing")
    found = cgroups.detect()
    assert found.backend == "rlimits"
    group = found.make("kernel-1", memory_bytes=1 << 30, processes=16)
    group.add((1,))
    assert not group.killed_for_memory()
    group.remove()
