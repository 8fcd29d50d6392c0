"""Security keys in a real browser, against a real registry: vouched for, enrolled, and asked before a release."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from chromium import opened_browser
from playwright.sync_api import Page, expect
from statements import CONDITIONS, EVIDENCE, PURPOSE, TERMS

from enclave.core.errors import DeniedError
from enclave.core.ids import VersionName
from enclave.determination.certificate import (
    Expert,
    ReleaseTerms,
    certificate_text,
    countersigned_bytes,
    encode,
    signature_from_text,
)
from enclave.determination.drafting import DraftConfig, draft_certificate
from enclave.keys.files import new_ed25519
from enclave.keys.sign import open_signer
from enclave.policy.model import Actor
from enclave.registry.daemon import RegistryDaemon
from enclave.registry.trust import trust_expert
from enclave.runtime.clock import SystemClock
from enclave.runtime.log import Log
from enclave.wire.client import call_once
from enclave.wire.messages import projects as pm
from enclave.wire.messages import registry as m
from enclave.wire.messages import security_keys as sk
from enclave.wire.messages.determination import ReaffirmDetermination, SubmitCountersignature

pytestmark = [pytest.mark.slow, pytest.mark.row("S9.2")]

ROOT = "ab" * 32


@dataclass
class Desk:
    """The console before a real registry with a release that waits."""

    console: Any
    release: m.Release
    ledger: Any

    @property
    def origin(self) -> str:
        return f"http://localhost:{self.console.port}"

    def ask(self, message: Any) -> Any:
        return call_once(self.console.airlock.home.socket("registryd"), message, timeout_s=30)


@pytest.fixture
def desk(console: Any, auditd: Any) -> Iterator[Desk]:
    home, roles = console.airlock.home, {**console.roles, "edgar": {"expert"}}

    def resolve(token: str) -> Actor:
        name = token.removeprefix("token-")
        if name == token or name not in roles:
            raise DeniedError("token: wanted a known one, got another", code="token_invalid")
        return Actor(name, frozenset(roles[name]))

    console.servers["registryd"].close()
    console.roles["edgar"] = {"expert"}
    new_ed25519(home.key_file("registry-sign"))
    daemon = RegistryDaemon(home, resolve=resolve, log=Log("registryd"), origin=f"http://localhost:{console.port}")
    daemon.start()
    found = Desk(console, m.Release(id="", dataset="", version=1, project="", state="", requested_by=""), auditd)
    found.release = _waiting(found, home)
    yield found
    daemon.close()
    del console.roles["edgar"]


def _waiting(desk: Desk, home: Any) -> m.Release:
    at = SystemClock().now()
    signers = {}
    for person, role in (("edgar", "expert"), ("stella", "data_steward")):
        public = new_ed25519(home.root / "keys" / f"{person}.key")
        trust_expert(home, principal=person, public_key=public, role=role, at=at)
        signers[person] = open_signer(f"file:{home.root / 'keys' / f'{person}.key'}")
    desk.ask(pm.CreateProject(token="token-stella", name="lung", title="Lung", purpose=PURPOSE))
    candidate = {"dataset": "demo-ct", "version": 1, "content_root": ROOT, "summary": {}, "steward": "stella"}
    desk.ask(m.RegisterCandidate(**candidate, review="optional"))
    person = Expert(principal="edgar", name="Edgar", qualification="Q", independence="I", engagement="E-1")
    terms = ReleaseTerms(model="enclave", recipients=("lung",), **TERMS)
    text = certificate_text(
        draft_certificate(
            DraftConfig(expert=person, release=terms, conditions=CONDITIONS),
            {},
            certificate_id=secrets.token_hex(16),
            name=VersionName("demo-ct", 1),
            content_root=ROOT,
            steward="stella",
            evidence={**EVIDENCE, "results": {side: {"marketer": 0.1} for side in ("before", "after")}},
            at=at,
        )
    )
    draft = desk.ask(m.DraftDetermination(token="token-stella", text=text.decode()))
    value = encode(signers["edgar"].sign(text))
    signed = desk.ask(m.SubmitSignature(token="token-edgar", id=draft.id, signature=value))
    counter = signers["stella"].sign(countersigned_bytes(text, signature_from_text(signed.signature)))
    desk.ask(SubmitCountersignature(token="token-stella", id=draft.id, signature=encode(counter)))
    found: m.Release = desk.ask(m.RequestRelease(token="token-stella", dataset="demo-ct", version=1, project="lung"))
    return found


@pytest.fixture
def open_as(desk: Desk) -> Iterator[Any]:
    """A page of a signed-in person at the name that keys are bound to; ``key=True`` plugs a security key in."""
    with opened_browser() as browser:

        def page_for(person: str, *, key: bool = False) -> Page:
            context = browser.new_context(base_url=f"{desk.origin}/services/console/")
            value = desk.console.browser(person).cookies["service-console"]
            context.add_cookies(
                [{"name": "service-console", "value": value, "domain": "localhost", "path": "/services/console/"}]
            )
            page = context.new_page()
            if key:
                protocol = context.new_cdp_session(page)
                protocol.send("WebAuthn.enable")
                options = {"protocol": "ctap2", "transport": "usb", "hasUserVerification": True}
                options |= {"isUserVerified": True, "automaticPresenceSimulation": True}
                protocol.send("WebAuthn.addVirtualAuthenticator", {"options": options})
            return page

        yield page_for


def test_a_broker_enrols_a_key_with_anothers_code_and_confirms_a_release_with_it(desk: Desk, open_as: Any) -> None:
    operator = open_as("otto")
    operator.goto("security-keys")
    operator.get_by_label("Person").fill("hana")
    operator.get_by_role("button", name="Make a code").click()
    code = operator.get_by_role("region", name="Code for hana").locator(".mono").inner_text()
    hana = open_as("hana", key=True)
    hana.goto("releases")
    hana.get_by_label("Reason").fill("It fits.\nTwo lines.")
    hana.get_by_role("button", name="Approve the release").click()
    expect(hana.get_by_role("alert")).to_contain_text("none enrolled")
    hana.goto("security-keys")
    hana.get_by_label("Code").fill(code)
    hana.get_by_label("Name for the key").fill("blue one")
    hana.get_by_role("button", name="Enrol the key").click()
    expect(hana.get_by_role("status")).to_have_text("The key is enrolled.")
    expect(hana.get_by_role("cell", name="otto")).to_be_visible()
    hana.goto("releases")
    hana.get_by_label("Reason").fill("It fits.\nTwo lines.")
    hana.get_by_role("button", name="Approve the release").click()
    expect(hana.get_by_role("status")).to_have_text("The decision is recorded.")
    (found,) = desk.ask(m.ListReleases(token="token-ada")).releases
    assert (found.state, found.decided_by) == ("approved", "hana")
    (event,) = desk.ledger.events(kind="release.decide", outcome="ok")
    (key,) = desk.ask(sk.ListSecurityKeys(token="token-hana")).keys
    assert (event["detail"]["key"], key.label) == (key.id, "blue one")


def test_without_a_key_plugged_in_nothing_is_decided(desk: Desk, open_as: Any) -> None:
    code = desk.ask(sk.IssueCode(token="token-otto", person="hana")).code
    page = open_as("hana", key=True)
    page.goto("security-keys")
    page.get_by_label("Code").fill("not the code")
    page.get_by_label("Name for the key").fill("blue one")
    page.get_by_role("button", name="Enrol the key").click()
    expect(page.get_by_role("alert")).to_contain_text("wanted the code that was issued")
    assert desk.ask(sk.ListSecurityKeys(token="token-hana")).keys == ()
    assert desk.ledger.events(kind="authenticator.enrol", outcome="refused")[0]["reason"] == "enrolment_code_wrong"
    page.goto("security-keys")
    page.get_by_label("Code").fill(code)
    page.get_by_label("Name for the key").fill("blue one")
    page.get_by_role("button", name="Enrol the key").click()
    expect(page.get_by_role("status")).to_have_text("The key is enrolled.")
    status, _, body = desk.console.browser("hana").send(
        "releases", f"releases/{desk.release.id}/decide", decision="approve", reason="It fits."
    )
    assert (status, b"no confirmation" in body) == (403, True)
    (found,) = desk.ask(m.ListReleases(token="token-ada")).releases
    assert found.state == "requested"


def test_the_expert_reads_the_text_and_its_digest_and_signs_with_a_key_on_the_list(desk: Desk, open_as: Any) -> None:
    from enclave.determination.certificate import decode, parse_certificate

    (signed,) = desk.ask(m.ListDeterminations(token="token-edgar")).certificates
    text = certificate_text(_next_of(parse_certificate(signed.text.encode())))
    draft = desk.ask(m.DraftDetermination(token="token-stella", text=text.decode()))
    code = desk.ask(sk.IssueCode(token="token-stella", person="edgar")).code
    page = open_as("edgar", key=True)
    page.goto("security-keys")
    page.get_by_label("Code").fill(code)
    page.get_by_label("Name for the key").fill("red one")
    page.get_by_role("button", name="Enrol the key").click()
    expect(page.get_by_role("status")).to_have_text("The key is enrolled.")
    (key,) = desk.ask(sk.ListSecurityKeys(token="token-edgar")).keys
    home = desk.console.airlock.home
    trust_expert(home, principal="edgar", public_key=decode(key.public_key), at=SystemClock().now())
    page.goto(f"determinations/{draft.id}")
    expect(page.get_by_text(draft.digest)).to_be_visible()
    page.get_by_role("link", name="Read the report").click()
    expect(page.get_by_role("heading", name="Expert determination of demo-ct@1")).to_be_visible()
    expect(page.get_by_role("img", name="Measures of risk")).to_be_visible()
    page.go_back()
    page.get_by_role("button", name="Sign with your security key").click()
    expect(page.get_by_role("status")).to_contain_text("recorded with the determination")
    found = desk.ask(m.ShowDetermination(token="token-ada", id=draft.id))
    assert (found.state, '"WebAuthn"' in found.signature) == ("signed", True)


def _next_of(document: Any) -> Any:
    from dataclasses import replace

    return replace(document, id=secrets.token_hex(16), supersedes=document.id)


def test_the_desk_shows_what_changed_since_the_version_before_and_takes_a_release_back(
    desk: Desk, open_as: Any
) -> None:
    summary = {"counts": {"rows": 41}, "column_roles": {"patients": {"zip": "plain"}}}
    candidate = {"dataset": "demo-ct", "version": 2, "content_root": "cd" * 32, "summary": summary, "steward": "stella"}
    desk.ask(m.RegisterCandidate(**candidate, review="optional"))
    page = open_as("hana", key=True)
    page.goto("releases")
    card = page.get_by_role("region", name="Release of demo-ct@1")
    expect(card).to_contain_text("It is the first version of demo-ct.")
    expect(card).to_contain_text("its expert has to look again")
    desk.ask(ReaffirmDetermination(token="token-edgar", id=_certificate(desk), reason="Nothing that matters."))
    code = desk.ask(sk.IssueCode(token="token-otto", person="hana")).code
    page.goto("security-keys")
    page.get_by_label("Code").fill(code)
    page.get_by_label("Name for the key").fill("blue one")
    page.get_by_role("button", name="Enrol the key").click()
    expect(page.get_by_role("status")).to_have_text("The key is enrolled.")
    page.goto("releases")
    page.get_by_label("Reason").fill("It fits.")
    page.get_by_role("button", name="Approve the release").click()
    expect(page.get_by_role("status")).to_have_text("The decision is recorded.")
    page.get_by_label("Why it is taken back").fill("The study ended.")
    page.get_by_role("button", name="Take demo-ct@1 back from lung").click()
    expect(page.get_by_role("status")).to_have_text("The release is taken back.")
    (found,) = desk.ask(m.ListReleases(token="token-ada")).releases
    assert found.state == "withdrawn"


def _certificate(desk: Desk) -> str:
    (found,) = desk.ask(m.ListDeterminations(token="token-ada")).certificates
    identity: str = found.id
    return identity
