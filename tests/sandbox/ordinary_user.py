"""Runs a command line of pytest as uid 65534 with the runtime bound where that uid can read it.

Started by root in a process of its own; for what it starts, this machine looks as it does to an ordinary user who
keeps a checkout in a readable place. Nothing outside of its mount namespace changes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from enclave.runtime.home import Home
from enclave.sandbox.installation import find_installation
from enclave.sandbox.runtime_mounts import bind, prepare

NOBODY = 65534


def main() -> None:
    root, *arguments = sys.argv[1:]
    home = Home(Path(root))
    home.run_dir.mkdir(parents=True)
    found = find_installation()
    runtime = prepare(found, home)
    assert runtime.neutral is not None
    source = runtime.neutral / "src"
    checkout = found.packages["enclave"].parent
    for name in ("tests", "kernels", ".venv-kernel"):
        (source / name).mkdir(exist_ok=True)
        bind(checkout / name, source / name)
    (source / "pyproject.toml").write_bytes((checkout / "pyproject.toml").read_bytes())
    os.chdir(source)
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    environment = {"PATH": "/usr/bin:/bin", "HOME": root, "LANG": "C.UTF-8", **runtime.environment}
    os.execve(runtime.command[0], [*runtime.command, "-m", "pytest", *arguments], environment)


if __name__ == "__main__":
    main()
