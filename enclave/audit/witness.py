"""A witness (C2SP tlog-witness): remembers each log's newest checkpoint and cosigns only what continues it.

It runs as another user, best on another machine, so that who can rewrite the ledger cannot rewrite what the witness
has seen. It knows logs by their verifier keys and needs nothing else of them.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from enclave.audit.checkpoint import (
    Sign,
    TreeHead,
    VerifierKey,
    Verify,
    note_body,
    parse_checkpoint,
    signatures_by,
    verify_checkpoint,
)
from enclave.audit.cosignature import AddCheckpoint, cosign, parse_request, with_signatures
from enclave.audit.merkle import EMPTY_ROOT, holds_consistency
from enclave.audit.tiles import write_file
from enclave.core.clock import Clock
from enclave.core.errors import ConflictError, IntegrityError, InvalidError
from enclave.runtime.durable import sync_folder
from enclave.runtime.home import ensure_private_dir

TEXT = "text/plain; charset=utf-8"
SIZE = "text/x.tlog.size"
HISTORY_S = 60  # at most one checkpoint a minute is kept for good, beside the newest
MAX_CONFLICTS = 100


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer: status, body, content type."""

    status: int
    body: str
    content_type: str = TEXT


class Witness:
    """One witness and its store; thread-safe, one process per store."""

    def __init__(
        self, folder: Path, *, key: VerifierKey, sign: Sign, verify: Verify, logs: Iterable[VerifierKey], clock: Clock
    ) -> None:
        """Opens the store; raises ``ConflictError`` when another process has it open."""
        self._folder = ensure_private_dir(folder)
        self._key, self._sign, self._verify, self._clock = key, sign, verify, clock
        self._logs = {log.name: log for log in logs}
        self._guard = threading.Lock()
        self._lock_fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.close()
            raise ConflictError("witness store: wanted it for ourselves, another process has it open") from None

    def close(self) -> None:
        """Gives the store free."""
        os.close(self._lock_fd)

    def add_checkpoint(self, data: bytes) -> Answer:
        """Answers a POST to ``add-checkpoint``: a cosignature (200) only for what continues what was seen."""
        try:
            request = parse_request(data)
            head = parse_checkpoint(request.checkpoint)
        except (InvalidError, IntegrityError) as error:
            return Answer(400, f"{error.message}\n")
        log = self._logs.get(head.origin)
        if log is None:
            return Answer(404, "log: wanted one that this witness knows, got another\n")
        if not self._signed(request.checkpoint, log):
            return Answer(403, "checkpoint: wanted the log's signature, got none or a wrong one\n")
        if request.old_size > head.size:
            return Answer(400, "old size: wanted at most the checkpoint's, got more\n")
        with self._guard:
            return self._consider(request, head, log)

    def checkpoint(self, origin_hash: str) -> Answer:
        """Answers a GET of ``ORIGIN-HASH/checkpoint``: the newest one, with the cosignature."""
        for name in self._logs:
            if _hash(name) == origin_hash:
                try:
                    return Answer(200, (self._folder / origin_hash / "checkpoint").read_text("utf-8"))
                except FileNotFoundError:
                    break
        return Answer(404, "checkpoint: wanted one of a log seen here, got none\n")

    def _signed(self, text: str, log: VerifierKey) -> bool:
        found = signatures_by(text, key=log)
        return bool(found) and all(self._verify(log.public_key, note_body(text).encode(), one) for one in found)

    def _consider(self, request: AddCheckpoint, head: TreeHead, log: VerifierKey) -> Answer:
        held = self._held(log)
        size = held.size if held is not None else 0
        if request.old_size != size:
            return Answer(409, f"{size}\n", SIZE)
        if not self._continues(request, head, held):
            self._keep_evidence(request, log)
            return Answer(422, "checkpoint: wanted one that continues the one seen before, got another\n")
        at = self._clock.now()
        line = cosign(request.checkpoint, key=self._key, sign=self._sign, time_s=int(at.timestamp()))
        self._keep(with_signatures(request.checkpoint, [line]), log, int(at.timestamp()))
        return Answer(200, line)

    def _continues(self, request: AddCheckpoint, head: TreeHead, held: TreeHead | None) -> bool:
        if head.size == 0 and head.root != EMPTY_ROOT:
            return False
        if held is None or held.size == 0:
            return not request.proof
        return holds_consistency(held.size, held.root, head.size, head.root, request.proof)

    def _held(self, log: VerifierKey) -> TreeHead | None:
        """The newest head seen; what lies in the store must be readable, or nothing is cosigned any more."""
        try:
            text = (self._folder / _hash(log.name) / "checkpoint").read_text("utf-8")
        except FileNotFoundError:
            return None
        return verify_checkpoint(text, key=log, verify=self._verify)

    def _keep(self, text: str, log: VerifierKey, time_s: int) -> None:
        folder = ensure_private_dir(self._folder / _hash(log.name))
        history = folder / "history.jsonl"
        write_file(folder / "checkpoint", text.encode(), durable=True)
        sync_folder(self._folder)
        if not history.exists() or time_s - history.stat().st_mtime >= HISTORY_S:
            with history.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"checkpoint": text, "time": time_s}, ensure_ascii=False) + "\n")

    def _keep_evidence(self, request: AddCheckpoint, log: VerifierKey) -> None:
        """A signed checkpoint that does not fit is proof against the log: it is kept."""
        folder = ensure_private_dir(self._folder / _hash(log.name) / "conflicts")
        path = folder / hashlib.sha256(note_body(request.checkpoint).encode()).hexdigest()[:16]
        if not path.exists() and len(list(folder.iterdir())) < MAX_CONFLICTS:
            write_file(path, request.checkpoint.encode(), durable=True)


def _hash(origin: str) -> str:
    """How tlog-witness names a log in a path."""
    return hashlib.sha256(origin.encode()).hexdigest()
