"""The first half of the story: an identified cohort becomes a released version.

Each step is done by the person whose duty it is, with that person's own sign-in, over the sockets that the
commands of `enclave` use. Asking again does only what is still missing.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from enclave.cli.demo_people import token_for
from enclave.cli.determination import signature_over
from enclave.cli.determination_trust import trust_key
from enclave.cli.release import confirmation
from enclave.core.canonical import canonical_bytes
from enclave.core.errors import EnclaveError, NotFoundError, UnavailableError
from enclave.deid.synthetic.cohort import generate_cohort
from enclave.determination.certificate import countersigned_bytes, encode, signature_from_text
from enclave.keys.files import new_ed25519
from enclave.keys.software_authenticator import SoftwareAuthenticator
from enclave.keys.uri import file_uri
from enclave.keys.verify import read_public
from enclave.registry.trust import read_trust
from enclave.runtime.home import Home, ensure_private_dir
from enclave.wire.client import WireClient
from enclave.wire.messages import agreements as ag
from enclave.wire.messages import intake, projects, registry
from enclave.wire.messages import security_keys as sk
from enclave.wire.messages.determination import SubmitCountersignature

DATASET = "demo-ct"
PROJECT = "demo"
TICKET = "DEMO-1"
RECIPE = "demo"
SEED = 20261122
INTAKE_TIMEOUT_S = 600.0

Tell = Callable[[str], None]


def prepare(home: Home, *, tell: Tell) -> int:
    """Makes what a researcher needs: project, released version, notebooks; returns the version's number.

    Does nothing that is done already: after an interruption it goes on where it stood.
    """
    story = Story(home, tell=tell)
    story.make_project()
    story.make_agreement()
    version = story.released_version()
    if version is None:
        version = story.waiting_candidate() or story.make_candidate()
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
            found = self._registry.call(projects.ShowProject(token=token, name=PROJECT))
        except NotFoundError:
            purpose = "Demonstration of the enclave on a synthetic cohort."
            found = self._registry.call(
                projects.CreateProject(token=token, name=PROJECT, title="Demonstration", purpose=purpose, ticket=TICKET)
            )
            self._tell("stella made project demo")
        if "rosa" not in found.members:
            self._registry.call(projects.AddMember(token=token, name=PROJECT, person="rosa", ticket=TICKET))
            self._tell("stella added rosa, a researcher, to project demo")

    def make_agreement(self) -> None:
        """Stella records the data use agreement of project *demo*, Hana confirms it; both are made up."""
        stella, hana = (token_for(self._home, name) for name in ("stella", "hana"))
        known = self._registry.call(ag.ListAgreements(token=stella, project=PROJECT)).agreements
        if any(one.standing in ("live", "waits") for one in known):
            waiting = next((one for one in known if one.standing == "waits"), None)
        else:
            terms = demo_agreement(PROJECT, at=datetime.now(UTC))
            document = hashlib.sha256(canonical_bytes(terms)).hexdigest()
            waiting = self._registry.call(
                ag.RecordAgreement(token=stella, terms=terms, document=document, ticket=TICKET)
            )
            self._tell("stella recorded a data use agreement for project demo")
        if waiting is not None:
            self._registry.call(
                ag.DecideAgreement(token=hana, id=waiting.id, approve=True, reason="As signed, for the demonstration.")
            )
            self._tell("hana confirmed it")

    def released_version(self) -> registry.Version | None:
        """The newest version that project *demo* has, if any."""
        return next((version for version in self._versions() if PROJECT in version.projects), None)

    def waiting_candidate(self) -> registry.Version | None:
        """The newest candidate whose determination can still lead to a release: of an earlier, interrupted start."""
        candidates = (version for version in self._versions() if version.state == "candidate")
        return next((version for version in candidates if self._determination(version) is not None), None)

    def _versions(self) -> tuple[registry.Version, ...]:
        """Newest first."""
        message = registry.ListVersions(token=token_for(self._home, "stella"), dataset=DATASET)
        found: tuple[registry.Version, ...] = self._registry.call(message).versions
        return found

    def _determination(self, version: registry.Version) -> registry.Certificate | None:
        """The version's newest determination that is drafted, being assessed or signed."""
        edgar = token_for(self._home, "edgar")
        known = self._registry.call(
            registry.ListDeterminations(token=edgar, dataset=version.dataset, version=version.version)
        ).certificates
        return next((one for one in known if one.state in ("draft", "under_assessment", "signed")), None)

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
        candidate = next(version for version in self._versions() if version.version == batch.version)
        self._tell(f"intaked sealed the candidate {DATASET}@{candidate.version}")
        return candidate

    def determine(self, version: registry.Version) -> None:
        """Edgar finds the determination that intake drafted, assesses, and signs it with his own key."""
        edgar = token_for(self._home, "edgar")
        draft = self._determination(version)
        if draft is not None and draft.state == "signed":
            self._countersign(draft)
            return
        if draft is None:
            raise NotFoundError("determination: wanted the draft that intake made for the candidate, got none")
        if draft.state == "draft":
            self._registry.call(registry.BeginAssessment(token=edgar, id=draft.id))
        _, signature = signature_over(file_uri(expert_key(self._home)), draft.text.encode("utf-8"))
        message = registry.SubmitSignature(token=edgar, id=draft.id, signature=encode(signature))
        signed = self._registry.call(message)
        self._tell("edgar, the expert, signed the determination with a key of his own")
        self._countersign(signed)

    def _countersign(self, signed: registry.Certificate) -> None:
        """Stella countersigns with a key of her own what edgar signed."""
        if signed.countersignature or not signed.signature:
            return
        message = countersigned_bytes(signed.text.encode("utf-8"), signature_from_text(signed.signature))
        _, counter = signature_over(file_uri(steward_key(self._home)), message)
        stella = token_for(self._home, "stella")
        self._registry.call(SubmitCountersignature(token=stella, id=signed.id, signature=encode(counter)))
        self._tell("stella, the data steward, countersigned it")

    def release(self, version: registry.Version) -> None:
        """Stella asks for the release; hana, the honest broker, approves it."""
        request = self._open_request(version) or self._registry.call(
            registry.RequestRelease(
                token=token_for(self._home, "stella"),
                dataset=version.dataset,
                version=version.version,
                project=PROJECT,
            )
        )
        self._decide(request, "The determination covers this version and this project.")
        self._tell(f"hana, the honest broker, released {version.dataset}@{version.version} to project demo")

    def _decide(self, request: registry.Release, reason: str) -> None:
        """Hana confirms exactly this with a security key; here it is one in a file."""
        token, path = token_for(self._home, "hana"), self._security_key("hana")
        ask = sk.ConfirmRelease(token=token, id=request.id, approve=True, reason=reason)
        challenge, assertion = confirmation(self._registry.call(ask), path)
        decision = registry.DecideRelease(
            token=token, id=request.id, approve=True, reason=reason, challenge=challenge, assertion=assertion
        )
        self._registry.call(decision)

    def _security_key(self, person: str) -> Path:
        """The person's security key, enrolled once with a code of stella's."""
        path = ensure_private_dir(self._home.state("demo")) / f"{person}.security-key"
        token = token_for(self._home, person)
        if path.exists() and self._registry.call(sk.ListSecurityKeys(token=token)).keys:
            return path
        path.unlink(missing_ok=True)
        code = self._registry.call(sk.IssueCode(token=token_for(self._home, "stella"), person=person)).code
        begun = self._registry.call(sk.BeginEnrolment(token=token))
        response = SoftwareAuthenticator.make(path).register(begun.options, origin=begun.origin)
        label = "demonstration, in a file"
        self._registry.call(sk.Enrol(token=token, code=code, challenge=begun.challenge, response=response, label=label))
        self._tell(f"{person} enrolled a security key with a code of stella's")
        return path

    def _open_request(self, version: registry.Version) -> registry.Release | None:
        """Stella's request that waits for hana, when an earlier start made one."""
        known = self._registry.call(registry.ListReleases(token=token_for(self._home, "stella"))).releases
        wanted = (version.dataset, version.version, PROJECT, "requested")
        return next((one for one in known if (one.dataset, one.version, one.project, one.state) == wanted), None)


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
    return _signing_key(home, "expert.key", principal="edgar", name="Edgar Demo", role="expert")


def steward_key(home: Home) -> Path:
    """The same of the demo's data steward, for counter-signatures."""
    return _signing_key(home, "steward.key", principal="stella", name="Stella Demo", role="data_steward")


def _signing_key(home: Home, file: str, *, principal: str, name: str, role: str) -> Path:
    path = ensure_private_dir(home.state("demo")) / file
    if not path.exists():
        new_ed25519(path)
    public_key = read_public(path.with_suffix(".pub"))
    if not any(expert.public_key == public_key for expert in read_trust(home).experts):
        trust_key(home, public_key=public_key, principal=principal, name=name, demo=True, role=role, ticket=TICKET)
    return path


def demo_agreement(project: str, *, at: datetime) -> dict[str, object]:
    """The terms of a made-up data use agreement that begins the day before ``at``."""
    return {
        "kind": "dua",
        "title": "Demonstration of a data use agreement",
        "project": project,
        "provider": "Example Hospital",
        "recipient": "Example University",
        "permitted_uses": ["Demonstration of the enclave on a synthetic cohort."],
        "safeguards": ["S4.1", "S6.1", "S10.1", "S16.2"],
        "breach_notice_days": 10,
        "signed": f"{at - timedelta(days=1):%Y-%m-%d}",
        "begins": f"{at - timedelta(days=1):%Y-%m-%d}",
        "ends": f"{at + timedelta(days=730):%Y-%m-%d}",
        "at_end": "destroy",
        "at_end_days": 30,
    }
