"""The folders below /tmp that homes with long paths keep their sockets in, and how they go with the homes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from enclave.runtime.home import Home


def remove_run_folders(base: Path) -> None:
    """Removes the run folder of every home at or below ``base``, whoever's uid is in its name."""
    by_digest: dict[str, list[Path]] = {}
    for found in Path("/tmp").glob("enclave-*-*"):
        by_digest.setdefault(found.name.rpartition("-")[2], []).append(found)
    if not by_digest:
        return
    for folder, inner, _ in os.walk(base):
        home = Home(Path(folder))
        if home.run_dir.parent == Path("/tmp"):
            for found in by_digest.get(home.run_dir.name.rpartition("-")[2], ()):
                inner.clear()  # no home is inside of a home
                shutil.rmtree(found, ignore_errors=True)
