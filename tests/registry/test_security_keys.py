"""Security keys: enrolled with somebody else's code, then asked to confirm single acts, each exactly once."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from typing import Any

import pytest
from security_keys import decision, enrolled

from enclave.core.errors import ConflictError, DeniedError, EnclaveError, InvalidError
from enclave.keys.software_authenticator import SoftwareAuthenticator
from enclave.wire.messages import projects as pm
from enclave.wire.messages import registry as m
from enclave.wire.messages import security_keys as sk
from enclave.wire.messages.determination import ReaffirmDetermination

pytestmark = pytest.mark.row("S9.2")


@pytest.fixture
def waiting(stand: Any) -> m.Release:
    """A release that waits for its decision."""
    stand.make_project()
    stand.make_candidate()
    stand.determine()
    found: m.Release = stand.request()
    return found


def refused(stand: Any, message: Any, *, kind: str = "release.decide") -> str:
    with pytest.raises(DeniedError) as caught:
        stand.ask(message)
    (*_, event) = stand.auditd.events(kind=kind, outcome="refused")
    assert event["reason"] == caught.value.code
    return caught.value.code


def test_a_release_needs_the_brokers_key_and_the_ledger_says_which(stand: Any, waiting: m.Release) -> None:
    bare = m.DecideRelease(token="t-hana", id=waiting.id, approve=True, reason="It fits.")
    assert refused(stand, bare) == "step_up_missing"
    assert refused(stand, replace(bare, approve=False)) == "step_up_missing"
    assert stand.decide(waiting).state == "approved"
    (key,) = stand.ask(sk.ListSecurityKeys(token="t-hana")).keys
    (event,) = stand.auditd.events(kind="release.decide", outcome="ok")
    (asked,) = stand.auditd.events(kind="release.confirm", outcome="ok")
    assert (event["detail"]["key"], event["detail"]["challenge"]) == (key.id, asked["detail"]["challenge"])
    assert key.used


@pytest.mark.parametrize(
    "change", [{"approve": False}, {"reason": "It fits!"}, {"challenge": "0" * 32}, {"assertion": {"id": "x"}}], ids=str
)
def test_a_confirmation_is_of_exactly_one_act(stand: Any, waiting: m.Release, change: dict[str, Any]) -> None:
    message = stand.decision(waiting)
    assert refused(stand, replace(message, **change)) in ("security_key_invalid", "step_up_used")
    assert stand.ask(message).state == "approved"


def test_a_confirmation_of_another_release_or_person_decides_nothing(stand: Any, waiting: m.Release) -> None:
    stand.ask(pm.CreateProject(token="t-stefan", name="lung", title="Lung", purpose="To show."))
    stand.make_candidate(version=2)
    stand.determine(version=2, recipients=("lung", "demo"))
    other = stand.ask(m.RequestRelease(token="t-stella", dataset="demo-ct", version=2, project="lung"))
    for certificate in stand.ask(m.ListDeterminations(token="t-edgar", version=1)).certificates:
        stand.ask(ReaffirmDetermination(token="t-edgar", id=certificate.id, reason="Nothing that matters."))
    of_other, of_holger = stand.decision(other), stand.decision(waiting, person="holger")
    assert refused(stand, replace(of_other, id=waiting.id)) == "security_key_invalid"
    assert refused(stand, replace(of_holger, token="t-hana")) == "step_up_used"
    mine = stand.decision(waiting)
    assert refused(stand, replace(mine, assertion=of_holger.assertion)) == "security_key_invalid"


def test_a_confirmation_is_good_once_and_for_five_minutes(stand: Any, waiting: m.Release) -> None:
    message = stand.decision(waiting)
    stand.clock.pass_(minutes=5)
    assert refused(stand, message) == "step_up_late"
    message = stand.decision(waiting, approve=False, reason="Not yet.")
    assert stand.ask(message).state == "refused"
    with pytest.raises(EnclaveError):
        stand.ask(message)
    again = stand.request()
    assert refused(stand, replace(message, id=again.id)) == "step_up_used"


def test_a_new_text_of_the_certificate_spends_no_old_confirmation(stand: Any, waiting: m.Release) -> None:
    message = stand.decision(waiting)
    store = stand.daemon._store
    with store.transaction():
        store.change("update determinations set digest = ?", "0" * 64)
    assert refused(stand, message) == "security_key_invalid"


def test_who_has_no_key_is_told_to_ask_for_a_code(stand: Any, waiting: m.Release) -> None:
    ask = sk.ConfirmRelease(token="t-hana", id=waiting.id, approve=True, reason="It fits.")
    assert refused(stand, ask, kind="release.confirm") == "no_security_key"


def test_a_key_that_was_ended_confirms_nothing(stand: Any, waiting: m.Release) -> None:
    message = stand.decision(waiting)
    (key,) = stand.ask(sk.ListSecurityKeys(token="t-hana")).keys
    assert refused(stand, sk.RevokeSecurityKey(token="t-rosa", id=key.id), kind="authenticator.revoke") == "not_own_key"
    stand.ask(sk.RevokeSecurityKey(token="t-stella", id=key.id))
    assert refused(stand, message) == "security_key_invalid"


def test_a_copied_key_is_seen_by_its_count(stand: Any, waiting: m.Release) -> None:
    enrolled(stand.ask, "hana", stand.keys)
    copy = (stand.keys / "hana.security-key").read_bytes()
    assert stand.decide(waiting, approve=False).state == "refused"
    (stand.keys / "hana.security-key").write_bytes(copy)
    assert refused(stand, stand.decision(stand.request())) == "security_key_invalid"


# ── enrolment ───────────────────────────────────────────────────────────────


def begin(stand: Any, person: str = "hana") -> tuple[SoftwareAuthenticator, sk.StepUp]:
    key = SoftwareAuthenticator.make(stand.keys / "new.security-key")
    return key, stand.ask(sk.BeginEnrolment(token=f"t-{person}"))


def handed_in(key: SoftwareAuthenticator, begun: sk.StepUp, code: str, *, person: str = "hana") -> sk.Enrol:
    response = key.register(begun.options, origin=begun.origin)
    return sk.Enrol(token=f"t-{person}", code=code, challenge=begun.challenge, response=response, label="blue one")


@pytest.mark.row("S15.3")
def test_a_key_is_enrolled_once_with_a_code_that_somebody_else_issued(stand: Any) -> None:
    code = stand.ask(sk.IssueCode(token="t-otto", person="hana"))
    key, begun = begin(stand)
    found = stand.ask(handed_in(key, begun, f" {code.code.upper()} "))
    assert (found.person, found.label, found.issued_by) == ("hana", "blue one", "otto")
    kinds = [
        (e["kind"], e["outcome"], e["actor"]) for e in stand.auditd.events() if e["kind"].startswith("authenticator.")
    ]
    assert ("authenticator.code", "ok", "otto") in kinds
    assert ("authenticator.enrol", "ok", "hana") in kinds
    again = stand.ask(sk.BeginEnrolment(token="t-hana"))
    assert refused(stand, handed_in(key, again, code.code), kind="authenticator.enrol") == "enrolment_code_missing"


@pytest.mark.row("S15.3")
def test_a_code_stands_nowhere_in_clear(stand: Any) -> None:
    code = stand.ask(sk.IssueCode(token="t-otto", person="hana")).code
    path = stand.auditd.home.state("registry") / "state.db"
    with sqlite3.connect(path) as db:
        held = repr(db.execute("select * from enrolment_codes").fetchall())
    assert code not in held + repr(stand.auditd.events())
    assert code.replace("-", "") not in held
    files = [file.read_bytes() for file in path.parent.iterdir() if file.is_file()]
    assert not [data for data in files if code.encode() in data]


def test_nobody_issues_a_code_for_themselves_and_few_for_others(stand: Any) -> None:
    own = sk.IssueCode(token="t-stella", person="stella")
    assert refused(stand, own, kind="authenticator.code") == "own_enrolment"
    for name in ("rosa", "edgar", "hana", "olga", "ada"):
        ask = sk.IssueCode(token=f"t-{name}", person="holger")
        assert refused(stand, ask, kind="authenticator.code") == "role"


def test_a_code_is_for_one_person(stand: Any) -> None:
    code = stand.ask(sk.IssueCode(token="t-otto", person="holger")).code
    key, begun = begin(stand)
    assert refused(stand, handed_in(key, begun, code), kind="authenticator.enrol") == "enrolment_code_missing"


def test_a_code_ends_after_a_day_after_five_tries_and_with_the_next_code(stand: Any) -> None:
    key, begun = begin(stand)
    old = stand.ask(sk.IssueCode(token="t-otto", person="hana")).code
    code = stand.ask(sk.IssueCode(token="t-otto", person="hana")).code
    for wrong in (old, "", "000000-000000-000000-000000-000000", "ä", "x" * 4000):
        assert refused(stand, handed_in(key, begun, wrong), kind="authenticator.enrol") == "enrolment_code_wrong"
    assert refused(stand, handed_in(key, begun, code), kind="authenticator.enrol") == "enrolment_code_tries"
    code = stand.ask(sk.IssueCode(token="t-otto", person="hana")).code
    stand.clock.pass_(hours=24)
    begun = stand.ask(sk.BeginEnrolment(token="t-hana"))
    assert refused(stand, handed_in(key, begun, code), kind="authenticator.enrol") == "enrolment_code_late"


@pytest.mark.parametrize("spoil", ["origin", "challenge", "site", "nothing_verified", "garbage"])
def test_a_registration_for_another_site_or_moment_is_refused(stand: Any, spoil: str) -> None:
    code = stand.ask(sk.IssueCode(token="t-otto", person="hana")).code
    key, begun = begin(stand)
    message = handed_in(key, begun, code)
    options = {**begun.options, "rp": {"id": "evil.example"}} if spoil == "site" else begun.options
    if spoil == "challenge":
        options = {**options, "challenge": "A" * 43}
    origin = "http://localhost:1" if spoil == "origin" else begun.origin
    response: Any = key.register(options, origin=origin)
    if spoil == "garbage":
        response = {"id": "\u0000", "response": {"clientDataJSON": "e30", "attestationObject": "oA"}}
    if spoil == "nothing_verified":
        response = {**response, "response": {}}
    assert refused(stand, replace(message, response=response), kind="authenticator.enrol") == "security_key_invalid"
    assert stand.ask(handed_in(key, stand.ask(sk.BeginEnrolment(token="t-hana")), code)).person == "hana"


def test_a_key_without_a_name_is_no_enrolment(stand: Any) -> None:
    key, begun = begin(stand)
    with pytest.raises(InvalidError):
        stand.ask(replace(handed_in(key, begun, "x"), label=" "))


# ── signing with a security key ─────────────────────────────────────────────


def trusted(stand: Any, person: str, role: str) -> SoftwareAuthenticator:
    """The person's security key, put on the signed list by the operator."""
    from enclave.determination.certificate import decode
    from enclave.registry.trust import trust_expert

    key = enrolled(stand.ask, person, stand.keys)
    (shown,) = stand.ask(sk.ListSecurityKeys(token=f"t-{person}")).keys
    told = {"principal": person, "role": role, "demo": True}
    trust_expert(stand.auditd.home, public_key=decode(shown.public_key), at=stand.clock.now(), **told)
    return key


def asserted(stand: Any, key: SoftwareAuthenticator, certificate: m.Certificate, person: str) -> m.Certificate:
    asked = stand.ask(sk.AskSignature(token=f"t-{person}", id=certificate.id))
    answer = key.confirm(asked.options, origin=asked.origin)
    found: m.Certificate = stand.ask(sk.SubmitAssertion(token=f"t-{person}", id=certificate.id, assertion=answer))
    return found


@pytest.mark.row("S13.7")
def test_expert_and_steward_can_sign_with_security_keys_instead(stand: Any) -> None:
    stand.make_project()
    stand.make_candidate()
    signed = asserted(stand, trusted(stand, "edgar", "expert"), stand.draft(), "edgar")
    assert signed.state == "signed"
    asserted(stand, trusted(stand, "stella", "data_steward"), signed, "stella")
    assert stand.decide(stand.request()).state == "approved"
    (event,) = stand.auditd.events(kind="determination.sign", outcome="ok")
    assert len(event["detail"]["key_digest"]) == 64


def test_an_enrolled_key_that_is_not_on_the_list_signs_nothing(stand: Any) -> None:
    stand.make_candidate()
    draft = stand.draft()
    key = enrolled(stand.ask, "edgar", stand.keys)
    with pytest.raises(EnclaveError) as caught:
        asserted(stand, key, draft, "edgar")
    assert caught.value.code == "altered"
    (event,) = stand.auditd.events(kind="determination.sign", outcome="refused")
    assert event["reason"] == "altered"


def test_an_assertion_over_another_text_or_by_another_person_signs_nothing(stand: Any) -> None:
    stand.make_candidate()
    one, two = stand.draft(), stand.draft()
    key = trusted(stand, "edgar", "expert")
    asked = stand.ask(sk.AskSignature(token="t-edgar", id=one.id))
    answer = key.confirm(asked.options, origin=asked.origin)
    message = sk.SubmitAssertion(token="t-edgar", id=two.id, assertion=answer)
    assert refused(stand, message, kind="determination.sign") == "security_key_invalid"
    message = sk.SubmitAssertion(token="t-rosa", id=one.id, assertion=answer)
    assert refused(stand, message, kind="determination.sign") == "role"
    assert stand.ask(sk.SubmitAssertion(token="t-edgar", id=one.id, assertion=answer)).state == "signed"
    with pytest.raises((ConflictError, DeniedError)):
        stand.ask(sk.SubmitAssertion(token="t-edgar", id=one.id, assertion=answer))


def test_a_decision_made_for_a_release_is_no_signature(stand: Any, waiting: m.Release) -> None:
    """The two kinds of challenge can never be the same bytes: one hashes a text, the other an act with its nonce."""
    message = decision(stand.ask, waiting.id, stand.keys, person="hana")
    asked = stand.ask(sk.AskSignature(token="t-hana", id=stand.draft().id))
    assert message.assertion["response"]["clientDataJSON"] != asked.options["challenge"]


@pytest.mark.row("S10.4")
def test_a_confirmation_that_is_late_stays_late_when_the_clock_is_set_back(stand: Any, waiting: m.Release) -> None:
    message = stand.decision(waiting)
    stand.clock.pass_(minutes=5)
    assert refused(stand, message) == "step_up_late"
    stand.clock.pass_(minutes=-2)
    assert refused(stand, message) == "step_up_late"
    stand.clock.pass_(minutes=2, seconds=-3)
    assert refused(stand, message) == "step_up_late"


@pytest.mark.row("S10.4")
def test_a_code_that_is_late_stays_late_when_the_clock_is_set_back(stand: Any) -> None:
    key, begun = begin(stand)
    code = stand.ask(sk.IssueCode(token="t-otto", person="hana")).code
    stand.clock.pass_(hours=24)
    assert refused(stand, handed_in(key, begun, code), kind="authenticator.enrol") == "enrolment_code_late"
    stand.clock.pass_(hours=-2)
    assert refused(stand, handed_in(key, begun, code), kind="authenticator.enrol") == "enrolment_code_late"
