"""``enclave-brokerd`` as a process: ready on its socket, one plain line when it cannot start, a clean end."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from enclave.keys.files import new_x25519
from enclave.wire.client import WireClient
from enclave.wire.messages.broker import Reads

ARGV = [sys.executable, "-m", "enclave.cli.brokerd", "--home"]


def start(home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([*ARGV, str(home)], stderr=subprocess.PIPE, text=True)


def test_it_answers_when_it_says_ready_and_ends_cleanly(auditd: Any) -> None:
    new_x25519(auditd.home.key_file("kek"))
    process = start(auditd.home.root)
    try:
        assert process.stderr is not None
        while "ready" not in (line := process.stderr.readline()):
            assert line, "ended before it was ready"
        client = WireClient(auditd.home.socket("brokerd"))
        with pytest.raises(Exception, match="kernel: wanted one with a lease socket"):
            client.call(Reads(kernel="0" * 32, cell="1" * 32))
        client.close()
    finally:
        process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert not auditd.home.socket("brokerd").exists()


def test_a_killed_one_is_followed_by_the_next_without_cleaning_up(auditd: Any) -> None:
    new_x25519(auditd.home.key_file("kek"))
    for _ in range(2):
        process = start(auditd.home.root)
        assert process.stderr is not None
        while "ready" not in (line := process.stderr.readline()):
            assert line
        process.kill()
        process.wait(10)


@pytest.mark.parametrize(
    ("harm", "code", "said"),
    [
        (lambda home: home.format_file.unlink(), 11, "enclave init"),
        (lambda home: home.format_file.write_text("99\n"), 13, "newer release"),
        (lambda home: home.settings_file.write_text("[broker]\ncache_mb = 1\n"), 12, "cache_mib"),
        (lambda home: home.key_file("kek").unlink(), 11, "kek.key"),
        (lambda home: home.key_file("kek").chmod(0o644), 10, "0600"),
    ],
)
def test_what_keeps_it_from_starting_is_said_in_one_line(auditd: Any, harm: Any, code: int, said: str) -> None:
    new_x25519(auditd.home.key_file("kek"))
    harm(auditd.home)
    began = time.monotonic()
    done = subprocess.run([*ARGV, str(auditd.home.root)], capture_output=True, text=True, timeout=30, check=False)
    assert time.monotonic() - began < 20
    assert done.returncode == code
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
