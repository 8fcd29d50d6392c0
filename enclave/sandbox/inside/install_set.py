"""Installs the wheels of a package set, inside a sandbox without network. Runs without `enclave`.

``install_set.py``: reads ``/build/in/{lock.txt,wheels}``, fills ``/build/out``, says what went wrong on stdout.
Exit codes: 0 done, 3 pip refused, 4 the result cannot run a notebook kernel.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

_OUT = "/build/out"
_WHERE_IT_WILL_BE = "/run/enclave-runtime/env"
_PIP = ("--isolated", "--no-input", "--disable-pip-version-check", "--no-cache-dir", "install", "--quiet",
        "--no-index", "--find-links", "/build/in/wheels", "--only-binary", ":all:", "--require-hashes", "--no-deps",
        "--no-compile", "--ignore-installed", "--no-warn-script-location", "--prefix", _OUT,
        "--requirement", "/build/in/lock.txt")  # fmt: skip
# Without `site` the builder's own packages are out of sight: what is found here was installed here.
_TRY = "import sys; sys.path.insert(0, {place!r}); import ipykernel.kernelapp"


def main() -> None:
    """See above."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", *_PIP], stdout=sys.stdout, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        sys.exit(3)
    shutil.rmtree(f"{_OUT}/bin", ignore_errors=True)  # a kernel has no programs but the interpreter
    place = f"{_OUT}/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    tried = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _TRY.format(place=place)], stderr=subprocess.DEVNULL, check=False
    )
    if tried.returncode:
        sys.stdout.write("ipykernel cannot be imported from the installed packages\n")
        sys.exit(4)
    # Compiled files that name neither a time nor this folder: the same wheels give the same start, and no kernel
    # compiles them again. A few packages carry files of other Pythons, so a file that does not compile is left.
    subprocess.run(
        [sys.executable, "-m", "compileall", "-qq", "-j", "0", "--invalidation-mode", "unchecked-hash", "-s", _OUT,
         "-p", _WHERE_IT_WILL_BE, f"{_OUT}/lib"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, env={**os.environ, "PYTHONHASHSEED": "0"},
    )  # fmt: skip


if __name__ == "__main__":
    main()
