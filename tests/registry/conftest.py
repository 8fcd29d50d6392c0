"""A running registry with its ledger, people with tokens, and an expert with a key."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from people import resolve
from security_keys import decision
from set_clock import SetClock
from statements import CONDITIONS, EVIDENCE, PURPOSE, TERMS

from enclave.core.ids import VersionName
from enclave.determination.certificate import (
    Expert,
    ReleaseTerms,
    certificate_text,
    countersigned_bytes,
    encode,
    signature_from_text,
)
from enclave.determination.drafting import DraftConfig, Validity, draft_certificate
from enclave.keys.files import new_ed25519
from enclave.keys.sign import Signer, open_signer
from enclave.registry.daemon import RegistryDaemon
from enclave.registry.settings import RegistrySettings
from enclave.registry.trust import trust_expert
from enclave.runtime.log import Log
from enclave.wire.client import WireClient
from enclave.wire.messages import facts as fm
from enclave.wire.messages import projects as pm
from enclave.wire.messages import registry as m
from enclave.wire.messages.determination import SubmitCountersignature

ROOT = "ab" * 32


@dataclass
class Stand:
    """The registry under test and short ways to ask it."""

    auditd: Any
    clock: SetClock
    signer: Signer
    steward: Signer
    daemon: RegistryDaemon | None = None
    client: WireClient | None = None

    def start(self, *, allow_demo_keys: bool = True) -> None:
        self.daemon = RegistryDaemon(
            self.auditd.home,
            resolve=resolve,
            log=Log("registryd"),
            settings=RegistrySettings(allow_demo_keys=allow_demo_keys),
            clock=self.clock,
        )
        self.daemon.start()
        self.client = WireClient(self.auditd.home.socket("registryd"))

    def stop(self) -> None:
        if self.client is not None:
            self.client.close()
        if self.daemon is not None:
            self.daemon.close()

    def ask(self, message: Any) -> Any:
        assert self.client is not None
        return self.client.call(message)

    def text(self, *, version: int = 1, **changes: Any) -> str:
        """A certificate text for the candidate."""
        config = DraftConfig(
            expert=Expert(
                principal=changes.pop("expert", "edgar"),
                name="Edgar Example",
                qualification="statistician",
                independence="no part in the study",
                engagement="E-1",
            ),
            release=ReleaseTerms(
                model="enclave",
                recipients=changes.pop("recipients", ("demo",)),
                **{**TERMS, "purposes": changes.pop("purposes", TERMS["purposes"])},
            ),
            conditions=CONDITIONS,
            validity=Validity(days=changes.pop("days", 365), not_before=changes.pop("not_before", "")),
            supersedes=changes.pop("supersedes", None),
        )
        document = draft_certificate(
            config,
            {},
            certificate_id=secrets.token_hex(16),
            name=VersionName("demo-ct", version),
            content_root=changes.pop("root", ROOT),
            steward=changes.pop("steward", "stella"),
            evidence={**EVIDENCE, **changes.pop("evidence", {})},
            at=self.clock.now(),
        )
        assert not changes
        return certificate_text(document).decode()

    def make_project(self) -> None:
        self.ask(pm.CreateProject(token="t-stella", name="demo", title="Demo", purpose=PURPOSE))
        self.ask(pm.AddMember(token="t-stella", name="demo", person="rosa"))

    def make_candidate(self, *, version: int = 1, **review: Any) -> m.Version:
        found: m.Version = self.ask(
            m.RegisterCandidate(
                dataset="demo-ct",
                version=version,
                content_root=ROOT,
                summary={"patients": 40},
                steward="stella",
                **{"review": "optional", **review},
            )
        )
        return found

    def draft(self, **changes: Any) -> m.Certificate:
        found: m.Certificate = self.ask(m.DraftDetermination(token="t-stella", text=self.text(**changes)))
        return found

    def sign(self, certificate: m.Certificate, *, token: str = "t-edgar") -> m.Certificate:
        signature = encode(self.signer.sign(certificate.text.encode()))
        found: m.Certificate = self.ask(m.SubmitSignature(token=token, id=certificate.id, signature=signature))
        return found

    def countersign(self, certificate: m.Certificate, *, token: str = "t-stella") -> m.Certificate:
        message = countersigned_bytes(certificate.text.encode(), signature_from_text(certificate.signature or ""))
        value = encode(self.steward.sign(message))
        found: m.Certificate = self.ask(SubmitCountersignature(token=token, id=certificate.id, signature=value))
        return found

    def determine(self, **changes: Any) -> m.Certificate:
        """Drafted, signed and countersigned."""
        return self.countersign(self.sign(self.draft(**changes)))

    def request(self, *, version: int = 1, token: str = "t-stella") -> m.Release:
        found: m.Release = self.ask(m.RequestRelease(token=token, dataset="demo-ct", version=version, project="demo"))
        return found

    def decide(self, release: m.Release, *, approve: bool = True, token: str = "t-hana") -> m.Release:
        found: m.Release = self.ask(self.decision(release, approve=approve, person=token.removeprefix("t-")))
        return found

    def decision(self, release: m.Release, *, person: str = "hana", **words: Any) -> m.DecideRelease:
        """What a broker sends: with their security key's confirmation."""
        return decision(self.ask, release.id, self.keys, person=person, **words)

    @property
    def keys(self) -> Path:
        """Where people of the tests keep their keys."""
        return self.auditd.home.root / "keys"

    def release(self, **changes: Any) -> m.Certificate:
        """The whole way from nothing to a released version."""
        self.make_project()
        self.make_candidate()
        signed = self.determine(**changes)
        self.decide(self.request())
        return signed

    def facts(self, *, person: str = "rosa", project: str = "demo", version: int | None = None) -> fm.LeaseFacts:
        found: fm.LeaseFacts = self.ask(
            fm.AskLeaseFacts(person=person, project=project, dataset="demo-ct", version=version)
        )
        return found


@pytest.fixture
def machine_clock() -> SetClock:
    """Registry and ledger run by one clock, as on one machine."""
    return SetClock()


@pytest.fixture
def bare(auditd: Any, machine_clock: SetClock) -> Iterator[Stand]:
    """A stand whose registry is not started yet; the expert's key is trusted and marked as the demo's."""
    home = auditd.home
    new_ed25519(home.key_file("registry-sign"))
    public = new_ed25519(home.root / "keys" / "edgar.key")
    clock = machine_clock
    trust_expert(home, principal="edgar", public_key=public, name="Edgar Example", demo=True, at=clock.now())
    other = new_ed25519(home.root / "keys" / "stella.key")
    told = {"principal": "stella", "name": "Stella Example", "role": "data_steward", "demo": True}
    trust_expert(home, public_key=other, at=clock.now(), **told)
    signers = [open_signer(f"file:{home.root / 'keys' / f'{name}.key'}") for name in ("edgar", "stella")]
    found = Stand(auditd, clock, *signers)
    yield found
    found.stop()


@pytest.fixture
def stand(bare: Stand) -> Stand:
    """A running registry."""
    bare.start()
    return bare
