"""The broker's own desk for code folders, with a key pair of its own, and a look at all that lies on the disk."""

from __future__ import annotations

import os
from typing import Any

from enclave.audit.client import AuditClient
from enclave.broker.code_desk import CodeDesk
from enclave.broker.code_store import CodeStore
from enclave.keys.files import new_x25519
from enclave.keys.uri import file_uri
from enclave.keys.wrap import open_wrapper
from enclave.runtime.home import door_uid, ensure_private_dir
from enclave.sealed.reader import open_unwrapper


def code_desk(home: Any) -> CodeDesk:
    """One over the home's ledger."""
    key = home.root / "test-kek.key"
    if not key.exists():
        new_x25519(key)
    store = CodeStore(
        home.state("broker") / "code",
        wrapper=lambda: open_wrapper(file_uri(key.with_suffix(".pub"))),
        unwrapper=open_unwrapper(file_uri(key)),
    )
    ensure_private_dir(home.state("broker"))
    return CodeDesk(store, audit=AuditClient(home.socket("auditd")), door_uid=door_uid(home))


def everything(home: Any) -> bytes:
    """All names and bytes below the home and its run folder."""
    found = []
    for root in (home.root, home.run_dir):
        for path in root.rglob("*"):
            found.append(os.fsencode(path))
            if path.is_file() and not path.is_symlink():
                found.append(path.read_bytes())
    return b"\0".join(found)
