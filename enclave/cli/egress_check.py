"""The machine check of files on this machine, without an enclave: each file in a process of its own."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from enclave.core.canonical import canonical_bytes, parse_json
from enclave.core.errors import EnclaveError, IntegrityError, NotFoundError
from enclave.disclosure.findings import Judged, Report, failed_check, judge
from enclave.wire.messages.schema import from_json

TIMEOUT_S: Final = 60.0
_PARSER: Final = ("-I", "-m", "enclave.disclosure.parse")


def check_file(path: Path) -> Judged:
    """What the rules say about one file. A parser that crashes or hangs is a finding, never an error.

    Raises ``NotFoundError`` when there is no such file to read.
    """
    if not path.is_file():
        raise NotFoundError(f"egress check: wanted a file, got none at {path}")
    try:
        done = subprocess.run(
            [sys.executable, *_PARSER, str(path.absolute())],
            input=canonical_bytes({"act": "check", "names": [path.name]}),
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        return judge(_report(done.returncode, done.stdout))
    except (EnclaveError, subprocess.TimeoutExpired):
        return failed_check(sha256=_digest(path), size_bytes=path.stat().st_size)


def _report(exit_code: int, output: bytes) -> Report:
    result: Any = parse_json(output) if exit_code == 0 else None
    files = result.get("files") if isinstance(result, dict) else None
    if not isinstance(files, list) or len(files) != 1:
        raise IntegrityError("check: wanted a report, got none")
    return from_json(Report, files[0])


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
