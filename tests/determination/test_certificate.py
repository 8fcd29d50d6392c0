"""The document: what is signed, what counts as altered, who is trusted, when it holds."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave.core.clock import format_time
from enclave.core.errors import ConflictError, DeniedError, EnclaveError, IntegrityError, InvalidError
from enclave.core.ids import VersionName
from enclave.determination.certificate import (
    Certificate,
    Expert,
    ReleaseTerms,
    SignedCertificate,
    certificate_text,
    pack,
    parse_certificate,
    unpack,
)
from enclave.determination.drafting import draft_certificate, parse_draft_config
from enclave.determination.states import MOVED_BY, STATES, TRANSITIONS, check_move, may_move
from enclave.determination.trust import TrustedExpert, TrustList, pack_trust, parse_revoked, unpack_trust
from enclave.determination.verification import REASONS, Verification, verify_file
from enclave.keys.files import new_ed25519
from enclave.keys.sign import Signer, open_signer

pytestmark = pytest.mark.row("S13.7")

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ROOT = "ab" * 32
D_TOML = """
conditions = ["no linkage to registers"]
[expert]
principal = "edgar"
name = "Edgar Example"
qualification = "statistician"
independence = "no part in the study"
engagement = "E-1"
[release]
model = "enclave"
recipients = ["demo"]
[validity]
days = 30
[thresholds]
k = 11
justification = "customary"
[assumptions]
sampling_fraction = 0.01
"""


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    path = tmp_path_factory.mktemp("keys") / "edgar.key"
    new_ed25519(path)
    return open_signer(f"file:{path}")


def certificate(**changes: Any) -> Certificate:
    config, free = parse_draft_config(D_TOML)
    found = draft_certificate(
        config,
        free,
        certificate_id="0" * 32,
        name=VersionName("demo-ct", 1),
        content_root=ROOT,
        steward="stella",
        evidence={"results": {"after": {"k": 11}}},
        at=NOW,
    )
    return replace(found, **changes)


def signed_file(signer: Signer, **changes: Any) -> bytes:
    text = certificate_text(certificate(**changes))
    return pack(SignedCertificate(text, signer.public_key, signer.sign(text)))


def judge(data: bytes, signer: Signer, **changes: Any) -> Verification:
    asked: dict[str, Any] = {
        "content_root": ROOT,
        "version": "demo-ct@1",
        "trusted": (TrustedExpert(principal="edgar", public_key=signer.public_key),),
        "revoked": frozenset(),
        "at": NOW,
    }
    return verify_file(data, **(asked | changes))


def test_what_was_signed_holds(signer: Signer) -> None:
    found = judge(signed_file(signer), signer)
    assert (found.valid, found.reason, found.expires) == (True, "ok", format_time(NOW + timedelta(days=30)))


def test_any_byte_changed_is_altered(signer: Signer) -> None:
    data = signed_file(signer)
    for place in range(len(data)):
        for bit in (0x01, 0x20):
            other = bytes([*data[:place], data[place] ^ bit, *data[place + 1 :]])
            assert judge(other, signer).reason == "altered", place


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_byte_added_or_taken_is_altered(signer: Signer, data: Any) -> None:
    whole = signed_file(signer)
    place = data.draw(st.integers(0, len(whole) - 1))
    added = whole[:place] + bytes([data.draw(st.integers(0, 255))]) + whole[place:]
    assert judge(added, signer).reason == "altered"
    assert judge(whole[:place] + whole[place + 1 :], signer).reason == "altered"


@given(st.binary(max_size=300))
def test_anything_else_is_altered(signer: Signer, data: bytes) -> None:
    assert judge(data, signer).reason == "altered"


def test_each_reason_is_found(signer: Signer, tmp_path: Path) -> None:
    data, other = signed_file(signer), new_ed25519(tmp_path / "other.key")
    seen = {
        judge(data, signer).reason,
        judge(b"{}", signer).reason,
        judge(data, signer, at=NOW + timedelta(days=30)).reason,
        judge(data, signer, at=NOW - timedelta(seconds=1)).reason,
        judge(data, signer, revoked=frozenset({"0" * 32})).reason,
        judge(data, signer, content_root="cd" * 32).reason,
        judge(data, signer, trusted=(TrustedExpert(principal="edgar", public_key=other),)).reason,
    }
    assert seen == set(REASONS)


def test_another_version_of_the_same_root_is_not_what_was_signed(signer: Signer) -> None:
    assert judge(signed_file(signer), signer, version="demo-ct@2").reason == "other_root"


def test_trust_is_for_one_person_and_a_time(signer: Signer) -> None:
    data = signed_file(signer)
    for changes in (
        {"principal": "eva"},
        {"not_before": format_time(NOW + timedelta(seconds=1))},
        {"not_after": format_time(NOW)},
    ):
        expert = replace(TrustedExpert(principal="edgar", public_key=signer.public_key), **changes)
        assert judge(data, signer, trusted=(expert,)).reason == "untrusted_expert", changes
    assert judge(data, signer, trusted=(TrustedExpert(principal="", public_key=signer.public_key),)).valid


def test_an_unsigned_draft_convinces_nobody(signer: Signer) -> None:
    data = pack(SignedCertificate(certificate_text(certificate())))
    assert judge(data, signer).reason == "untrusted_expert"
    assert unpack(data).signature is None


def test_the_exit_family_follows_the_reason(signer: Signer) -> None:
    data = signed_file(signer)
    judge(data, signer).check()
    with pytest.raises(DeniedError):
        judge(data, signer, at=NOW + timedelta(days=31)).check()
    with pytest.raises(IntegrityError):
        judge(data, signer, content_root="cd" * 32).check()


def test_the_text_has_one_spelling(signer: Signer) -> None:
    text = certificate_text(certificate())
    assert certificate_text(parse_certificate(text)) == text
    with pytest.raises(InvalidError):
        parse_certificate(json.dumps(json.loads(text)).encode())


def test_what_is_declared_and_what_was_measured_stand_in_the_text() -> None:
    found = json.loads(certificate_text(certificate()))
    assert found["thresholds"] == {"k": 11, "justification": "customary"}
    assert found["assumptions"] == {"sampling_fraction": 0.01}
    assert found["results"] == {"after": {"k": 11}}
    assert found["conditions"] == ["no linkage to registers"]


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "1"},
        {"schema": "other"},
        {"content_root": "AB" * 32},
        {"version": 0},
        {"steward": ""},
        {"expert": Expert(principal="edgar", name=" ", qualification="q", independence="i", engagement="e")},
        {"release": ReleaseTerms(model="m", recipients=())},
        {"expires": format_time(NOW)},
        {"expires": "2027-01-01"},
        {"not_before": "2026-11-22T12:00:00Z"},
        {"supersedes": "x"},
    ],
    ids=str,
)
def test_an_incomplete_certificate_is_no_certificate(changes: Any) -> None:
    with pytest.raises(InvalidError):
        certificate_text(certificate(**changes))


@pytest.mark.parametrize("text", ["expert = 1", "[expert]\nname = 'x'", "[nonsense]\na = 1", "x", "thresholds = 3"])
def test_bad_declarations_are_refused(text: str) -> None:
    with pytest.raises(InvalidError):
        parse_draft_config(text)


def test_the_trust_list_is_the_registrys_word(signer: Signer, tmp_path: Path) -> None:
    trust = TrustList(
        issued=format_time(NOW), experts=(TrustedExpert(principal="edgar", public_key=signer.public_key, demo=True),)
    )
    data = pack_trust(trust, sign=signer.sign, public_key=signer.public_key)
    assert unpack_trust(data, issuer=signer.public_key) == trust == unpack_trust(data, issuer=None)
    with pytest.raises(IntegrityError):
        unpack_trust(data, issuer=new_ed25519(tmp_path / "other.key"))
    for place in range(len(data)):
        with pytest.raises(EnclaveError):
            unpack_trust(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :], issuer=signer.public_key)


def test_revocations_are_read_in_both_forms() -> None:
    assert parse_revoked(b'["a", "b"]') == parse_revoked(b'{"revoked": [{"id": "a"}, {"id": "b"}]}') == {"a", "b"}
    for bad in (b"3", b'{"revoked": 3}', b"[3]", b"x"):
        with pytest.raises(InvalidError):
            parse_revoked(bad)


def test_every_step_that_is_not_in_the_table_is_a_conflict() -> None:
    for old in STATES:
        for new in STATES:
            if new in TRANSITIONS[old]:
                check_move(old, new)
            else:
                with pytest.raises(ConflictError) as caught:
                    check_move(old, new)
                assert caught.value.code == "determination_state"
    assert not may_move("nonsense", "signed")


def test_the_tables_of_steps_and_movers_are_total() -> None:
    assert set(TRANSITIONS) == set(STATES)
    assert set(MOVED_BY) == {(old, new) for old, after in TRANSITIONS.items() for new in after}
