"""The first half of the story: an identified cohort becomes a released version.

Each step is done by the person whose duty it is, with that person's own sign-in, over the sockets that the
commands of `enclave` use. Asking again does only what is still missing.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from enclave.cli.demo_people import token_for
from enclave.cli.determination import expert_signature, trust_key
from enclave.core.errors import EnclaveError, NotFoundError, UnavailableError
from enclave.deid.synthetic.cohort import generate_cohort
from enclave.determination.certificate import encode
from enclave.keys.files import new_ed25519
from enclave.keys.uri import file_uri
from enclave.runtime.home import Home, ensure_private_dir
from enclave.wire.client import WireClient
from enclave.wire.messages import intake, registry

DATASET = "demo-ct"
PROJECT = "demo"
RECIPE = "demo"
SEED = 20261122
INTAKE_TIMEOUT_S = 600.0

Tell = Callable[[str], None]


def prepare(home: Home, *, tell: Tell) -> int:
    """Makes what a researcher needs: project, released version, notebooks; returns the version's number.

    Does nothing that is done already.
    """
    story = Story(home, tell=tell)
    story.make_project()
    version = story.released_version()
    if version is None:
        version = story.make_candidate()
        story.determine(version)
        story.release(version)
    place_notebooks(home)
    return version.version


class Story:
    """The acts of stella (data steward), edgar (expert) and hana (honest broker)."""

    def __init__(self, home: Home, *, tell: Tell) -> None:
        self._home = home
        self._tell = tell
        self._registry = WireClient(home.socket("registryd"), timeout_s=30)
        self._intake = WireClient(home.socket("intaked"), timeout_s=30)

    def make_project(self) -> None:
        """Stella makes project *demo* with rosa in it."""
        token = token_for(self._home, "stella")
        try:
            found = self._registry.call(registry.ShowProject(token=token, name=PROJECT))
        except NotFoundError:
            purpose = "Show how research in the enclave works, on a synthetic cohort."
            found = self._registry.call(
                registry.CreateProject(token=token, name=PROJECT, title="Demonstration", purpose=purpose)
            )
            self._tell("stella made project demo")
        if "rosa" not in found.members:
            self._registry.call(registry.AddMember(token=token, name=PROJECT, person="rosa"))
            self._tell("stella added rosa, a researcher, to project demo")

    def released_version(self) -> registry.Version | None:
        """The newest version that project *demo* has, if any."""
        versions = self._registry.call(
            registry.ListVersions(token=token_for(self._home, "stella"), dataset=DATASET)
        ).versions
        released = [version for version in versions if PROJECT in version.projects]
        return max(released, key=lambda version: version.version, default=None)

    def make_candidate(self) -> registry.Version:
        """Stella hands in the identified cohort; intaked seals the candidate."""
        directory = make_cohort(self._home, tell=self._tell)
        token = token_for(self._home, "stella")
        batch = self._intake.call(
            intake.AddBatch(token=token, directory=str(directory), dataset=DATASET, recipe=RECIPE)
        )
        self._tell("stella handed the cohort to intake: de-identify, measure, seal …")
        end = time.monotonic() + INTAKE_TIMEOUT_S
        while batch.state not in ("sealed", "failed"):
            if time.monotonic() > end:
                raise UnavailableError(f"intake batch: wanted it sealed within {INTAKE_TIMEOUT_S:.0f} s, got no end")
            time.sleep(0.3)
            batch = self._intake.call(intake.ShowBatch(token=token, id=batch.id))
        if batch.state == "failed":
            raise EnclaveError(f"intake batch: wanted it sealed, got: {batch.message}")
        versions = self._registry.call(registry.ListVersions(token=token, dataset=DATASET)).versions
        candidate: registry.Version = next(version for version in versions if version.version == batch.version)
        self._tell(f"intaked sealed the candidate {DATASET}@{candidate.version}")
        return candidate

    def determine(self, version: registry.Version) -> None:
        """Edgar finds the determination that intake drafted, assesses, and signs it with his own key."""
        edgar = token_for(self._home, "edgar")
        drafts = self._registry.call(
            registry.ListDeterminations(token=edgar, dataset=version.dataset, version=version.version)
        ).certificates
        draft = next((one for one in drafts if one.state in ("draft", "under_assessment")), None)
        if draft is None:
            raise NotFoundError("determination: wanted the draft that intake made for the candidate, got none")
        if draft.state == "draft":
            self._registry.call(registry.BeginAssessment(token=edgar, id=draft.id))
        _, signature = expert_signature(file_uri(expert_key(self._home)), draft.text.encode("utf-8"))
        self._registry.call(registry.SubmitSignature(token=edgar, id=draft.id, signature=encode(signature)))
        self._tell("edgar, the expert, signed the determination with a key of his own")

    def release(self, version: registry.Version) -> None:
        """Stella asks for the release; hana, the honest broker, approves it."""
        request = self._registry.call(
            registry.RequestRelease(
                token=token_for(self._home, "stella"),
                dataset=version.dataset,
                version=version.version,
                project=PROJECT,
            )
        )
        self._registry.call(
            registry.DecideRelease(
                token=token_for(self._home, "hana"),
                id=request.id,
                approve=True,
                reason="The determination covers this version and this project.",
            )
        )
        self._tell(f"hana, the honest broker, released {version.dataset}@{version.version} to project demo")


def make_cohort(home: Home, *, tell: Tell) -> Path:
    """The identified cohort below the home (made once); what was planted in it stands beside it."""
    folder = ensure_private_dir(home.state("demo"))
    cohort = folder / "cohort"
    if not (folder / "planted.json").exists():
        shutil.rmtree(cohort, ignore_errors=True)
        planted = generate_cohort(cohort, seed=SEED)
        part = folder / "planted.part"
        part.write_text(json.dumps(sorted(planted.identifiers)), "utf-8")
        part.replace(folder / "planted.json")
        tell("made a synthetic identified cohort")
    return cohort


def planted_identifiers(home: Home) -> list[str]:
    """What the generator planted: each must be absent from all that leaves intake."""
    found: list[str] = json.loads((home.state("demo") / "planted.json").read_text("utf-8"))
    return found


def place_notebooks(home: Home) -> None:
    """Lays the demo's notebooks where the launcher takes a new person's code folder from."""
    source = Path(__file__).parents[2] / "notebooks" / "demo"
    target = ensure_private_dir(home.root / "skeleton") / PROJECT
    target.mkdir(mode=0o700, exist_ok=True)
    for notebook in sorted(source.glob("*.ipynb")):
        shutil.copyfile(notebook, target / notebook.name)


def expert_key(home: Home) -> Path:
    """The demo expert's own key, made once and put on the list of trusted experts, marked as a demonstration's."""
    path = ensure_private_dir(home.state("demo")) / "expert.key"
    if not path.exists():
        public_key = new_ed25519(path)
        trust_key(home, public_key=public_key, principal="edgar", name="Edgar Demo", demo=True)
    return path
