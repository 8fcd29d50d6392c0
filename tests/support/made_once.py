"""What takes long to make and is only looked at or copied: made once in a run, whichever worker needs it first."""

from __future__ import annotations

import fcntl
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Any]) -> tuple[Path, Any]:
    """The folder that ``make`` filled, and what it returned; others wait while one makes it.

    Nobody may change what is in the folder. What ``make`` returns is pickled: each worker has its own.
    """
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    target = shared / f"once-{name}"
    with (shared / f"once-{name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (target / "returned").exists():
            shutil.rmtree(target, ignore_errors=True)
            (target / "folder").mkdir(parents=True)
            returned = pickle.dumps(make(target / "folder"))
            (target / "part").write_bytes(returned)
            (target / "part").rename(target / "returned")
    return target / "folder", pickle.loads((target / "returned").read_bytes())
