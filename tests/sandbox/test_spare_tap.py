"""A tap that waits for its kernel."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from enclave.sandbox.spare_tap import SpareTap

WAITS = "import sys; sys.stdin.read()"


@pytest.fixture
def born() -> Iterator[list[subprocess.Popen[bytes]]]:
    """All processes that were started."""
    found: list[subprocess.Popen[bytes]] = []
    yield found
    for process in found:
        process.kill()
        process.wait()


def spare(born: list[subprocess.Popen[bytes]], *, pause_s: float = 0.0) -> SpareTap:
    def start() -> subprocess.Popen[bytes]:
        born.append(subprocess.Popen([sys.executable, "-S", "-c", WAITS], stdin=subprocess.PIPE))
        return born[-1]

    return SpareTap(start, pause_s=pause_s)


def wait_for(condition: Any) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_each_kernel_gets_a_tap_of_its_own_and_the_next_one_waits(born: Any) -> None:
    taps = spare(born)
    first = taps.take()
    wait_for(lambda: len(born) == 2)
    (waiting,) = (one for one in born if one is not first)
    second = taps.take()
    assert second is waiting
    wait_for(lambda: len(born) == 3)
    taps.close()
    assert born[2].wait(30) is not None
    assert first.poll() is second.poll() is None


def test_one_that_ended_meanwhile_is_not_given_out(born: Any) -> None:
    taps = spare(born)
    first = taps.take()
    wait_for(lambda: len(born) == 2)
    (waiting,) = (one for one in born if one is not first)
    waiting.kill()
    waiting.wait()
    assert taps.take() not in (first, waiting)
    taps.close()


def test_after_the_end_none_is_made(born: Any) -> None:
    taps = spare(born, pause_s=3600)
    taps.take()
    taps.close()
    taps.take()
    assert len(born) == 2


@pytest.mark.slow
def test_a_spare_has_no_socket_and_becomes_the_tap_of_the_next_kernel(
    stand: Any, notebook: Any, notebook_on: Any
) -> None:
    def taps() -> set[int]:
        children = Path(f"/proc/{stand.process.pid}/task").glob("*/children")
        pids = {int(pid) for one in children for pid in one.read_text().split()}
        return {pid for pid in pids if b"enclave.cli.tap" in Path(f"/proc/{pid}/cmdline").read_bytes()}

    wait_for(lambda: len(taps()) == 2)
    own = taps() & set(stand.descendants())
    (waiting,) = taps() - own
    targets = [str(link.readlink()) for link in Path(f"/proc/{waiting}/fd").iterdir() if link.is_symlink()]
    assert not [target for target in targets if target.startswith("socket:")]
    second = notebook_on(stand.service_socket())
    try:
        assert second.run("print(6 * 7)")[1] == "42\n"
        assert notebook.run("print(6 * 7)")[1] == "42\n"
        assert waiting in set(stand.descendants())
    finally:
        second.close()
