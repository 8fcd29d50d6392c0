"""``enclave.save`` and ``enclave.load``: what a kernel computed, kept sealed for its project.

It inherits from every dataset version that the kernel has opened, or got by loading: whoever may not open all of them
now may not load it, it expires with the first of them, and a kernel that loads it holds leases on them, so that a
revocation ends that kernel as well.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from enclave.broker.desk import Desk, Shared
from enclave.broker.intermediates import Intermediates, Record, intermediate_id
from enclave.broker.session import BACKGROUND, Lease, Session
from enclave.broker.settings import BrokerSettings
from enclave.core.clock import format_time, parse_time
from enclave.core.errors import ConflictError, DeniedError, EnclaveError, InvalidError, UnavailableError
from enclave.core.ids import VersionName, check_name
from enclave.wire.messages.broker import LoadedReply, LoadIntermediate, SavedReply, SaveIntermediate
from enclave.wire.messages.facts import LeaseFacts
from enclave.wire.peer import Call, Handler, Reply

KINDS: Final = frozenset({"bytes", "array", "table"})
MAX_HEADER_BYTES: Final = 64 << 10
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class KeepingDesk(Desk):
    """Answers one kernel, intermediates included."""

    def __init__(self, session: Session, shared: Shared, *, kept: Intermediates, settings: BrokerSettings) -> None:
        super().__init__(session, shared)
        self._kept = kept
        self._settings = settings

    def handlers(self) -> dict[type[Any], Handler]:
        """The requests of a lease socket."""
        more: dict[type[Any], Callable[[Any, Call], Any]] = {SaveIntermediate: self.save, LoadIntermediate: self.load}
        return super().handlers() | {cls: self.guarded(act) for cls, act in more.items()}

    def save(self, message: SaveIntermediate, call: Call) -> SavedReply:
        """Seals the descriptor's bytes under the name; a name belongs to whoever saved it first."""
        cell = self._cell("intermediate.save")
        project = self._project("intermediate.save", cell)
        check_name(message.name, what="intermediate")
        size, header = _checked(message, call)
        wanted = intermediate_id(project, message.name)
        lineage = self._session.lineage()
        facts = [self._allowed("intermediate.save", name, cell) for name in lineage]
        at = self._shared.clock.now()
        ends = [format_time(at + timedelta(days=self._settings.intermediate_days)), *map(self._expires, facts)]
        record = Record(
            id=wanted,
            project=project,
            creator=self._who.person,
            kind=message.kind,
            header=header,
            lineage=tuple(map(str, lineage)),
            expires=min(ends, key=parse_time),
            size_bytes=size,
        )
        self._kept.forget_expired(project, at=at)
        self._check_room(record, cell)
        event = self._about(record, cell)
        self._record("intermediate.save", outcome="intent", **event)
        try:
            self._kept.keep(record, call.descriptors[0])
        except OSError:
            self._record("intermediate.save", outcome="failed", reason="no_space", **event)
            raise UnavailableError("intermediate: wanted room on the disk, got none; tell the operator") from None
        self._record("intermediate.save", **event)
        return SavedReply(size_bytes=size, expires=record.expires, lineage=record.lineage)

    def load(self, message: LoadIntermediate, _call: Call) -> Reply:
        """Its bytes as sealed memory, if everything that it comes from may be opened now."""
        cell = self._cell("intermediate.load")
        project = self._project("intermediate.load", cell)
        wanted = intermediate_id(project, message.name)
        try:
            record = self._kept.record(project, wanted)
        except EnclaveError as error:
            raise self._refused("intermediate.load", error, cell=cell, detail={"intermediate": wanted}) from None
        event = self._about(record, cell)
        if parse_time(record.expires) <= self._shared.clock.now():
            words = "intermediate: wanted one within its time, got one that has expired; compute it again"
            raise self._refused("intermediate.load", DeniedError(words, code="intermediate_expired"), **event)
        sources = [VersionName.parse(name) for name in record.lineage]
        found = [(name, self._allowed("intermediate.load", name, cell, record=record)) for name in sources]
        self._record("intermediate.load", outcome="intent", **event)
        try:
            memory = self._kept.to_memory(project, wanted)
        except EnclaveError as error:
            self._record("intermediate.load", outcome="failed", reason=error.code, **event)
            raise
        try:
            self._hold(found)
            self._record("intermediate.load", **event)
        except BaseException:
            os.close(memory)
            raise
        for name in sources:
            self._session.note(cell, name=name, objects=(f"intermediates/{wanted}",))
        header = json.loads(record.header)
        return Reply(LoadedReply(kind=record.kind, header=header, size_bytes=record.size_bytes), [memory])

    # ── steps ───────────────────────────────────────────────────────────────

    def _project(self, kind: str, cell: str) -> str:
        if self._who.project:
            return self._who.project
        words = "intermediate: wanted a kernel that works for a project, got one without; an assessment keeps nothing"
        raise self._refused(kind, DeniedError(words, code="no_project"), cell=cell)

    def _allowed(self, kind: str, name: VersionName, cell: str, *, record: Record | None = None) -> LeaseFacts:
        found = self._facts(kind, cell, name.dataset, name.version)
        decision = self._decision(found)
        if decision.allowed:
            return found
        self._shared.recheck()
        detail = {"intermediate": record.id} if record else {}
        error = DeniedError(decision.message, code=decision.reason)
        raise self._refused(kind, error, cell=cell, dataset=name.dataset, version=name.version, detail=detail)

    def _check_room(self, record: Record, cell: str) -> None:
        there = {one.id: one for one in self._kept.records(record.project)}
        same = there.pop(record.id, None)
        most, limit_mb = self._settings.intermediates, self._settings.intermediates_mb
        if same is not None and same.creator != record.creator:
            code = "intermediate_of_another"
            words = "intermediate: wanted a name that is free or one's own, got one of another member; choose another"
        elif len(there) >= most or record.size_bytes + sum(one.size_bytes for one in there.values()) > limit_mb << 20:
            code = "intermediate_quota"
            words = (
                f"intermediates: wanted at most {most} and {limit_mb} MB of them in this project, got more; "
                "save less, or under a name whose value is no longer needed"
            )
        else:
            return
        raise self._refused("intermediate.save", ConflictError(words, code=code), **self._about(record, cell))

    def _hold(self, found: list[tuple[VersionName, LeaseFacts]]) -> None:
        for name, facts in found:
            lease = self._session.lease_of(name) or Lease(secrets.token_hex(16), name)
            lease.facts, lease.checked = facts, time.monotonic()
            self._session.add(lease)
        self._shared.changed()

    def _about(self, record: Record, cell: str) -> dict[str, Any]:
        detail = {
            "intermediate": record.id,
            "kind": record.kind,
            "size_bytes": record.size_bytes,
            "lineage": list(record.lineage),
            "expires": record.expires,
            "background": cell == BACKGROUND,
        }
        return {"cell": cell, "detail": detail}


def _checked(message: SaveIntermediate, call: Call) -> tuple[int, str]:
    """Size and header of what came; raises ``InvalidError``."""
    header = json.dumps(message.header, separators=(",", ":"))
    if message.kind not in KINDS or len(header) > MAX_HEADER_BYTES:
        raise InvalidError(f"intermediate: wanted bytes, an array or a table with at most {MAX_HEADER_BYTES} of header")
    if len(call.descriptors) != 1:
        raise InvalidError("intermediate: wanted one descriptor beside the request, got another number")
    try:
        seals = fcntl.fcntl(call.descriptors[0], fcntl.F_GET_SEALS)
    except OSError:
        seals = 0
    if seals & _SEALS != _SEALS:
        raise InvalidError("intermediate: wanted sealed memory, got something that can still change")
    return os.fstat(call.descriptors[0]).st_size, header
