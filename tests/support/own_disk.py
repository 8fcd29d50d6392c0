"""A ledger's daemon in a process whose store is a small disk of its own: full or read-only without harm to others."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from enclave.runtime.home import Home

_NOT_HERE = 77
_BEFORE = """\
import ctypes, os, sys, time
from pathlib import Path
from enclave.audit.client import AuditClient
from enclave.audit.daemon import AuditDaemon
from enclave.core.errors import UnavailableError
from enclave.runtime.home import Home
from enclave.runtime.log import Log
home = Home(Path(sys.argv[1]))
store = home.state("audit")
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(0x00020000) or libc.mount(None, b"/", None, 0x44000, None):  # a mount namespace, private
    sys.exit({not_here})
if libc.mount(b"none", os.fsencode(store), b"tmpfs", 0, b"size={mebibytes}m"):
    sys.exit({not_here})
daemon = AuditDaemon(home, log=Log("auditd"))
daemon.start()
client = AuditClient(home.socket("auditd"))
"""


def run_on_own_disk(home: Home, script: str, *, mebibytes: int, folder: Path) -> str:
    """What ``script`` prints; it finds ``home, store, libc, daemon, client`` and what it needs to use them.

    It exits with 77 where the kernel does not give what it needs: then the test is skipped.
    """
    path = folder / "on_own_disk.py"
    path.write_text(_BEFORE.format(mebibytes=mebibytes, not_here=_NOT_HERE) + textwrap.dedent(script))
    command = [sys.executable, str(path), str(home.root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    if done.returncode == _NOT_HERE:
        pytest.skip("this kernel gives no mount namespace of one's own, or does not turn a disk read-only")
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
