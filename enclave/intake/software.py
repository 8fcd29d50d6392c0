"""Which software made a candidate: one hash over the code that touched the data. A change of it is a trigger."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

import enclave
from enclave.core.canonical import digest_hex
from enclave.deid.provenance import tool_versions

PACKAGES: Final = ("deid", "detectors", "intake", "risk")
_SUFFIXES: Final = (".py", ".toml", ".json", ".csv", ".txt")


@cache
def software_sha256() -> str:
    """SHA-256 over versions of libraries and over path and content of each file of the packages that de-identify
    and measure; recipes count by their own hash."""
    root = Path(enclave.__file__).parent
    files = sorted(
        path
        for name in PACKAGES
        for path in (root / name).rglob("*")
        if path.suffix in _SUFFIXES and "recipes" not in path.relative_to(root).parts
    )
    hashes = {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return digest_hex({"tools": tool_versions(), "files": hashes})
