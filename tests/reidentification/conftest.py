"""A running vault with break-glass: people with tokens, a registry that knows who is on which project, a clock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from people import resolve
from set_clock import SetClock

from enclave.keys.files import new_symmetric
from enclave.reidentification.daemon import VaultDaemon
from enclave.runtime.home import Home
from enclave.runtime.log import Log
from enclave.wire.client import WireClient
from enclave.wire.messages import facts as fm
from enclave.wire.messages import registry as r
from enclave.wire.messages import vault as m
from enclave.wire.peer import WireServer

SUBJECTS = tuple(f"P-{number:015d}" for number in range(60))
ORIGINAL = "Zanaryquist"


@dataclass
class RegistryStandIn:
    """Answers what the vault asks of registryd: the projects of a dataset, and who is on them."""

    home: Home
    projects: dict[str, tuple[str, ...]] = field(default_factory=lambda: {"demo-ct": ("demo", "second")})
    members: dict[str, set[str]] = field(default_factory=lambda: {"demo": {"rosa"}, "second": set()})
    server: WireServer | None = None

    def start(self) -> None:
        handlers = {r.ListVersions: self._versions, fm.AskProjectStanding: self._standing}
        self.server = WireServer(self.home.socket("registryd"), handlers, log=Log("registryd"), allowed_uids=None)
        self.server.start()

    def stop(self) -> None:
        if self.server is not None:
            self.server.close()
            self.server = None

    def _versions(self, message: Any, _call: Any) -> r.VersionList:
        found = [(n, one) for n, one in enumerate(self.projects.get(message.dataset, ()), 1)]
        return r.VersionList(
            versions=tuple(
                r.Version(
                    dataset=message.dataset,
                    version=number,
                    content_root="ab" * 32,
                    state="released",
                    summary={},
                    projects=(project,) if project else (),
                )
                for number, project in found
            )
        )

    def _standing(self, message: Any, _call: Any) -> fm.ProjectStanding:
        role = "researcher" if message.person in self.members.get(message.project, ()) else ""
        return fm.ProjectStanding(name=message.project, state="open", agreement="none", member_role=role)


@dataclass
class GlassStand:
    """The vault under test and short ways to ask it."""

    auditd: Any
    clock: SetClock
    registry: RegistryStandIn
    daemon: VaultDaemon | None = None
    client: WireClient | None = None

    def start(self) -> None:
        self.daemon = VaultDaemon(self.auditd.home, log=Log("vaultd"), resolve=resolve, clock=self.clock)
        self.daemon.start()
        self.client = WireClient(self.auditd.home.socket("vaultd"))

    def stop(self) -> None:
        if self.client is not None:
            self.client.close()
        if self.daemon is not None:
            self.daemon.close()
            self.daemon = None

    def ask(self, message: Any) -> Any:
        assert self.client is not None
        return self.client.call(message)

    def request(self, *, by: str = "stella", subjects: tuple[str, ...] = SUBJECTS[:2], **changes: str) -> m.BreakGlass:
        fields = {"dataset": "demo-ct", "reason": "An incidental finding must be told.", "ticket": "IRB-17"}
        found: m.BreakGlass = self.ask(m.RequestBreakGlass(token=f"t-{by}", subjects=subjects, **{**fields, **changes}))
        return found

    def approve(self, request: m.BreakGlass, *, by: str) -> m.BreakGlass:
        found: m.BreakGlass = self.ask(m.ApproveBreakGlass(token=f"t-{by}", id=request.id))
        return found

    def show(self, request: m.BreakGlass, *, by: str = "stella") -> m.Revealed:
        found: m.Revealed = self.ask(m.ShowBreakGlass(token=f"t-{by}", id=request.id))
        return found

    def review(self, request: m.BreakGlass, *, by: str = "ada", finding: str = "Used as was asked.") -> m.BreakGlass:
        found: m.BreakGlass = self.ask(m.ReviewBreakGlass(token=f"t-{by}", id=request.id, finding=finding))
        return found

    def all(self, *, by: str = "ada") -> tuple[m.BreakGlass, ...]:
        found: tuple[m.BreakGlass, ...] = self.ask(m.ListBreakGlass(token=f"t-{by}")).requests
        return found

    def opened(self, *, by: str = "stella", subjects: tuple[str, ...] = SUBJECTS[:2]) -> m.BreakGlass:
        """A request that two people have approved."""
        made = self.request(by=by, subjects=subjects)
        first, second = [name for name in ("hana", "stefan", "otto") if name != by][:2]
        self.approve(made, by=first)
        return self.approve(made, by=second)


@pytest.fixture
def machine_clock() -> SetClock:
    """Vault and ledger run by one clock, as on one machine."""
    return SetClock()


@pytest.fixture
def stand(auditd: Any, machine_clock: SetClock) -> Iterator[GlassStand]:
    """A running vault with sixty subjects."""
    new_symmetric(auditd.home.key_file("vault"))
    registry = RegistryStandIn(auditd.home)
    registry.start()
    made = GlassStand(auditd, machine_clock, registry)
    made.start()
    rows = tuple(
        {"pseudonym": pseudonym, "original_ids": [f"{ORIGINAL}-{number}"], "offset_days": -number}
        for number, pseudonym in enumerate(SUBJECTS)
    )
    made.ask(m.StoreMap(dataset="demo-ct", batch="b" * 32, rows=rows))
    yield made
    made.stop()
    registry.stop()
