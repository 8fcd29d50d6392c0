"""Which leases are open, on disk: a broker that was killed goes on watching them when it is back.

Ids and names only. Without this a kernel that mapped data before would be out of revocation's reach.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from enclave.broker.session import KernelIdentity, Lease, Session
from enclave.core.canonical import canonical_bytes, parse_json
from enclave.core.errors import IntegrityError, InvalidError
from enclave.core.ids import VersionName


def save_sessions(path: Path, sessions: Iterable[Session]) -> None:
    """Replaces the file; raises ``OSError`` when the disk does not take it."""
    kernels = [
        {
            "identity": asdict(session.identity),
            "leases": [{"id": lease.id, "name": str(lease.name)} for lease in session.leases()],
        }
        for session in sessions
    ]
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(canonical_bytes({"format": 1, "kernels": kernels}))
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)


def load_sessions(path: Path) -> list[Session]:
    """What was saved; nothing when there is no file. Raises ``IntegrityError`` for a damaged one."""
    try:
        value = parse_json(path.read_bytes())
        return [_session(item) for item in value["kernels"]]
    except FileNotFoundError:
        return []
    except (InvalidError, KeyError, TypeError):
        raise IntegrityError(
            f"broker state {path.name}: wanted the leases that were open, got something else; "
            "end all kernels, then remove the file"
        ) from None


def _session(item: Any) -> Session:
    session = Session(KernelIdentity(**item["identity"]))
    for lease in item["leases"]:
        session.add(Lease(lease["id"], VersionName.parse(lease["name"])))
    return session
