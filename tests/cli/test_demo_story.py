"""The first half of the demo's story, with real daemons: whatever interrupts it, the next start goes on."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from people import resolve
from statements import CONDITIONS, EVIDENCE, TERMS

from enclave.cli import demo_story
from enclave.cli.demo_story import DATASET, Story, prepare
from enclave.core.errors import UnavailableError
from enclave.core.ids import VersionName
from enclave.determination.certificate import Expert, ReleaseTerms, certificate_text
from enclave.determination.drafting import DraftConfig, Validity, draft_certificate
from enclave.keys.files import new_ed25519
from enclave.registry.daemon import RegistryDaemon
from enclave.registry.settings import RegistrySettings
from enclave.runtime.clock import SystemClock
from enclave.runtime.home import Home
from enclave.runtime.log import Log
from enclave.wire.client import call_once
from enclave.wire.messages import registry as r
from enclave.wire.messages.intake import AddBatch, Batch, ShowBatch
from enclave.wire.peer import WireServer

ROOT = "cd" * 32


def seal_and_draft(home: Home, version: int) -> None:
    """What intaked tells the registry once it has sealed a batch."""
    socket = home.socket("registryd")
    candidate = r.RegisterCandidate(
        dataset=DATASET, version=version, content_root=ROOT, summary={}, steward="stella", review="optional"
    )
    call_once(socket, candidate)
    person = Expert(principal="edgar", name="Edgar", qualification="-", independence="-", engagement="E-1")
    config = DraftConfig(
        expert=person,
        release=ReleaseTerms(
            model="enclave",
            recipients=("demo",),
            **{**TERMS, "purposes": ("Demonstration of the enclave on a synthetic cohort.",)},
        ),
        validity=Validity(days=30),
        conditions=CONDITIONS,
    )
    document = draft_certificate(
        config,
        {},
        certificate_id=secrets.token_hex(16),
        name=VersionName(DATASET, version),
        content_root=ROOT,
        steward="stella",
        evidence=EVIDENCE,
        at=SystemClock().now(),
    )
    call_once(socket, r.ProposeDetermination(text=certificate_text(document).decode()))


@pytest.fixture
def home(auditd: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """A home with a registry; of intake only its answers, for how a cohort is cleaned is tested elsewhere."""
    home: Home = auditd.home
    new_ed25519(home.key_file("registry-sign"))
    registry = RegistryDaemon(
        home, resolve=resolve, log=Log("registryd"), settings=RegistrySettings(allow_demo_keys=True)
    )
    registry.start()
    batches: list[Batch] = []

    def add(message: AddBatch, _call: Any) -> Batch:
        version = len(batches) + 1
        seal_and_draft(home, version)
        batches.append(
            Batch(
                id=secrets.token_hex(16),
                dataset=message.dataset,
                recipe=message.recipe,
                state="sealed",
                submitted_by="stella",
                received="2026-11-22T12:00:00Z",
                progress=1.0,
                summary={},
                version=version,
            )
        )
        return batches[-1]

    handlers: Any = {AddBatch: add, ShowBatch: lambda _message, _call: batches[-1]}
    intake = WireServer(home.socket("intaked"), handlers, log=Log("intaked"), allowed_uids=None)
    intake.start()
    monkeypatch.setattr(demo_story, "token_for", lambda _home, person: f"t-{person}")
    monkeypatch.setattr(demo_story, "make_cohort", lambda home, **_: home.root)
    yield home
    intake.close()
    registry.close()


def standing(home: Home) -> list[tuple[int, str, tuple[str, ...]]]:
    versions = call_once(home.socket("registryd"), r.ListVersions(token="t-stella", dataset=DATASET)).versions
    return [(one.version, one.state, one.projects) for one in versions]


@pytest.mark.parametrize(
    "before",
    ["BeginAssessment", "SubmitSignature", "SubmitCountersignature", "RequestRelease", "DecideRelease", "trust_key"],
)
def test_a_start_that_was_interrupted_is_resumed_and_makes_no_second_candidate(
    home: Home, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(demo_story if hasattr(demo_story, before) else demo_story.registry, before, interrupted)
        prepare(home, tell=lambda _: None)
    assert standing(home) == [(1, "candidate", ())]
    assert prepare(home, tell=lambda _: None) == 1
    assert standing(home) == [(1, "released", ("demo",))]
    assert prepare(home, tell=lambda _: None) == 1
    assert standing(home) == [(1, "released", ("demo",))]


def test_a_lost_answer_to_the_last_act_leaves_nothing_to_do(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    decided = Story.release

    def lost(self: Story, version: r.Version) -> None:
        decided(self, version)
        raise UnavailableError("registryd: wanted an answer, got none")

    with monkeypatch.context() as patch, pytest.raises(UnavailableError):
        patch.setattr(Story, "release", lost)
        prepare(home, tell=lambda _: None)
    told: list[str] = []
    assert prepare(home, tell=told.append) == 1
    assert told == []


def test_a_candidate_that_its_expert_declined_is_left_alone(home: Home) -> None:
    seal_and_draft(home, 1)
    socket = home.socket("registryd")
    (draft,) = call_once(socket, r.ListDeterminations(token="t-edgar", dataset=DATASET)).certificates
    call_once(socket, r.DeclineDetermination(token="t-edgar", id=draft.id, reason="Too few people."))
    assert Story(home, tell=lambda _: None).waiting_candidate() is None
