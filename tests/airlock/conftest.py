"""A running airlock with a real ledger, real sockets and the real parser; people and projects are given."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import io
import os
import secrets
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pages import hand_over
from PIL import Image, ImageDraw

from enclave.airlock.daemon import AirlockDaemon
from enclave.airlock.settings import AirlockSettings
from enclave.core.canonical import canonical_bytes, parse_json
from enclave.core.errors import DeniedError, NotFoundError
from enclave.keys.files import new_ed25519, new_symmetric
from enclave.policy.model import Actor
from enclave.runtime.home import Home
from enclave.runtime.log import Log
from enclave.wire.client import WireClient
from enclave.wire.messages import airlock as m
from enclave.wire.messages.facts import AskProjectStanding, ProjectStanding
from enclave.wire.messages.launcher import CheckReply, RunCheck
from enclave.wire.page import ExecutionPage
from enclave.wire.peer import WireServer

PEOPLE = {
    "rosa": {"researcher"},
    "rico": {"researcher"},
    "olga": {"output_checker"},
    "omar": {"output_checker"},
    "oona": {"output_checker", "researcher"},  # also a member of the project
    "hana": {"honest_broker"},
    "ada": {"auditor"},
    "otto": {"operator"},
}
MEMBERS = {"demo": {"rosa": "researcher", "oona": "researcher"}, "other": {"rico": "researcher"}}


def picture(color: str = "steelblue") -> bytes:
    """A small chart-like PNG."""
    image = Image.new("RGB", (320, 200), "white")
    pen = ImageDraw.Draw(image)
    for i in range(6):
        pen.rectangle((30 + i * 45, 180 - i * 25, 60 + i * 45, 180), fill=color)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def memory(content: bytes, *, seal: bool = True) -> int:
    """A memfd as the kernel package makes them."""
    fd = os.memfd_create("egress", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, content)
    if seal:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    return fd


@dataclass
class Neighbours:
    """The far sides: a registry that knows projects, a launcher that runs the real parser without its sandbox."""

    home: Home
    members: dict[str, dict[str, str]] = field(default_factory=lambda: {k: dict(v) for k, v in MEMBERS.items()})
    broken_check: str = ""
    states: dict[str, str] = field(default_factory=dict)
    agreements: dict[str, str] = field(default_factory=dict)
    before_release: Callable[[], None] | None = None
    servers: dict[str, WireServer] = field(default_factory=dict)

    def start(self, *names: str) -> None:
        for name in names or ("registryd", "launcherd"):
            handlers = self.registry_handlers() if name == "registryd" else {RunCheck: self.check}
            server = WireServer(
                self.home.socket(name),
                handlers,
                log=Log(name),
                allowed_uids=frozenset({os.getuid()}),
                max_descriptors=20,
            )
            server.start()
            self.servers[name] = server

    def stop(self, *names: str) -> None:
        for name in names or tuple(self.servers):
            self.servers.pop(name).close()

    def registry_handlers(self) -> dict[type[Any], Any]:
        return {AskProjectStanding: self.standing}

    def standing(self, message: AskProjectStanding, call: Any) -> ProjectStanding:
        if self.before_release is not None and message.person == "service:airlock":
            self.before_release()
        people = self.members.get(message.project)
        state = "missing" if people is None else self.states.get(message.project, "open")
        return ProjectStanding(
            name=message.project,
            state=state,
            agreement=self.agreements.get(message.project, "none"),
            member_role=(people or {}).get(message.person, ""),
        )

    def check(self, message: RunCheck, call: Any) -> CheckReply:
        assert message.module == "enclave.disclosure.parse"
        if self.broken_check == "crash":
            return CheckReply(exit_code=-11)
        if self.broken_check == "lie":
            return CheckReply(exit_code=0, result={"files": [{"sha256": "0" * 64, "size_bytes": 1, "type": "png"}]})
        done = subprocess.run(
            [sys.executable, "-P", "-m", message.module, *(f"/proc/self/fd/{fd}" for fd in call.descriptors)],
            input=canonical_bytes(message.request),
            capture_output=True,
            pass_fds=call.descriptors,
            timeout=60,
            check=False,
        )
        while call.descriptors:
            os.close(call.descriptors.pop())
        return CheckReply(exit_code=done.returncode, result=parse_json(done.stdout) if done.stdout else None)


@dataclass
class AirlockStand:
    """``token(name)`` is a person's token; ``submit`` hands files in from a kernel of ``person``."""

    auditd: Any
    neighbours: Neighbours
    daemon: AirlockDaemon | None = None
    settings: AirlockSettings = field(default_factory=lambda: AirlockSettings(retry_s=0.1, submit_wait_s=20))
    clients: list[WireClient] = field(default_factory=list)
    kernels: dict[tuple[str, str], str] = field(default_factory=dict)
    disabled: set[str] = field(default_factory=set)  # people whom the Hub does not know any more
    pages: dict[str, ExecutionPage] = field(default_factory=dict)

    @property
    def home(self) -> Home:
        return self.auditd.home

    def start(self) -> None:
        self.daemon = AirlockDaemon(
            self.home,
            resolve=self.resolve,
            resolve_anew=self.resolve_anew,
            log=Log("airlockd"),
            settings=self.settings,
            clock=self.auditd.clock,
        )
        self.daemon.start()
        for kernel in self.kernels.values():  # as a tap does whose airlock is back
            with contextlib.suppress(NotFoundError):
                self.hand_over(kernel)

    def stop(self) -> None:
        if self.daemon is not None:
            self.daemon.close()
            self.daemon = None

    def resolve(self, token: str) -> Actor:
        name = token.removeprefix("token-")
        if name not in PEOPLE or name == token:
            raise DeniedError("Hub token: wanted one that the Hub knows, got another", code="token_invalid")
        return Actor(name, frozenset(PEOPLE[name]))

    def resolve_anew(self, token: str) -> Actor:
        actor = self.resolve(token)
        if actor.name in self.disabled:
            raise DeniedError("Hub token: wanted one that the Hub knows, got another", code="token_invalid")
        return actor

    def client(self, path: Path | None = None) -> WireClient:
        client = WireClient(path or self.home.socket("airlockd"), timeout_s=30)
        self.clients.append(client)
        return client

    def ask(self, message: Any) -> Any:
        return self.client().call(message)

    def kernel(self, person: str = "rosa", project: str = "demo") -> str:
        key = (person, project)
        if key not in self.kernels:
            kernel = secrets.token_hex(16)
            folder = self.home.run_dir / "kernels" / kernel[:8]
            folder.mkdir(parents=True)
            self.ask(
                m.OpenSubmitListener(
                    kernel=kernel,
                    person=person,
                    role="researcher",
                    project=project,
                    directory=str(folder),
                    uid=os.getuid(),
                )
            )
            self.kernels[key] = kernel
            self.hand_over(kernel)
        return self.kernels[key]

    def hand_over(self, kernel: str) -> None:
        """As the kernel's tap does."""
        page = self.pages.setdefault(kernel, ExecutionPage(kernel))
        hand_over(self.home.socket("airlockd"), m.TakeSubmitPage(kernel=kernel), page)

    def socket(self, kernel: str) -> Path:
        return self.home.run_dir / "kernels" / kernel[:8] / "submit.sock"

    def submit(
        self,
        files: dict[str, bytes] | None = None,
        *,
        person: str = "rosa",
        project: str = "demo",
        replaces: str | None = None,
        descriptors: list[int] | None = None,
    ) -> m.EgressStatus:
        files = files if files is not None else {"figure.png": picture()}
        fds = descriptors if descriptors is not None else [memory(content) for content in files.values()]
        message = m.Submit(
            title="Figure", purpose="Paper", description="A chart", names=tuple(files), replaces=replaces
        )
        try:
            reply, _ = self.client(self.socket(self.kernel(person, project))).call_with_descriptors(
                message, descriptors=fds
            )
        finally:
            for fd in fds:
                os.close(fd)
        return reply

    def vote(self, person: str, request: str, choice: str = "approve", reason: str = "fine") -> m.EgressRequest:
        return self.ask(m.Vote(token=f"token-{person}", id=request, vote=choice, reason=reason))

    def show(self, person: str, request: str) -> m.EgressRequest:
        return self.ask(m.ShowRequest(token=f"token-{person}", id=request))

    def deliver(self, person: str, request: str) -> tuple[m.DeliveryReply, bytes]:
        reply, fds = self.client().call_with_descriptors(
            m.Deliver(token=f"token-{person}", id=request), max_descriptors=1
        )
        with os.fdopen(fds[0], "rb") as file:
            return reply, file.read()

    @staticmethod
    def wait_for(condition: Callable[[], Any], *, within_s: float = 20.0) -> Any:
        end = time.monotonic() + within_s
        while not (found := condition()) and time.monotonic() < end:
            time.sleep(0.02)
        return found

    def released(self, **kwargs: Any) -> str:
        request = self.submit(**kwargs).id
        self.vote("olga", request)
        assert self.vote("omar", request).state == "released"
        return request


@pytest.fixture
def airlock(auditd: Any) -> Iterator[AirlockStand]:
    new_symmetric(auditd.home.key_file("airlock-box"))
    new_ed25519(auditd.home.key_file("airlock-sign"))
    stand = AirlockStand(auditd, Neighbours(auditd.home))
    stand.neighbours.start()
    stand.start()
    yield stand
    for client in stand.clients:
        client.close()
    stand.stop()
    stand.neighbours.stop()


@pytest.fixture
def make_memory() -> Any:
    return memory


@pytest.fixture
def make_picture() -> Any:
    return picture


@pytest.fixture
def unzip() -> Any:
    def read(package: bytes) -> dict[str, bytes]:
        with zipfile.ZipFile(io.BytesIO(package)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    return read


@pytest.fixture
def b64() -> Any:
    return base64.b64decode
