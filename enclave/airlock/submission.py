"""The kernels' side: one submit socket per kernel, and what is handed in through it."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from enclave.airlock.arrival import check_names, check_texts, read_files
from enclave.airlock.holdings import Holdings
from enclave.airlock.store import FileRecord, ListenerRecord, Record, Text
from enclave.airlock.trail import SERVICE, Deed
from enclave.airlock.views import status_view
from enclave.audit.misuse import MisuseRecorder
from enclave.core.clock import format_time
from enclave.core.errors import ConflictError, InvalidError, NotFoundError, UnavailableError
from enclave.core.ids import check_name, check_principal, check_token_id
from enclave.policy.decide import check, decide
from enclave.policy.model import Actor, Facts, ProjectFacts, Resource
from enclave.runtime.log import Log
from enclave.wire.framing import MAX_DESCRIPTORS
from enclave.wire.messages.airlock import (
    AskStatus,
    CloseSubmitListener,
    EgressStatus,
    EgressStatusList,
    OpenSubmitListener,
    Submit,
    SubmitListener,
    TakeSubmitPage,
)
from enclave.wire.messages.schema import Done
from enclave.wire.page import ExecutionView, execution_unknown
from enclave.wire.peer import MAX_OF_ONE_SANDBOX, Call, WireServer

SOCKET_NAME: Final = "submit.sock"


@dataclass(slots=True)
class Binding:
    """Who a kernel's socket stands for; the tap's ``page`` says what runs in it."""

    listener: ListenerRecord
    page: ExecutionView | None = field(default=None, repr=False)
    server: WireServer | None = field(default=None, repr=False)

    def running(self) -> str | None:
        """The execution that runs now, or None; raises ``UnavailableError`` when there is no page or nothing on it."""
        if self.page is None:
            raise execution_unknown()
        return self.page.running()


class Submissions:
    """Opens and serves submit sockets. The socket is the identity: no message names a person."""

    def __init__(self, holdings: Holdings, *, run_dir: Path, settle: Callable[[str], Record], log: Log) -> None:
        self._store = holdings.store
        self._frozen = holdings.frozen
        self._trail = holdings.trail
        self._members = holdings.members
        self._clock = holdings.clock
        self._settings = holdings.settings
        self._run_dir = run_dir
        self._settle = settle
        self._log = log
        self._bindings: dict[str, Binding] = {}
        self._guard = threading.Lock()

    def reopen(self) -> None:
        """After a restart: the sockets of kernels whose folder is still there; the others are forgotten."""
        for record in self._store.listeners():
            if Path(record.directory).is_dir():
                self._listen(record)
            else:
                self._store.drop_listener(record.kernel)

    def close(self) -> None:
        """Ends all sockets; their bindings stay for the next start."""
        with self._guard:
            bindings = list(self._bindings.values())
            self._bindings.clear()
        for binding in bindings:
            if binding.server is not None:
                binding.server.close()

    # ── from launcherd and the taps ─────────────────────────────────────────

    def open_listener(self, message: OpenSubmitListener, call: Call) -> SubmitListener:
        """Opens the socket of one kernel."""
        del call
        record = ListenerRecord(
            kernel=check_token_id(message.kernel, what="kernel"),
            person=check_principal(message.person),
            role=message.role,
            project=check_name(message.project, what="project") if message.project else "",  # an engaged expert's
            directory=str(self._check_directory(message.directory)),
            uid=message.uid,
        )
        with self._guard:
            if record.kernel in self._bindings:
                raise ConflictError("submit socket: wanted a new kernel, got one that has its socket")
        self._trail.done(self._listener_deed(record), act="open")
        self._store.put_listener(record)
        return SubmitListener(socket=str(self._listen(record)))

    def close_listener(self, message: CloseSubmitListener, call: Call) -> Done:
        """Ends the socket of one kernel."""
        del call
        with self._guard:
            binding = self._bindings.pop(message.kernel, None)
        if binding is not None:
            if binding.server is not None:
                binding.server.close()
            self._store.drop_listener(message.kernel)
            self._trail.done(self._listener_deed(binding.listener), act="close")
        return Done()

    def take_page(self, message: TakeSubmitPage, call: Call) -> Done:
        """From now on this page of the tap says what runs in the kernel."""
        with self._guard:
            binding = self._bindings.get(message.kernel)
        if binding is None:
            raise NotFoundError("kernel: wanted one with a submit socket, got another", code="kernel_unknown")
        deed = replace(self._listener_deed(binding.listener), detail={"act": "page"})
        with self._trail.telling(deed):
            binding.page = ExecutionView(call.only_descriptor(), kernel=message.kernel)
        return Done()

    # ── from a kernel ───────────────────────────────────────────────────────

    def submit(self, binding: Binding, message: Submit, call: Call) -> EgressStatus:
        """Freezes the files of one request and waits a little for their check."""
        bound = binding.listener
        deed = Deed(
            kind="egress.submit",
            actor=bound.person,
            role=bound.role,
            project=bound.project,
            kernel=bound.kernel,
            detail={"files": len(message.names)},
        )
        deed = replace(deed, cell=self._running(binding, deed))
        self._clock.asked()  # before the facts: they, too, are judged by what the ledger knows
        standing = self._members.standing(bound.person, bound.project)
        with self._trail.telling(deed):
            self._check_right(bound, standing)
            check_texts(title=message.title, purpose=message.purpose, description=message.description)
            check_names(message.names, limit=self._settings.max_files)
            contents = read_files(call.descriptors, count=len(message.names), settings=self._settings)
        _close(call.descriptors)
        record = self._keep(deed, message, contents)
        return status_view(self._settle(record.id))

    def status(self, binding: Binding, message: AskStatus) -> EgressStatusList:
        """The requests of this kernel's person in its project."""
        del message
        bound = binding.listener
        found = self._store.of_author(bound.person, project=bound.project)
        return EgressStatusList(requests=tuple(status_view(record) for record in found[:50]))

    def _running(self, binding: Binding, deed: Deed) -> str | None:
        """What runs in the kernel now; without the tap's word for it the submission is refused."""
        try:
            return binding.running()
        except UnavailableError as error:
            self._trail.refused(deed, error.code)
            raise

    def _check_right(self, bound: ListenerRecord, standing: ProjectFacts) -> None:
        facts = Facts(project=standing)
        actor = Actor(bound.person, frozenset({bound.role}))
        check(decide(actor, "egress.submit", Resource(project=bound.project), facts, self._clock.latest()))
        self._clock.check()

    def _keep(self, deed: Deed, message: Submit, contents: list[bytes]) -> Record:
        """Freezes, then one transaction with its event: a request is whole and recorded, or is not there."""
        at = format_time(self._clock.now())
        self._trail.intent(deed, size_bytes=sum(map(len, contents)))
        digests = [self._frozen.freeze(content) for content in contents]
        files = tuple(
            FileRecord(name=name, sha256=digest, size_bytes=len(content))
            for name, digest, content in zip(message.names, digests, contents, strict=True)
        )
        text = Text(
            title=message.title.strip(),
            purpose=message.purpose.strip(),
            description=message.description.strip(),
            files=files,
            kernel=deed.kernel or "",
            cell=deed.cell or "",
        )
        with self._store.transaction(), self._trail.telling(deed):
            record = self._fresh_or_replaced(deed, message.replaces, text, at=at)
            self._trail.done(
                deed,
                request=record.id,
                round=record.round,
                size_bytes=sum(f.size_bytes for f in files),
                sha256=list(digests),
                bodies={"title": text.title, "purpose": text.purpose},
            )
        return record

    def _fresh_or_replaced(self, deed: Deed, replaces: str | None, text: Text, *, at: str) -> Record:
        if replaces is None:
            if self._store.count_open(deed.actor) >= self._settings.max_open_requests:
                raise ConflictError(
                    f"egress: wanted at most {self._settings.max_open_requests} open requests, got one more; "
                    "withdraw some",
                    code="egress_too_many_open",
                )
            record = Record(
                id=secrets.token_hex(16),
                project=deed.project or "",
                author=deed.actor,
                state="submitted",
                round=1,
                submitted=at,
                verdict="",
                text=text,
            )
            self._store.add(record, at=at)
            return record
        before = self._store.find(replaces)
        if (before.author, before.project) != (deed.actor, deed.project):
            raise NotFoundError("egress request: wanted an own one of this project, got none of this id")
        again = replace(before, round=before.round + 1, submitted=at, verdict="", text=text)
        return self._store.move(again, "resubmit", at=at)

    # ── sockets ─────────────────────────────────────────────────────────────

    def _check_directory(self, directory: str) -> Path:
        path = Path(directory).resolve()
        if not path.is_dir() or not path.is_relative_to(self._run_dir.resolve()):
            raise InvalidError("submit socket: wanted a kernel's folder below the run folder, got another place")
        return path

    def _listen(self, record: ListenerRecord) -> Path:
        binding = Binding(record)
        path = Path(record.directory) / SOCKET_NAME
        binding.server = WireServer(
            path,
            kernel_handlers(self, binding),
            log=self._log,
            allowed_uids=frozenset({record.uid}),
            mode=0o600 if record.uid == os.getuid() else 0o666,  # SO_PEERCRED decides, not the mode
            max_connections=MAX_OF_ONE_SANDBOX,
            on_misuse=MisuseRecorder(
                self._trail.ledger, self._log, "submit", record.person, record.project or None, record.kernel
            ),
            max_descriptors=MAX_DESCRIPTORS,  # so that too many files get our words, not a closed connection
        )
        binding.server.start()
        with self._guard:
            self._bindings[record.kernel] = binding
        return path

    def _listener_deed(self, record: ListenerRecord) -> Deed:
        return Deed(kind="airlock.listener", actor=SERVICE, project=record.project, kernel=record.kernel)


def kernel_handlers(submissions: Submissions, binding: Binding) -> dict[type[Any], Callable[[Any, Call], Any]]:
    """What one kernel's socket serves."""
    return {
        Submit: lambda message, call: submissions.submit(binding, message, call),
        AskStatus: lambda message, _call: submissions.status(binding, message),
    }


def _close(descriptors: list[int]) -> None:
    """Closes and forgets them, so that nobody closes the same numbers again."""
    while descriptors:
        os.close(descriptors.pop())
