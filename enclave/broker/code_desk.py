"""Opens and keeps people's code folders for the launcher; each time is an event before it has an effect.

The launcher says whose folder it is: it is the one that starts servers and knows them by their socket. Taps and gates,
which may ask the broker other things, are refused here.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any, Final

from enclave.audit.client import AuditClient
from enclave.broker.code_store import CodeStore
from enclave.core.errors import DeniedError, EnclaveError, InvalidError, UnavailableError
from enclave.core.ids import check_principal
from enclave.wire.messages.broker import CodeReply, KeepCode, OpenCode
from enclave.wire.peer import Call, Handler, Reply

MAX_BUNDLE_BYTES: Final = 1 << 30


class CodeDesk:
    """``door_uid`` is the uid of taps and gates where it is not the launcher's own."""

    def __init__(self, store: CodeStore, *, audit: AuditClient, door_uid: int | None) -> None:
        self._store = store
        self._audit = audit
        self._door = door_uid
        self._turns: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def handlers(self) -> dict[type[Any], Handler]:
        """The requests of ``brokerd.sock`` that are answered here."""
        return {OpenCode: self.open, KeepCode: self.keep}

    def open(self, message: OpenCode, call: Call) -> Reply:
        """What is kept for a person, beside the answer; no descriptor when there was never anything."""
        self._check_launcher("code.open", message.person, call)
        with self._turn(message.person):
            if not self._store.known(message.person):
                return Reply(CodeReply(generation=0))
            try:
                fd, facts = self._store.open(message.person)
            except EnclaveError as error:
                self._audit.record("code.open", actor=message.person, outcome="failed", reason=error.code)
                raise
            try:
                self._audit.record("code.open", actor=message.person, detail=facts)
            except BaseException:
                os.close(fd)
                raise
            return Reply(CodeReply(generation=facts["generation"]), [fd])

    def keep(self, message: KeepCode, call: Call) -> CodeReply:
        """Seals the bundle beside the request in place of what was kept; durable when it answers."""
        self._check_launcher("code.keep", message.person, call)
        self._check_bundle(message.person, call)
        with self._turn(message.person):
            try:
                prepared = self._store.prepare(message.person, call.descriptors[0])
                self._audit.record("code.keep", actor=message.person, outcome="intent", detail=prepared.facts)
                self._store.commit(prepared)
            except OSError:
                self._audit.record("code.keep", actor=message.person, outcome="failed", reason="no_space")
                words = "code folder: wanted room on the disk, got none; nothing was kept, tell the operator"
                raise UnavailableError(words, code="no_space") from None
            except EnclaveError as error:
                self._note_not_kept(message.person, error)
                raise
            self._audit.record("code.keep", actor=message.person, detail=prepared.facts)
        return CodeReply(generation=prepared.facts["generation"])

    def _check_bundle(self, person: str, call: Call) -> None:
        """Refuses a request without exactly one descriptor beside it, or with one of more than a bundle may have."""
        if len(call.descriptors) == 1 and os.fstat(call.descriptors[0]).st_size <= MAX_BUNDLE_BYTES:
            return
        self._audit.record("code.keep", actor=person, outcome="refused", reason="not_a_bundle")
        words = "code folder: wanted one bundle of files beside the request, got something else"
        raise InvalidError(words, code="not_a_bundle")

    def _note_not_kept(self, person: str, error: EnclaveError) -> None:
        """A fault that is worth a record: not that none can be written, nor the question for contents it leads to."""
        if error.code in ("ledger_unavailable", "code_unknown_content"):
            return
        outcome, reason = ("refused", "not_a_bundle") if isinstance(error, InvalidError) else ("failed", error.code)
        self._audit.record("code.keep", actor=person, outcome=outcome, reason=reason)

    def _check_launcher(self, kind: str, person: str, call: Call) -> None:
        check_principal(person)
        if self._door is not None and call.peer.uid == self._door:
            self._audit.record(kind, actor=person, outcome="refused", reason="not_the_launcher")
            raise DeniedError("code folder: wanted the launcher, got another process", code="not_the_launcher")

    @contextlib.contextmanager
    def _turn(self, person: str) -> Iterator[None]:
        with self._guard:
            lock = self._turns.setdefault(person, threading.Lock())
        with lock:
            yield
