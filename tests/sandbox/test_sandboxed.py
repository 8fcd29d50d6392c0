"""Starting and ending a sandbox: only that one is ended, and none runs without its limits."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from enclave.core.errors import UnavailableError
from enclave.sandbox import cgroups, sandboxed
from enclave.sandbox.cgroups import Cgroups, Group
from enclave.sandbox.sandboxed import Births, HostUser, Sandbox, Streams

SLEEP = (sys.executable, "-c", "import time; time.sleep(60)")


@pytest.fixture
def others() -> Iterator[list[subprocess.Popen[bytes]]]:
    found = [subprocess.Popen(SLEEP) for _ in range(2)]
    yield found
    for one in found:
        one.kill()
        one.wait()


def test_who_ends_a_closed_sandbox_once_more_ends_no_other(others: list[subprocess.Popen[bytes]]) -> None:
    first = Sandbox(others[0], others[0].pid)
    first.close()
    second = Sandbox(others[1], others[1].pid)  # gets the number that was free
    first.kill()
    first.close()
    assert second.poll() is None
    second.close()
    assert second.poll() is not None


def test_what_cannot_be_confined_is_ended_before_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``sh`` stands for bwrap: it tells its pid and goes on when the pipe gives a byte or ends, as bwrap does."""
    ran = tmp_path / "ran"

    def options(*_: object, info_fd: int, block_fd: int, **__: object) -> list[str]:
        return [str(info_fd), str(block_fd)]

    def command(*_: object, args_fd: int) -> list[str]:
        script = 'import os,sys; i,b=(int(w) for w in os.read(int(sys.argv[1]),99).split(b"\\0")[:2]); '
        script += 'os.write(i, b\'{"child-pid": %d}\' % os.getpid()); os.close(i); os.read(b, 1); open(sys.argv[2],"w")'
        return [sys.executable, "-c", script, str(args_fd), str(ran)]

    def refuse(_: Sequence[int]) -> None:
        raise OSError(28, "no room")

    monkeypatch.setattr(sandboxed, "options", options)
    monkeypatch.setattr(sandboxed, "command", command)
    births = Births()
    user = HostUser(os.getuid() or 65534)
    monkeypatch.setattr(HostUser, "popen", lambda _: {})
    with pytest.raises(UnavailableError):
        sandboxed.start(None, None, user, births=births, streams=Streams(confine=refuse))  # type: ignore[arg-type]  # stand-ins above take neither
    time.sleep(0.5)
    assert not ran.exists()
    sandboxed.start(None, None, user, births=births).process.wait(10)  # type: ignore[arg-type]  # as above
    assert ran.exists()
    births.close()


def test_without_limits_there_is_no_group_to_run_in(tmp_path: Path) -> None:
    (tmp_path / "parent").write_text("no folder")
    with pytest.raises(UnavailableError):
        Cgroups("cgroup2", (tmp_path / "parent",)).make("x", memory_bytes=1, processes=1)
    with pytest.raises(OSError, match="No such file"):
        Group((tmp_path / "gone",)).add((1,))
    assert cgroups.detect().backend in ("cgroup1", "cgroup2", "rlimits")
