"""What a release can rest on: every statement made, the expert's signature, the data steward's under it."""

from __future__ import annotations

from typing import Any

import pytest
from statements import EVIDENCE

from enclave.broker.facts import may_open
from enclave.core.errors import ConflictError, DeniedError, IntegrityError, InvalidError
from enclave.determination.certificate import encode
from enclave.wire.messages import registry as m
from enclave.wire.messages.determination import SubmitCountersignature

pytestmark = pytest.mark.row("S13.7")


def prepared(stand: Any, **changes: Any) -> m.Certificate:
    stand.make_project()
    stand.make_candidate()
    signed: m.Certificate = stand.sign(stand.draft(**changes))
    return signed


def refusal(stand: Any) -> str:
    with pytest.raises(DeniedError) as caught:
        stand.request()
    (*_, event) = stand.auditd.events(kind="release.request", outcome="refused")
    assert event["reason"] == caught.value.code
    return caught.value.code


def test_no_release_without_the_data_stewards_counter_signature(stand: Any) -> None:
    signed = prepared(stand)
    assert refusal(stand) == "certificate_not_countersigned"
    assert stand.countersign(signed).countersignature
    assert stand.request().state == "requested"
    assert [event["outcome"] for event in stand.auditd.events(kind="determination.countersign")] == ["intent", "ok"]


def test_another_steward_does_not_countersign(stand: Any) -> None:
    signed = prepared(stand)
    with pytest.raises(DeniedError) as caught:
        stand.countersign(signed, token="t-stefan")
    assert caught.value.code == "not_named_steward"
    assert refusal(stand) == "certificate_not_countersigned"


def test_a_key_that_is_not_the_stewards_countersigns_nothing(stand: Any) -> None:
    signed = prepared(stand)
    stand.steward = stand.signer  # the expert's own key
    with pytest.raises(IntegrityError):
        stand.countersign(signed)
    with pytest.raises(IntegrityError):
        value = encode(bytes(64))
        stand.ask(SubmitCountersignature(token="t-stella", id=signed.id, signature=value))
    refused = stand.auditd.events(kind="determination.countersign", outcome="refused")
    assert [event["reason"] for event in refused] == ["altered", "altered"]


def test_it_comes_after_the_signature_and_once(stand: Any) -> None:
    stand.make_candidate()
    draft = stand.draft()
    with pytest.raises(ConflictError) as caught:
        stand.ask(SubmitCountersignature(token="t-stella", id=draft.id, signature=encode(bytes(64))))
    assert caught.value.code == "determination_state"
    signed = stand.sign(draft)
    stand.countersign(signed)
    with pytest.raises(ConflictError) as caught:
        stand.countersign(signed)
    assert caught.value.code == "countersigned"


def test_a_demonstrations_key_countersigns_nothing_where_production_settings_hold(stand: Any) -> None:
    stand.release()
    stand.stop()
    stand.start(allow_demo_keys=False)
    found = stand.facts()
    decision = may_open(found, person="rosa", role="researcher", project="demo", at=stand.clock.now())
    assert decision.reason == "certificate_untrusted_expert"


@pytest.mark.parametrize("section", sorted(EVIDENCE))
def test_a_draft_that_does_not_say_all_is_not_taken(stand: Any, section: str) -> None:
    stand.make_candidate()
    with pytest.raises(InvalidError, match=section) as caught:
        stand.draft(evidence={section: {}})
    assert caught.value.code == "certificate_incomplete"
    (event,) = stand.auditd.events(kind="determination.draft", outcome="failed")
    assert event["reason"] == "certificate_incomplete"


def test_a_purpose_that_the_terms_do_not_name_opens_nothing(stand: Any) -> None:
    stand.make_project()
    stand.make_candidate()
    stand.determine(purposes=("To sell.",))
    assert refusal(stand) == "certificate_purpose_not_covered"


def test_any_purpose_can_be_said_to_be_covered(stand: Any) -> None:
    stand.make_project()
    stand.make_candidate()
    stand.determine(purposes=("*",))
    assert stand.request().state == "requested"
