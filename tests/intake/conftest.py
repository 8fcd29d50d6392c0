"""An intake with a real ledger and a real vault; the registry is a stand-in that keeps what it was told."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from made_once import made_once
from run_folders import remove_run_folders

from enclave.audit.client import AuditClient
from enclave.core.errors import ConflictError, DeniedError
from enclave.deid.synthetic.cohort import Planted, generate_cohort
from enclave.determination.certificate import parse_certificate
from enclave.intake.daemon import IntakeDaemon
from enclave.intake.settings import IntakeSettings
from enclave.keys.files import new_symmetric, new_x25519
from enclave.policy.model import Actor
from enclave.reidentification.daemon import VaultDaemon
from enclave.runtime.home import Home
from enclave.runtime.log import Log
from enclave.wire.client import WireClient
from enclave.wire.messages.determination import NoteSoftware, SoftwareNoted
from enclave.wire.messages.facts import AskProjectStanding, ProjectStanding
from enclave.wire.messages.intake import AddBatch, Batch, ShowBatch
from enclave.wire.messages.registry import Certificate, NoteSample, ProposeDetermination, RegisterCandidate, Version
from enclave.wire.peer import WireServer
from tests.conftest import AuditStand, make_home

SHIPPED = Path(str(files("enclave.intake").joinpath("recipes")))
PEOPLE = {
    "stella-token": Actor("stella", frozenset({"data_steward"})),
    "rosa-token": Actor("rosa", frozenset({"researcher"})),
    "hana-token": Actor("hana", frozenset({"honest_broker"})),
}
Kept = tuple[Batch, list[RegisterCandidate], dict[str, str]]  # a batch, and what the registry was told of it


def resolve(token: str) -> Actor:
    """The person of a token, as the Hub would say."""
    if token not in PEOPLE:
        raise DeniedError("token: wanted one of the Hub, got another", code="token_invalid")
    return PEOPLE[token]


@dataclass
class RegistryStandIn:
    """Answers ``version.register`` as the registry does: once per version, the same again is fine.

    Of ``determination.propose`` it keeps the texts, each id once; ``refusal`` is raised instead when there is one.
    """

    home: Home
    registered: list[RegisterCandidate] = field(default_factory=list)
    proposed: dict[str, str] = field(default_factory=dict)
    noted: list[NoteSample] = field(default_factory=list)
    software: list[str] = field(default_factory=list)
    refusal: Exception | None = None
    server: WireServer | None = None

    def start(self) -> None:
        handlers = {
            RegisterCandidate: self._register,
            ProposeDetermination: self._propose,
            NoteSample: self._note,
            NoteSoftware: self._note_software,
            AskProjectStanding: lambda q, _: ProjectStanding(
                name=q.project, state="open" if q.project in ("lung", "knee") else "missing", agreement="none"
            ),
        }
        self.server = WireServer(self.home.socket("registryd"), handlers, log=Log("registryd"), allowed_uids=None)
        self.server.start()

    def stop(self) -> None:
        if self.server is not None:
            self.server.close()
            self.server = None

    def _note(self, message: NoteSample, _call: Any) -> Version:
        self.noted.append(message)
        return Version(dataset=message.dataset, version=message.version, content_root="", state="candidate", summary={})

    def _note_software(self, message: NoteSoftware, _call: Any) -> SoftwareNoted:
        self.software.append(message.software_sha256)
        return SoftwareNoted(reopened=())

    def _propose(self, message: ProposeDetermination, _call: Any) -> Certificate:
        if self.refusal is not None:
            raise self.refusal
        found = parse_certificate(message.text.encode())
        if found.id in self.proposed:
            raise ConflictError("registry: exists already")
        self.proposed[found.id] = message.text
        return Certificate(id=found.id, state="draft", text=message.text, digest="")

    def _register(self, message: RegisterCandidate, _call: Any) -> Version:
        for known in self.registered:
            if (known.dataset, known.version) == (message.dataset, message.version):
                if known.content_root != message.content_root:
                    raise ConflictError("dataset version: registered with other content")
                break
        else:
            self.registered.append(message)
        return Version(
            dataset=message.dataset,
            version=message.version,
            content_root=message.content_root,
            state="candidate",
            summary=message.summary,
        )


@dataclass
class IntakeStand:
    """What a test of intake needs."""

    auditd: Any
    home: Home
    registry: RegistryStandIn
    vault: VaultDaemon
    daemon: IntakeDaemon | None = None
    recipes: str = ""

    def start(self) -> None:
        settings = IntakeSettings(recipes_dir=self.recipes)
        self.daemon = IntakeDaemon(self.home, resolve=resolve, log=Log("intaked"), settings=settings)
        self.daemon.start()

    def stop(self) -> None:
        if self.daemon is not None:
            self.daemon.close()
            self.daemon = None

    def ask(self, message: Any) -> Any:
        client = WireClient(self.home.socket("intaked"), timeout_s=30)
        try:
            return client.call(message)
        finally:
            client.close()

    def add(
        self,
        directory: Path,
        *,
        token: str = "stella-token",
        dataset: str = "demo-ct",
        recipe: str = "demo",
        project: str = "",
    ) -> Batch:
        message = AddBatch(token=token, directory=str(directory), dataset=dataset, recipe=recipe, project=project)
        batch: Batch = self.ask(message)
        return batch

    def change_recipe(self, folder: Path, *, line: str) -> None:
        """From now on the demo's recipe begins with ``line``."""
        self.stop()
        shutil.copytree(SHIPPED, folder)
        path = folder / "demo.toml"
        lines = [one for one in path.read_text().splitlines() if one.split(" ")[0] != line.split(" ")[0]]
        path.write_text("\n".join([line, *lines]))
        self.recipes = str(folder)
        self.start()

    def wait(self, batch: Batch, *, until: Callable[[Batch], bool] | None = None) -> Batch:
        done = until or (lambda b: b.state in ("sealed", "failed"))
        end = time.monotonic() + 240
        while not done(batch):
            assert time.monotonic() < end, batch.state
            time.sleep(0.1)
            batch = self.ask(ShowBatch(token="stella-token", id=batch.id))
        return batch


@contextlib.contextmanager
def running(home: Home, *, auditd: Any) -> Iterator[IntakeStand]:
    """Intake, vault and the registry's stand-in of a home whose ledger runs."""
    registry = RegistryStandIn(home)
    registry.start()
    vault = VaultDaemon(home, log=Log("vaultd"))
    vault.start()
    made = IntakeStand(auditd, home, registry, vault)
    made.start()
    try:
        yield made
    finally:
        made.stop()
        vault.close()
        registry.stop()


@contextlib.contextmanager
def ledger_of(home: Home) -> Iterator[AuditStand]:
    """The running ledger of a home that is there."""
    ledger = AuditStand(home, AuditClient(home.socket("auditd")))
    ledger.start()
    try:
        yield ledger
    finally:
        ledger.client.close()
        ledger.stop()


def add_keys(home: Home) -> None:
    """What vault and intake need beside the ledger's keys."""
    for name in ("vault", "intake-box"):
        new_symmetric(home.key_file(name))
    new_x25519(home.key_file("kek"))


@pytest.fixture
def stand(auditd: Any) -> Iterator[IntakeStand]:
    """A running intake."""
    add_keys(auditd.home)
    with running(auditd.home, auditd=auditd) as made:
        yield made


@pytest.fixture(scope="session")
def kept_home(cohort: tuple[Path, Planted], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Kept]:
    """A home at rest whose intake has sealed the small cohort, made once by a real run, and what came of it."""

    def make(folder: Path) -> Kept:
        home = make_home(folder / "home")
        add_keys(home)
        with ledger_of(home) as ledger, running(home, auditd=ledger) as made:
            batch = made.wait(made.add(cohort[0]))
            assert (batch.state, batch.message) == ("sealed", "")
        remove_run_folders(folder)
        return batch, made.registry.registered, made.registry.proposed

    return made_once(tmp_path_factory, "sealed-batch", make)


@pytest.fixture
def handed_in(kept_home: tuple[Path, Kept], tmp_path: Path) -> Iterator[tuple[IntakeStand, Batch]]:
    """A running intake that has sealed the small cohort, and its batch: on a copy of the home that it was sealed in."""
    folder, (batch, registered, proposed) = kept_home
    home = Home(shutil.copytree(folder / "home", tmp_path / "home", symlinks=True))
    with ledger_of(home) as ledger, running(home, auditd=ledger) as made:
        made.registry.registered, made.registry.proposed = list(registered), dict(proposed)
        yield made, batch


@pytest.fixture(scope="session")
def demo_cohort(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Planted]:
    """The demo cohort: 44 patients."""
    return made_once(tmp_path_factory, "demo-cohort", lambda folder: generate_cohort(folder, seed=7))


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Planted]:
    """A small cohort: 14 patients, six of them with a few CT slices, for every series costs a look at its pixels."""

    def make(folder: Path) -> Planted:
        planted = generate_cohort(folder, seed=8, patients=14)
        for patient in sorted((folder / "dicom").iterdir())[6:]:
            shutil.rmtree(patient)
        for series in (folder / "dicom").glob("*/*"):
            for surplus in sorted(series.glob("*.dcm"))[2:]:
                surplus.unlink()
        return planted

    return made_once(tmp_path_factory, "small-cohort", make)


@pytest.fixture(scope="session")
def few_images(cohort: tuple[Path, Planted], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Planted]:
    """The small cohort with the images of one patient only: where what is asked does not depend on images."""

    def make(folder: Path) -> Planted:
        shutil.copytree(cohort[0], folder, dirs_exist_ok=True)
        for patient in sorted((folder / "dicom").iterdir())[1:]:
            shutil.rmtree(patient)
        return cohort[1]

    return made_once(tmp_path_factory, "few-images", make)
