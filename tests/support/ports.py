"""Free TCP ports that stay free until a test's server takes them.

They lie below those that the kernel hands out for outgoing connections, and no two processes of a test run are given
the same: each block of eight is claimed by a socket that lives as long as the process.
"""

from __future__ import annotations

import contextlib
import random
import socket

_FIRST, _BLOCKS, _WIDTH = 20_000, 1_500, 8  # up to 32,000
_claims: list[socket.socket] = []


def free_ports(count: int = 1) -> int:
    """The first of ``count`` (at most eight) free neighbours on the loopback."""
    assert count <= _WIDTH
    blocks = list(range(_BLOCKS))
    random.shuffle(blocks)
    for block in blocks:
        claim = socket.socket(socket.AF_UNIX)
        first = _FIRST + block * _WIDTH
        with contextlib.ExitStack() as stack:
            try:
                claim.bind(f"\0enclave-test-ports-{first}")
                for port in range(first, first + count):
                    probe = stack.enter_context(socket.socket())
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", port))
            except OSError:
                claim.close()
                continue
        _claims.append(claim)
        return first
    raise AssertionError("no free ports")
