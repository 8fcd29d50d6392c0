"""What a kernel may ask on its ``lease`` socket, and how each answer comes about.

The order is always the same: facts, decision, event with receipt, then bytes. Who asks is the socket; the uid of the
other end is compared with the one the launcher named.
"""

from __future__ import annotations

import functools
import os
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from enclave.audit.client import AuditClient
from enclave.audit.ledger_clock import LedgerClock
from enclave.broker.cache import ObjectKey, WarmCache
from enclave.broker.facts import RegistryFacts, clock_stepped_back, may_open
from enclave.broker.session import BACKGROUND, Lease, Session, lease_ended
from enclave.core.canonical import canonical_bytes
from enclave.core.errors import (
    DeniedError,
    EnclaveError,
    IntegrityError,
    InvalidError,
    NotFoundError,
    UnavailableError,
)
from enclave.core.ids import VersionName, check_name
from enclave.sealed.manifest import ObjectEntry
from enclave.sealed.reader import OpenVersion, Unwrapper, open_version
from enclave.sealed.store import SealedStore
from enclave.wire.messages.broker import (
    DatasetInfo,
    DatasetList,
    LeaseReply,
    ListDatasets,
    ListObjects,
    ObjectInfo,
    ObjectPage,
    ObjectsReply,
    OpenDataset,
    ReadObjects,
)
from enclave.wire.messages.facts import LeaseFacts
from enclave.wire.messages.schema import to_json
from enclave.wire.peer import Call, Handler, Reply

MAX_OBJECTS = 100
LEASABLE = frozenset({"table", "series", "document"})  # ``review`` objects are for reviewers only
PAGE_BYTES = 512 << 10


class Versions:
    """Opened versions, shared while any lease holds them; then their keys are gone from memory."""

    def __init__(self, store: SealedStore, unwrapper: Unwrapper) -> None:
        self._store = store
        self._unwrapper = unwrapper
        self._open: WeakValueDictionary[VersionName, OpenVersion] = WeakValueDictionary()
        self._guard = threading.Lock()

    def has(self, dataset: str) -> bool:
        """Whether any version of it was ever sealed."""
        return (self._store.root / check_name(dataset, what="dataset")).is_dir()

    def open(self, name: VersionName, *, content_root: str) -> OpenVersion:
        """The version, whose root must be the one that was certified; raises ``IntegrityError`` otherwise."""
        with self._guard:
            version = self._open.get(name)
            if version is None:
                version = self._open[name] = open_version(self._store, name, unwrapper=self._unwrapper)
        if version.content_root != content_root:
            raise IntegrityError(
                f"dataset version {name}: wanted the content that was certified, got another one", code="root_mismatch"
            )
        return version


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What all desks of one broker work with.

    ``recheck`` makes the watch look at once, ``changed`` saves the leases, ``fresh_s`` is how old facts may be.
    """

    audit: AuditClient
    facts: RegistryFacts
    versions: Versions
    cache: WarmCache
    clock: LedgerClock
    fresh_s: float
    recheck: Callable[[], None]
    changed: Callable[[], None]
    is_lease_of_other: Callable[[str], bool]


class Desk:
    """Answers one kernel."""

    def __init__(self, session: Session, shared: Shared) -> None:
        self._session = session
        self._who = session.identity
        self._shared = shared

    def handlers(self) -> dict[type[Any], Handler]:
        """The requests of a lease socket."""
        table: dict[type[Any], Callable[[Any], Any]] = {
            ListDatasets: self.list_datasets,
            OpenDataset: self.open_dataset,
            ListObjects: self.list_objects,
            ReadObjects: self.read_objects,
        }
        return {cls: self.guarded(functools.partial(_without_call, method)) for cls, method in table.items()}

    def guarded(self, act: Callable[[Any, Call], Any]) -> Handler:
        """``act`` for the kernel of this socket, as long as its session lasts."""
        return functools.partial(self._for_the_kernel, act)

    def list_datasets(self, _message: ListDatasets) -> DatasetList:
        """What this kernel may open now."""
        cell = self._cell("dataset.list")
        who = self._who
        versions = self._asking("dataset.list", cell, self._shared.facts.versions, role=who.role, project=who.project)
        infos = []
        for dataset, version, title in versions:
            found = self._facts("dataset.list", cell, dataset, version)
            if self._decision(found).allowed:
                infos.append(DatasetInfo(name=dataset, version=version, title=title, expires=self._expires(found)))
        self._record("dataset.list", cell=cell, detail={"count": len(infos)})
        return DatasetList(datasets=tuple(infos))

    def open_dataset(self, message: OpenDataset) -> LeaseReply:
        """A new lease, if policy says so."""
        cell = self._cell("dataset.open")
        check_name(message.dataset, what="dataset")
        found = self._facts("dataset.open", cell, message.dataset, message.version)
        decision = self._decision(found)
        if not decision.allowed:
            raise self._not_opened(message, DeniedError(decision.message, code=decision.reason), cell)
        name = VersionName(found.dataset, found.version)
        lease = self._session.lease_of(name) or Lease(secrets.token_hex(16), name)
        lease.facts, lease.checked = found, time.monotonic()
        event: dict[str, Any] = {"cell": cell, "dataset": name.dataset, "version": name.version}
        event["detail"] = {
            "lease": lease.id,
            "certificate": found.certificate_id,
            "content_root": found.content_root,
            "expires": self._expires(found),
            "background": cell == BACKGROUND,
        }
        self._record("dataset.open", outcome="intent", **event)
        try:
            lease.version = self._shared.versions.open(name, content_root=found.content_root)
            self._session.add(lease)
        except EnclaveError as error:
            self._record("dataset.open", outcome="failed", reason=error.code, **event)
            raise
        self._shared.changed()
        self._record("dataset.open", **event)
        objects, more = _page(lease.version.manifest.entries, after="")
        return LeaseReply(
            lease=lease.id,
            dataset=name.dataset,
            version=name.version,
            expires=self._expires(found),
            objects=objects,
            more=more,
        )

    def _not_opened(self, message: OpenDataset, error: EnclaveError, cell: str) -> EnclaveError:
        # A name that nobody gave a dataset may be anything, a value from the data too: it is not written down.
        known = self._shared.versions.has(message.dataset)
        named = {"dataset": message.dataset, "version": message.version} if known else {}
        return self._refused("dataset.open", error, cell=cell, **named)

    def list_objects(self, message: ListObjects) -> ObjectPage:
        """What follows in the list of an open lease."""
        lease = self._lease("dataset.open", message.lease, self._cell("dataset.open"))
        objects, more = _page(self._version(lease).manifest.entries, after=message.after)
        return ObjectPage(objects=objects, more=more)

    def read_objects(self, message: ReadObjects) -> Reply:
        """Sealed memory, one descriptor per name."""
        cell = self._cell("dataset.read")
        names = message.names
        if not 1 <= len(names) <= MAX_OBJECTS:
            raise InvalidError(f"objects: wanted 1 to {MAX_OBJECTS} names in one request, got {len(names)}")
        lease = self._lease("dataset.read", message.lease, cell)
        version = self._version(lease)
        entries = [self._leasable(lease, version, name, cell) for name in names]
        keys = [ObjectKey(version.content_root, name) for name in names]
        warm = all(self._shared.cache.warm(key) for key in keys)
        event: dict[str, Any] = {"cell": cell, "dataset": lease.name.dataset, "version": lease.name.version}
        event["objects"] = names
        event["detail"] = {
            "lease": lease.id,
            "count": len(names),
            "size_bytes": sum(entry.size_bytes for entry in entries),
            "warm": warm,
            "background": cell == BACKGROUND,
        }
        if not warm:
            self._record("dataset.read", outcome="intent", **event)
        descriptors = self._load(version, keys, event)
        try:
            self._record("dataset.read", **event)
            if self._session.ended:
                raise lease_ended()
        except BaseException:
            _close_all(descriptors)
            raise
        self._session.note(cell, name=lease.name, objects=names)
        sizes = tuple(entry.size_bytes for entry in entries)
        return Reply(ObjectsReply(names=names, sizes=sizes), descriptors)

    # ── steps ───────────────────────────────────────────────────────────────

    def _for_the_kernel(self, act: Callable[[Any, Call], Any], message: Any, call: Call) -> Any:
        if call.peer.uid != self._who.uid:
            detail = {"act": "use", "uid": call.peer.uid, "expected_uid": self._who.uid}
            self._record("broker.listener", outcome="refused", reason="other_uid", detail=detail)
            raise DeniedError(
                "lease socket: wanted the kernel it was opened for, got another process", code="other_uid"
            )
        if self._session.ended:
            raise lease_ended()
        return act(message, call)

    def _cell(self, kind: str) -> str:
        """What runs in the kernel now; without the tap's word for it the act is refused."""
        try:
            return self._session.cell
        except UnavailableError as error:
            raise self._refused(kind, error) from None

    def _load(self, version: OpenVersion, keys: list[ObjectKey], event: dict[str, Any]) -> list[int]:
        descriptors: list[int] = []
        try:
            for key in keys:
                load = functools.partial(version.to_memory, key.name)
                descriptors.append(self._shared.cache.handle(key, load=load))
        except EnclaveError as error:
            _close_all(descriptors)
            self._record("dataset.read", outcome="failed", reason=error.code, **event)
            raise
        except OSError:
            _close_all(descriptors)
            self._record("dataset.read", outcome="failed", reason="no_memory", **event)
            raise UnavailableError(
                "objects: wanted memory to decrypt them, got none; ask for fewer, or close other kernels",
                code="no_memory",
            ) from None
        return descriptors

    def _lease(self, kind: str, lease_id: str, cell: str) -> Lease:
        """The lease, if it is this kernel's and still allowed now."""
        lease = self._session.lease(lease_id)
        if lease is None:
            code = "lease_of_other_kernel" if self._shared.is_lease_of_other(lease_id) else "lease_unknown"
            error = DeniedError("lease: wanted an open one of this kernel, got another; open the dataset", code=code)
            raise self._refused(kind, error, cell=cell)
        event = {"cell": cell, "dataset": lease.name.dataset, "version": lease.name.version}
        if lease.facts is None or time.monotonic() - lease.checked > self._shared.fresh_s:
            lease.facts = self._facts(kind, cell, lease.name.dataset, lease.name.version)
            lease.checked = time.monotonic()
        decision = self._decision(lease.facts)
        if not decision.allowed:
            self._shared.recheck()  # ends the kernel without waiting for the next round
            raise self._refused(
                kind, DeniedError(decision.message, code=decision.reason), detail={"lease": lease.id}, **event
            )
        return lease

    def _version(self, lease: Lease) -> OpenVersion:
        if lease.version is None:  # the broker was started again since the lease was opened
            root = lease.facts.content_root if lease.facts else ""
            lease.version = self._shared.versions.open(lease.name, content_root=root)
        return lease.version

    def _leasable(self, lease: Lease, version: OpenVersion, name: str, cell: str) -> ObjectEntry:
        try:
            entry = version.entry(name)
        except NotFoundError as missing:
            fault = missing  # an except clause would drop its own name
        else:
            if entry.kind in LEASABLE:
                return entry
            fault = NotFoundError(
                "object: wanted a table, a series or a document, got one for reviewers", code="object_not_leasable"
            )
        detail = {"lease": lease.id}
        event = {"dataset": lease.name.dataset, "version": lease.name.version, "detail": detail}
        raise self._refused("dataset.read", fault, cell=cell, **event)

    def _facts(self, kind: str, cell: str, dataset: str, version: int | None) -> LeaseFacts:
        ask = functools.partial(self._shared.facts.lease, dataset=dataset, version=version)
        found: LeaseFacts = self._asking(kind, cell, ask, project=self._who.project)
        return found

    def _asking(self, kind: str, cell: str, ask: Callable[..., Any], **named: Any) -> Any:
        """What the registry says; that it says nothing is a refusal in the ledger too."""
        try:
            return ask(self._who.person, **named)
        except UnavailableError as error:
            raise self._refused(kind, error, cell=cell) from None

    def _decision(self, found: LeaseFacts) -> Any:
        who = self._who
        if self._shared.clock.stepped_back():
            return clock_stepped_back()
        return may_open(found, person=who.person, role=who.role, project=who.project, at=self._shared.clock.now())

    def _expires(self, found: LeaseFacts) -> str:
        if self._who.role == "expert":
            return found.engagement_until
        return min(found.expires, found.grant_until or found.expires)  # both as `format_time` spells them

    def _refused(self, kind: str, error: EnclaveError, **event: Any) -> EnclaveError:
        """Writes the refusal down; the caller raises it."""
        self._record(kind, outcome="refused", reason=error.code, **event)
        return error

    def _record(self, kind: str, **event: Any) -> None:
        record_for(self._shared.audit, self._session, kind, **event)


def _without_call(method: Callable[[Any], Any], message: Any, _call: Call) -> Any:
    return method(message)


def record_for(audit: AuditClient, session: Session, kind: str, **event: Any) -> None:
    """One event of a kernel: actor, role, project and kernel are those of its socket."""
    who = session.identity
    audit.record(
        kind,
        actor=who.person,
        role=who.role,
        project=who.project or None,
        kernel=who.kernel,
        **event,
    )


def _page(entries: tuple[ObjectEntry, ...], *, after: str) -> tuple[tuple[ObjectInfo, ...], bool]:
    """As many objects after that name as go well into one frame, and whether there are more."""
    rest = [entry for entry in entries if entry.name > after and entry.kind in LEASABLE]
    page: list[ObjectInfo] = []
    size = 0
    for entry in rest:
        info = ObjectInfo(name=entry.name, kind=entry.kind, size_bytes=entry.size_bytes, header=entry.header)
        size += len(canonical_bytes(to_json(info)))
        if page and size > PAGE_BYTES:
            break
        page.append(info)
    return tuple(page), len(page) < len(rest)


def _close_all(descriptors: list[int]) -> None:
    for fd in descriptors:
        os.close(fd)
