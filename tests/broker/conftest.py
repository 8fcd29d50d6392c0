"""A real broker with a real ledger; registry and launcher are the far sides of their protocols."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pages import hand_over

from enclave.broker.daemon import BrokerDaemon
from enclave.broker.settings import BrokerSettings
from enclave.core.clock import format_time
from enclave.core.errors import EnclaveError, NotFoundError
from enclave.keys.files import new_x25519
from enclave.keys.uri import file_uri
from enclave.keys.wrap import open_wrapper
from enclave.runtime.log import Log
from enclave.sealed.store import SealedStore
from enclave.sealed.writer import PlainObject, SealedVersion, seal_version
from enclave.wire.client import WireClient
from enclave.wire.messages.broker import CloseListener, OpenDataset, OpenListener, ReadObjects, Reads, TakePage
from enclave.wire.messages.facts import (
    AskEngagements,
    AskLeaseFacts,
    AskProjectDatasets,
    Engagement,
    EngagementList,
    LeaseFacts,
    ProjectDatasets,
)
from enclave.wire.messages.launcher import EndKernel
from enclave.wire.messages.registry import Version
from enclave.wire.messages.schema import Done
from enclave.wire.page import ExecutionPage
from enclave.wire.peer import Call, WireServer

CANARY = "Canary^Carla-19010203"


class RegistryStandIn:
    """Answers facts as ``enclave-registryd`` does; a test changes ``known``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[tuple[str, str, str, int], LeaseFacts] = {}
        self.engagements: list[Engagement] = []
        self.asked = 0
        self.server: WireServer | None = None

    def start(self) -> None:
        handlers = {AskLeaseFacts: self.lease, AskProjectDatasets: self.datasets, AskEngagements: self.engaged}
        self.server = WireServer(self.path, handlers, log=Log("registryd"), allowed_uids=None)
        self.server.start()

    def stop(self) -> None:
        if self.server is not None:
            self.server.close()
            self.server = None

    def change(self, **fields: Any) -> None:
        """Changes these facts of every lease."""
        self.known = {key: replace(value, **fields) for key, value in self.known.items()}

    def lease(self, message: AskLeaseFacts, _call: Call) -> LeaseFacts:
        self.asked += 1
        fitting = [
            (key[3], facts)
            for key, facts in self.known.items()
            if key[:3] == (message.person, message.project, message.dataset) and message.version in (None, key[3])
        ]
        return max(fitting, key=lambda item: item[0])[1] if fitting else missing_facts(message)

    def datasets(self, message: AskProjectDatasets, _call: Call) -> ProjectDatasets:
        versions = [
            Version(dataset=key[2], version=key[3], content_root="", state="released", summary={"title": "Demo CT"})
            for key in self.known
            if key[:2] == (message.person, message.project)
        ]
        return ProjectDatasets(versions=tuple(versions))

    def engaged(self, message: AskEngagements, _call: Call) -> EngagementList:
        return EngagementList(engagements=tuple(item for item in self.engagements if item.expert == message.person))


class LauncherStandIn:
    """Remembers which kernels it was told to end."""

    def __init__(self, path: Path) -> None:
        self.ended: list[tuple[str, str]] = []
        self.heard = threading.Event()
        self.server = WireServer(path, {EndKernel: self.end}, log=Log("launcherd"), allowed_uids=None)
        self.server.start()

    def end(self, message: EndKernel, _call: Call) -> Done:
        self.ended.append((message.kernel, message.reason))
        self.heard.set()
        return Done()


@dataclass
class Kernel:
    """One kernel as the broker sees it."""

    id: str
    directory: Path
    client: WireClient
    page: ExecutionPage  # as its tap has it

    def open(self, dataset: str = "demo-ct", version: int | None = None) -> Any:
        return self.client.call(OpenDataset(dataset=dataset, version=version))

    def read(self, lease: str, *names: str) -> list[bytes]:
        """The bytes of these objects, as the kernel gets them."""
        message = ReadObjects(lease=lease, names=names)
        reply, fds = self.client.call_with_descriptors(message, max_descriptors=100)
        try:
            return [os.pread(fd, size + 1, 0) for fd, size in zip(fds, reply.sizes, strict=True)]
        finally:
            for fd in fds:
                os.close(fd)

    def refused(self, act: Callable[[], Any]) -> EnclaveError:
        """The error that ``act`` meets."""
        with pytest.raises(EnclaveError) as caught:
            act()
        return caught.value


@dataclass
class BrokerStand:
    """The broker under test and everything around it."""

    audit: Any
    registry: RegistryStandIn
    launcher: LauncherStandIn
    store: SealedStore
    settings: BrokerSettings
    clock: Any = None
    daemon: BrokerDaemon | None = None
    kernels: list[Kernel] = field(default_factory=list)

    def start(self) -> None:
        self.daemon = BrokerDaemon(self.audit.home, log=Log("brokerd"), settings=self.settings, clock=self.clock)
        self.daemon.start()
        for kernel in self.kernels:  # as a tap does whose broker is back
            with contextlib.suppress(NotFoundError):
                self.hand_over(kernel)

    def stop(self) -> None:
        if self.daemon is not None:
            self.daemon.close()
            self.daemon = None

    def call(self, message: Any) -> Any:
        """As launcher or tap."""
        client = WireClient(self.audit.home.socket("brokerd"))
        try:
            return client.call(message)
        finally:
            client.close()

    def seal(self, *objects: PlainObject, dataset: str = "demo-ct") -> SealedVersion:
        """Seals a version and releases it to project demo, for rosa."""
        wrapper = open_wrapper(file_uri(self.audit.home.key_file("kek").with_suffix(".pub")))
        at = datetime.now(UTC)
        done = seal_version(self.store, dataset=dataset, objects=objects or demo_objects(), wrapper=wrapper, at=at)
        self.registry.known["rosa", "demo", dataset, done.version] = good_facts(done)
        return done

    def kernel(
        self, *, person: str = "rosa", role: str = "researcher", project: str = "demo", uid: int | None = None
    ) -> Kernel:
        """A kernel whose lease socket the launcher has opened."""
        kernel = secrets.token_hex(16)
        directory = self.audit.home.run_dir / "k" / kernel[:8]
        directory.mkdir(parents=True)
        listener = self.call(
            OpenListener(
                kernel=kernel,
                person=person,
                role=role,
                project=project,
                directory=str(directory),
                uid=os.getuid() if uid is None else uid,
            )
        )
        found = Kernel(kernel, directory, WireClient(Path(listener.socket)), ExecutionPage(kernel))
        self.kernels.append(found)
        self.hand_over(found)
        return found

    def hand_over(self, kernel: Kernel) -> tuple[Any, Any]:
        """As the kernel's tap does; the leases in force, and the page that says when they change."""
        return hand_over(self.audit.home.socket("brokerd"), TakePage(kernel=kernel.id), kernel.page)

    def cell(self, kernel: Kernel, cell: str | None) -> None:
        kernel.page.show(cell)

    def reads(self, kernel: Kernel, cell: str) -> Any:
        return self.call(Reads(kernel=kernel.id, cell=cell))

    def close(self, kernel: Kernel) -> None:
        self.call(CloseListener(kernel=kernel.id))

    def events(self, **match: Any) -> list[dict[str, Any]]:
        return self.audit.events(**match)

    def wait_for(self, condition: Callable[[], Any], *, within_s: float = 30.0) -> Any:
        """Waits until ``condition`` says something; fails after ``within_s``."""
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            found = condition()
            if found:
                return found
            time.sleep(0.02)
        raise AssertionError(f"did not come true within {within_s} s")


def missing_facts(message: AskLeaseFacts) -> LeaseFacts:
    return LeaseFacts(
        project_state="open",
        member_role="researcher" if message.person == "rosa" and message.project == "demo" else "",
        dataset=message.dataset,
        version=message.version or 0,
        version_state="missing",
        content_root="",
        released_to_project=False,
        certificate_id="",
        certificate_valid=False,
        certificate_reason="missing",
        certificate_root="",
        not_before="",
        expires="",
    )


def good_facts(done: SealedVersion) -> LeaseFacts:
    now = datetime.now(UTC)
    return LeaseFacts(
        project_state="open",
        member_role="researcher",
        dataset=done.dataset,
        version=done.version,
        version_state="released",
        content_root=done.content_root,
        released_to_project=True,
        certificate_id="c" * 32,
        certificate_valid=True,
        certificate_reason="ok",
        certificate_root=done.content_root,
        not_before=format_time(now - timedelta(days=1)),
        expires=format_time(now + timedelta(days=100)),
        certificate_expert="edgar",
        version_steward="stella",
        grant_id="a" * 32,
        grant_state="active",
    )


def demo_objects() -> tuple[PlainObject, ...]:
    sink = pa.BufferOutputStream()
    table = pa.table({"patient": ["p1", "p2"], "age_band": ["40-49", "50-59"], "note": [CANARY, ""]})
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    volume = bytes(range(256)) * 24
    header = {"dtype": "int16", "shape": [3, 32, 32], "modality": "CT", "body_part": "HEAD", "attributes": {}}
    return (
        PlainObject(name="tables/patients", kind="table", header={"rows": 2}, chunks=sink.getvalue().to_pybytes()),
        PlainObject(name="series/1.2.3", kind="series", header=header, chunks=volume),
        PlainObject(name="review/qc.png", kind="review", header={}, chunks=b"picture"),
    )


@pytest.fixture
def make_broker(auditd: Any) -> Iterator[Callable[..., BrokerStand]]:
    """Makes a running broker with these settings."""
    made: list[BrokerStand] = []

    def make(**settings: Any) -> BrokerStand:
        home = auditd.home
        new_x25519(home.key_file("kek"))
        registry = RegistryStandIn(home.socket("registryd"))
        registry.start()
        launcher = LauncherStandIn(home.socket("launcherd"))
        store = SealedStore(home.state("sealed"))
        stand = BrokerStand(auditd, registry, launcher, store, BrokerSettings(**settings))
        stand.start()
        made.append(stand)
        return stand

    yield make
    for stand in made:
        for kernel in stand.kernels:
            kernel.client.close()
        stand.stop()
        stand.registry.stop()
        stand.launcher.server.close()
        shutil.rmtree(stand.audit.home.run_dir / "k", ignore_errors=True)


@pytest.fixture
def broker(make_broker: Callable[..., BrokerStand]) -> BrokerStand:
    """A running broker that asks the facts often, and one released version demo-ct@1."""
    stand = make_broker(recheck_s=0.2)
    stand.seal()
    return stand
