"""Results on their way out: files are copied into sealed memory and handed to the airlock, nowhere else."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from enclave_kernel.connection import Connection, run_dir
from enclave_kernel.errors import EnclaveError
from enclave_kernel.listing import EgressRequest, Listing

MAX_FILES = 100
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_submit = Connection("submit")


def output_budget() -> dict[str, dict[str, int]]:
    """How many bytes, images and rows one cell may show, and how many are left this hour and this day."""
    try:
        found: dict[str, dict[str, int]] = json.loads((run_dir() / "output-budget.json").read_text("utf-8"))
    except (OSError, ValueError):
        raise EnclaveError("how much output is left is not known; try again", family="unavailable") from None
    return found


def submit(
    paths: str | Path | Iterable[str | Path],
    *,
    title: str,
    purpose: str,
    description: str,
    replaces: str | EgressRequest | None = None,
) -> EgressRequest:
    """Asks to release files: machine checks first, then two output checkers who are not you.

    ``paths``: one file or several, such as ``"figure.png"``. ``title`` names the request, ``purpose`` says what the
    results are for, ``description`` what they show and how they were made. The files are frozen as they are now.
    ``replaces``: a request of yours that was returned; it gets these files and is reviewed again.
    """
    files = _check_files([paths] if isinstance(paths, str | Path) else list(paths))
    body: dict[str, Any] = {"title": title, "purpose": purpose, "description": description, "names": []}
    for word in ("title", "purpose", "description"):
        if not body[word].strip():
            raise EnclaveError(f"the output checkers need a {word}; it is empty")
    body["names"] = [path.name for path in files]
    if replaces is not None:
        body["replaces"] = replaces.id if isinstance(replaces, EgressRequest) else replaces
    descriptors: list[int] = []
    try:
        descriptors.extend(_freeze(path) for path in files)
        reply, _ = _submit.ask("egress.submit", body, descriptors=descriptors, once=True)
    finally:
        for fd in descriptors:
            os.close(fd)
    return _request(reply)


def egress_status() -> Listing[EgressRequest]:
    """Where your requests in this project stand."""
    reply, _ = _submit.ask("egress.status", {})
    return Listing([_request(item) for item in reply["requests"]], title="your egress requests")


def _check_files(paths: list[str | Path]) -> list[Path]:
    files = [Path(path).expanduser() for path in paths]
    if not 1 <= len(files) <= MAX_FILES:
        raise EnclaveError(f"a request takes 1 to {MAX_FILES} files, these are {len(files)}")
    for path in files:
        if not path.is_file():
            raise EnclaveError(
                f"there is no file {str(path)!r} here; save it first, then submit it", family="not_found"
            )
    names = [path.name for path in files]
    if len(set(names)) != len(names):
        raise EnclaveError("two of the files have the same name; rename one of them")
    return files


def _freeze(path: Path) -> int:
    fd = os.memfd_create("egress", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with path.open("rb") as source, os.fdopen(fd, "wb", closefd=False) as target:
            shutil.copyfileobj(source, target, 1 << 20)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    except OSError:
        os.close(fd)
        raise EnclaveError("a file could not be copied for the request; free some memory and try again") from None
    return fd


def _request(item: dict[str, Any]) -> EgressRequest:
    return EgressRequest(
        id=item["id"],
        title=item["title"],
        state=item["state"],
        verdict=item["verdict"],
        files=tuple(item["files"]),
        findings=tuple(item.get("findings") or ()),
        message=item.get("message") or "",
    )
