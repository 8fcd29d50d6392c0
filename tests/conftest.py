"""What every service's tests share: a real ledger in a home of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from run_folders import remove_run_folders
from xdist.scheduler import LoadScopeScheduling

from enclave.audit.client import AuditClient
from enclave.audit.daemon import AuditDaemon
from enclave.audit.segments import Record, read_segment, segment_files
from enclave.core.clock import Clock
from enclave.core.errors import DeniedError
from enclave.keys.files import new_ed25519, new_symmetric
from enclave.policy.model import Actor
from enclave.runtime.home import HOME_FORMAT, Home
from enclave.runtime.log import Log

# The same examples in every run, so that a change passes or fails for what it changed, and no bound on an example's
# time, which a busy machine breaks at random. `--hypothesis-profile explore` looks for new examples.
_UNTIMED = [HealthCheck.too_slow]
settings.register_profile("gate", max_examples=60, deadline=None, derandomize=True, suppress_health_check=_UNTIMED)
settings.register_profile("explore", deadline=None, max_examples=1_000, suppress_health_check=_UNTIMED)
settings.load_profile("gate")


class _Together(LoadScopeScheduling):
    """Keeps a file's tests on one worker, and all attacks, which share one enclave."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        folder = file.rpartition("/")[0]
        return folder if folder.endswith("attack") else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Together:
    """Shares the tests out among the workers."""
    return _Together(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests go first: what is long and starts last is waited for alone at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path not in slow, "attack" not in item.path.parts))


@dataclass
class AuditStand:
    """A running ledger: ``client`` writes, ``events`` reads the segments, ``stop`` and ``start`` as they say.

    ``people`` maps tokens to actors for queries; set ``resolve`` before ``start`` for something else.
    """

    home: Home
    client: AuditClient
    people: dict[str, Actor] = field(default_factory=dict)
    resolve: Callable[[str], Actor] | None = None
    clock: Clock | None = None
    daemon: AuditDaemon | None = None

    def start(self) -> None:
        """Starts the daemon; it listens on return."""
        self.daemon = AuditDaemon(self.home, log=Log("auditd"), resolve=self.resolve or self._person, clock=self.clock)
        self.daemon.start()

    def _person(self, token: str) -> Actor:
        if token not in self.people:
            raise DeniedError("token: wanted one of the Hub, got another", code="token_invalid")
        return self.people[token]

    def stop(self) -> None:
        """Ends the daemon in order."""
        if self.daemon is not None:
            self.daemon.close()
            self.daemon = None

    def events(self, **match: Any) -> list[dict[str, Any]]:
        """All durable events, oldest first, whose fields equal ``match`` (``kind="cell.execute"``)."""
        found = [record["event"] for record in self.records()]
        return [event for event in found if all(event.get(key) == value for key, value in match.items())]

    def records(self) -> list[dict[str, Any]]:
        """All durable records as they stand in the segments."""
        return [
            json.loads(item.payload)
            for path in segment_files(self.home.state("audit") / "segments")
            for item in read_segment(path)
            if isinstance(item, Record)
        ]


def make_home(root: Path) -> Home:
    """A home with the ledger's keys and an empty settings document."""
    home = Home(root)
    (root / "keys").mkdir(parents=True, mode=0o700)
    home.settings_file.write_text("", "utf-8")
    home.format_file.write_text(f"{HOME_FORMAT}\n", "ascii")
    new_ed25519(home.key_file("audit-checkpoint"))
    new_symmetric(home.key_file("audit-body"))
    new_symmetric(home.key_file("audit-store"))
    return home


@pytest.fixture(autouse=True)
def _no_run_folder_stays(request: pytest.FixtureRequest) -> Iterator[None]:
    """What the homes of one test left below /tmp goes when everything else of it has ended."""
    yield
    folder = getattr(request.node, "funcargs", {}).get("tmp_path")
    if folder is not None:
        remove_run_folders(folder)


@pytest.fixture(scope="session", autouse=True)
def _no_run_folder_stays_of_shared_homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The same for homes that several tests share."""
    yield
    remove_run_folders(tmp_path_factory.getbasetemp())


@pytest.fixture
def machine_clock() -> Clock | None:
    """The clock of the ledger's machine; who tests a daemon by another clock gives the same one to both."""
    return None


@pytest.fixture
def auditd(tmp_path: Path, machine_clock: Clock | None) -> Iterator[AuditStand]:
    """A running ledger in a home below ``tmp_path``."""
    home = make_home(tmp_path / "home")
    stand = AuditStand(home, AuditClient(home.socket("auditd"), clock=machine_clock), clock=machine_clock)
    stand.start()
    yield stand
    stand.client.close()
    stand.stop()
