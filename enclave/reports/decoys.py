"""What the sandbox's self-test aims at on the host's side: a readable file, listeners on loopback, this process.

They are there for the time of one run, give nothing away and take nothing in; who reached one would only show that it
can be reached. Nothing but loopback is ever named.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

SELFTEST: Final = "sandbox_selftest.ipynb"


@contextlib.contextmanager
def decoys(dataset: str) -> Iterator[str]:
    """The self-test's ``facts`` as JSON, true until the block ends."""
    with contextlib.ExitStack() as stack:
        four = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = four.getsockname()[1]
        with contextlib.suppress(OSError):  # a machine without IPv6
            stack.enter_context(socket.create_server(("::1", port), family=socket.AF_INET6))
        abstract = f"enclave-selftest-{secrets.token_hex(8)}"
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind("\0" + abstract)
        listener.listen(1)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="enclave-selftest-")))
        folder.chmod(0o755)
        secret = folder / "secret"
        secret.write_text("not for kernels", "utf-8")
        secret.chmod(0o644)
        yield json.dumps(
            {
                "secret": str(secret),
                "port": port,
                "abstract": abstract,
                "host_pid": os.getpid(),
                "hostname_sha256": hashlib.sha256(socket.gethostname().encode()).hexdigest(),
                "dataset": dataset,
                "tap": True,
            }
        )
