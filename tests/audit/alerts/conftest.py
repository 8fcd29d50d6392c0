"""A watch over a real ledger, with an auditor's, an operator's and a researcher's token."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from enclave.audit.alerts.daemon import WatchDaemon
from enclave.audit.alerts.settings import WatchSettings
from enclave.core.errors import DeniedError
from enclave.policy.model import Actor
from enclave.runtime.log import Log
from enclave.wire.client import WireClient
from enclave.wire.messages import watch as m

PEOPLE = {
    "ada-token": Actor("ada", frozenset({"auditor"})),
    "anton-token": Actor("anton", frozenset({"auditor"})),
    "otto-token": Actor("otto", frozenset({"operator"})),
    "rosa-token": Actor("rosa", frozenset({"researcher"})),
    "stella-token": Actor("stella", frozenset({"data_steward"})),
}


def person(token: str) -> Actor:
    if token not in PEOPLE:
        raise DeniedError("token: wanted one of the Hub, got another", code="token_invalid")
    return PEOPLE[token]


@dataclass
class WatchStand:
    """A running watch; ``ask`` speaks to its socket."""

    auditd: Any
    settings: WatchSettings = field(default_factory=lambda: WatchSettings(look_s=0.05))
    clock: Any = None
    daemon: WatchDaemon | None = None

    def start(self) -> WatchDaemon:
        self.daemon = WatchDaemon(
            self.auditd.home, log=Log("watchd"), resolve=person, settings=self.settings, clock=self.clock
        )
        self.daemon.start()
        return self.daemon

    def stop(self) -> None:
        if self.daemon is not None:
            self.daemon.close()
            self.daemon = None

    def ask(self, message: Any) -> Any:
        client = WireClient(self.auditd.home.socket("watchd"))
        try:
            return client.call(message)
        finally:
            client.close()

    def alerts(self, **match: Any) -> tuple[m.AlertInfo, ...]:
        return self.ask(m.ListAlerts(token="ada-token", **match)).alerts

    def wait_for(self, look: Callable[[], Any], *, seconds: float = 60.0) -> Any:
        """What ``look`` gives once it gives something."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = look()
            if found:
                return found
            time.sleep(0.05)
        raise AssertionError("it did not come")

    def alert(self, rule: str) -> m.AlertInfo:
        """The first alert of a rule, waited for."""
        return self.wait_for(lambda: self.alerts(rule=rule))[-1]


@pytest.fixture
def watchd(auditd: Any) -> Iterator[WatchStand]:
    stand = WatchStand(auditd)
    stand.start()
    yield stand
    stand.stop()
