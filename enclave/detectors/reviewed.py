"""Model files of other people's packages: what somebody reviewed, byte for byte, or nothing."""

from __future__ import annotations

import hashlib
from importlib.resources.abc import Traversable
from pathlib import Path

from enclave.core.errors import IntegrityError


def check_reviewed(folder: Path, listed: Traversable, *, name: str) -> str:
    """The digest of the list; raises ``IntegrityError`` unless each file on it has the hash that stands there.

    ``listed``: lines of SHA-256, two spaces and a path below ``folder``, as sha256sum(1) writes them.
    """
    text = listed.read_text("ascii")
    for line in text.splitlines():
        wanted, file = line.split("  ", 1)
        try:
            got = hashlib.sha256((folder / file).read_bytes()).hexdigest()
        except OSError:
            got = ""
        if got != wanted:
            raise IntegrityError(
                f"{name}: wanted {file} as it was reviewed, got other bytes; install the locked package again",
                code="model_changed",
            )
    return hashlib.sha256(text.encode("ascii")).hexdigest()
