"""The document: what is signed, what counts as altered, who is trusted, when it holds."""

from __future__ import annotations

import hashlib
import json
import re
import string
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statements import EVIDENCE, TERMS

from enclave.core.canonical import canonical_bytes
from enclave.core.clock import format_time
from enclave.core.errors import ConflictError, DeniedError, EnclaveError, IntegrityError, InvalidError
from enclave.core.ids import VersionName
from enclave.determination.certificate import (
    Certificate,
    Expert,
    ReleaseTerms,
    Signature,
    SignedCertificate,
    certificate_text,
    countersigned_bytes,
    pack,
    parse_certificate,
    unpack,
)
from enclave.determination.completeness import STATEMENTS, check_complete, missing
from enclave.determination.drafting import draft_certificate, parse_draft_config
from enclave.determination.states import MOVED_BY, STATES, TRANSITIONS, check_move, may_move
from enclave.determination.trust import TrustedExpert, TrustList, pack_trust, parse_revoked, unpack_trust
from enclave.determination.verification import REASONS, Verification, countersigned, verify, verify_file
from enclave.keys.files import new_ed25519
from enclave.keys.sign import Signer, open_signer
from enclave.keys.software_authenticator import SoftwareAuthenticator
from enclave.keys.webauthn import RelyingParty

pytestmark = pytest.mark.row("S13.7")

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LETTERS = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"
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
    return pack(SignedCertificate(text, Signature(public_key=signer.public_key, value=signer.sign(text))))


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


@pytest.mark.parametrize("reason", [reason for reason in REASONS if reason != "ok"])
def test_each_reason_says_what_to_do(reason: Any) -> None:
    with pytest.raises((DeniedError, IntegrityError)) as caught:
        Verification(valid=False, reason=reason, expires=None).check()
    assert caught.value.code == reason
    assert re.fullmatch(r"certificate: wanted a valid one, got [a-z ]+; .+", caught.value.message)


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


# ── what it must state, and the steward's counter-signature ─────────────────


def complete(**changes: Any) -> Certificate:
    config, free = parse_draft_config(D_TOML)
    terms = ReleaseTerms(model="enclave", recipients=("demo",), **TERMS)
    found = draft_certificate(
        replace(config, release=terms),
        free,
        certificate_id="0" * 32,
        name=VersionName("demo-ct", 1),
        content_root=ROOT,
        steward="stella",
        evidence=EVIDENCE,
        at=NOW,
    )
    return replace(found, **changes)


def without(certificate: Certificate, statement: str) -> Certificate:
    """The same with this one statement empty."""
    section, _, name = statement.partition(".")
    held = getattr(certificate, section)
    if not name:
        return replace(certificate, **{section: type(held)()})
    if isinstance(held, dict):
        return replace(certificate, **{section: {key: value for key, value in held.items() if key != name}})
    return replace(certificate, **{section: replace(held, **{name: type(getattr(held, name))()})})


def test_a_complete_certificate_lacks_nothing() -> None:
    assert missing(complete()) == ()
    check_complete(complete())


@pytest.mark.parametrize("statement", STATEMENTS)
def test_each_statement_that_is_not_made_is_named(statement: str) -> None:
    assert missing(without(complete(), statement)) == (statement,)
    with pytest.raises(InvalidError, match=statement) as caught:
        check_complete(without(complete(), statement))
    assert caught.value.code == "certificate_incomplete"


@pytest.mark.parametrize(
    ("statement", "value"),
    [
        ("counts.rows", -1),
        ("counts.rows", True),
        ("counts.series", "60"),
        ("deidentification.option_codes", ["basic"]),
        ("deidentification.option_codes", []),
        ("deidentification.recipe_sha256", "AB" * 32),
        ("assumptions.sampling_fraction", 0),
        ("assumptions.sampling_fraction", 1.5),
        ("assumptions.adversary", "  "),
        ("thresholds.justification", ""),
        ("results.after", {}),
    ],
)
def test_a_statement_in_another_form_says_nothing(statement: str, value: Any) -> None:
    section, _, name = statement.partition(".")
    found = complete()
    assert missing(replace(found, **{section: {**getattr(found, section), name: value}})) == (statement,)


def test_a_trigger_that_nobody_looks_for_is_none() -> None:
    assert missing(complete(triggers=("moon_is_full",))) == ("triggers",)


def countersigned_file(expert: Signer, steward: Signer) -> tuple[SignedCertificate, Any]:
    text = certificate_text(complete())
    signature = Signature(public_key=expert.public_key, value=expert.sign(text))
    counter = Signature(public_key=steward.public_key, value=steward.sign(countersigned_bytes(text, signature)))
    return SignedCertificate(text, signature, counter), TrustedExpert(
        principal="stella", public_key=steward.public_key, role="data_steward"
    )


@pytest.fixture(scope="module")
def steward(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    path = tmp_path_factory.mktemp("keys") / "stella.key"
    new_ed25519(path)
    return open_signer(f"file:{path}")


def test_the_stewards_counter_signature_is_over_the_text_and_the_experts_signature(
    signer: Signer, steward: Signer
) -> None:
    signed, listed = countersigned_file(signer, steward)
    assert judge(pack(signed), signer).valid
    assert unpack(pack(signed)) == signed
    assert countersigned(signed, trusted=(listed,), at=NOW)
    again = replace(signed, signature=replace(signed.signature, value=bytes(64)))
    assert not countersigned(again, trusted=(listed,), at=NOW)
    assert not countersigned(replace(signed, countersignature=None), trusted=(listed,), at=NOW)


def test_a_counter_signature_that_does_not_fit_is_an_altered_file(signer: Signer, steward: Signer) -> None:
    signed, _ = countersigned_file(signer, steward)
    other = replace(signed, countersignature=replace(signed.countersignature, value=bytes(64)))
    assert judge(pack(other), signer).reason == "altered"


@pytest.mark.parametrize(
    "changes",
    [
        {"role": "expert"},
        {"principal": "stefan"},
        {"not_after": format_time(NOW)},
        {"not_before": format_time(NOW + timedelta(seconds=1))},
        {"public_key": bytes(32)},
    ],
    ids=str,
)
def test_a_counter_signature_counts_by_the_stewards_own_key_in_its_time(
    signer: Signer, steward: Signer, changes: dict[str, Any]
) -> None:
    signed, listed = countersigned_file(signer, steward)
    assert not countersigned(signed, trusted=(replace(listed, **changes),), at=NOW)


def test_a_stewards_key_is_no_experts(signer: Signer, steward: Signer) -> None:
    text = certificate_text(complete())
    data = pack(SignedCertificate(text, Signature(public_key=steward.public_key, value=steward.sign(text))))
    listed = TrustedExpert(principal="edgar", public_key=steward.public_key, role="data_steward")
    assert judge(data, signer, trusted=(listed,)).reason == "untrusted_expert"


def test_an_assertion_of_a_security_key_signs_as_well(tmp_path: Path, signer: Signer) -> None:
    text = certificate_text(complete())
    site, key = RelyingParty("http://localhost:8000"), SoftwareAuthenticator.make(tmp_path / "edgar.key")
    made = key.register(site.creation_options("edgar", challenge=bytes(32), known=()), origin=site.origin)
    credential = site.check_registration(made, challenge=bytes(32))
    digest = hashlib.sha256(text).digest()
    answer = key.confirm(site.request_options(challenge=digest, known=[credential.id]), origin=site.origin)
    packed = site.check_assertion(answer, challenge=digest, credentials=[credential]).packed
    signature = Signature(public_key=credential.public_key, value=packed, algorithm="WebAuthn")
    listed = TrustedExpert(principal="edgar", public_key=credential.public_key)
    assert judge(pack(SignedCertificate(text, signature)), signer, trusted=(listed,)).reason == "ok"
    other = certificate_text(complete(conditions=("none",)))
    assert judge(pack(SignedCertificate(other, signature)), signer, trusted=(listed,)).reason == "altered"
    assert judge(pack(SignedCertificate(text, signature)), signer).reason == "untrusted_expert"
    parts = json.loads(packed)
    held = parts["authenticator_data"]  # 37 bytes: four bits of the last letter say nothing
    assert held.endswith("==")
    parts["authenticator_data"] = held[:-3] + LETTERS[LETTERS.index(held[-3]) ^ 1] + "=="
    respelled = replace(signature, value=canonical_bytes(parts))
    assert judge(pack(SignedCertificate(text, respelled)), signer, trusted=(listed,)).reason == "altered"


# ── who would have it say something else ────────────────────────────────────


def leaves_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [leaf for key, one in parts for leaf in leaves_of(one, (*path, key))] or [path]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_statement_can_be_changed_under_signatures_that_stay(signer: Signer, steward: Signer, data: Any) -> None:
    signed, _ = countersigned_file(signer, steward)
    document = json.loads(pack(signed))
    path = data.draw(st.sampled_from(leaves_of(document)))
    held = document
    for key in path[:-1]:
        held = held[key]
    other = data.draw(st.sampled_from([None, 0, 1, "", "x", "demo-mr", [], {}, "2099-01-01T00:00:00.000000Z", True]))
    if held[path[-1]] == other and type(held[path[-1]]) is type(other):
        return
    held[path[-1]] = other
    assert judge(canonical_bytes(document), signer).reason == "altered", path


BEYOND_TIME = ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-14:00")


@pytest.mark.parametrize("name", ["drafted", "not_before", "expires"])
@pytest.mark.parametrize("time", BEYOND_TIME)
def test_a_time_beyond_all_calendars_is_altered_and_no_accident(signer: Signer, name: str, time: str) -> None:
    text = canonical_bytes(json.loads(certificate_text(certificate())) | {name: time})
    signed = SignedCertificate(text, Signature(public_key=signer.public_key, value=signer.sign(text)))
    assert judge(pack(signed), signer).reason == "altered"
    assert verify(signed, content_root=ROOT, trusted=(), revoked=frozenset(), at=NOW).reason == "altered"


@pytest.mark.parametrize(
    "validity", ["days = 999999999999", "not_before = '9999-12-31T00:00:00Z'", "days = -999999999"]
)
def test_a_validity_beyond_all_calendars_is_refused(validity: str) -> None:
    config, free = parse_draft_config(D_TOML.replace("days = 30", validity))
    with pytest.raises(InvalidError):
        draft_certificate(
            config,
            free,
            certificate_id="0" * 32,
            name=VersionName("demo-ct", 1),
            content_root=ROOT,
            steward="stella",
            evidence={},
            at=NOW,
        )


def test_a_text_that_claims_its_own_counter_signature_is_neither_drafted_nor_believed(signer: Signer) -> None:
    with pytest.raises(InvalidError):
        certificate_text(certificate(countersignature={"by": "stella"}))
    text = canonical_bytes(json.loads(certificate_text(certificate())) | {"countersignature": {"by": "stella"}})
    signed = SignedCertificate(text, Signature(public_key=signer.public_key, value=signer.sign(text)))
    assert judge(pack(signed), signer).reason == "altered"


def test_signatures_of_another_certificate_are_none_of_this_one(signer: Signer, steward: Signer) -> None:
    signed, listed = countersigned_file(signer, steward)
    text = certificate_text(complete(conditions=("none",)))
    moved = replace(signed, text=text)
    assert judge(pack(moved), signer).reason == "altered"
    own = Signature(public_key=signer.public_key, value=signer.sign(text))
    assert judge(pack(SignedCertificate(text, own, signed.countersignature)), signer).reason == "altered"
    assert not countersigned(SignedCertificate(text, own, signed.countersignature), trusted=(listed,), at=NOW)
    swapped = replace(signed, signature=signed.countersignature, countersignature=signed.signature)
    assert judge(pack(swapped), signer, trusted=(listed,)).reason == "altered"


def test_an_experts_signature_is_no_counter_signature_even_of_a_person_who_is_both(signer: Signer) -> None:
    text = certificate_text(complete())
    own = Signature(public_key=signer.public_key, value=signer.sign(text))
    both = TrustedExpert(principal="stella", public_key=signer.public_key, role="data_steward")
    assert not countersigned(SignedCertificate(text, own, own), trusted=(both,), at=NOW)


def test_time_begins_at_its_first_microsecond_and_ends_before_its_last(signer: Signer) -> None:
    data, tick, end = signed_file(signer), timedelta(microseconds=1), NOW + timedelta(days=30)
    found = [judge(data, signer, at=at).reason for at in (NOW - tick, NOW, end - tick, end)]
    assert found == ["not_yet_valid", "ok", "ok", "expired"]


HIDING = {
    "right to left": "k is \u202e11\u202c",
    "isolate": "\u2066no linkage\u2069",
    "zero width": "no\u200b linkage",
    "soft hyphen": "no\u00ad linkage",
    "escape": "no linkage\x1b[2K",
    "one byte escape": "no linkage\x9b2K",
    "carriage return": "no linkage\rany linkage",
    "line separator": "no linkage\u2028any",
    "tag letter": "no linkage\U000e0041",
    "private use": "no linkage\ue000",
}


@pytest.mark.parametrize("text", HIDING.values(), ids=HIDING)
def test_text_that_hides_what_it_says_is_neither_drafted_nor_believed(signer: Signer, text: str) -> None:
    for changes in ({"conditions": (text,)}, {"thresholds": {"k": 11, text: 1}}, {"results": {"after": [{"a": text}]}}):
        with pytest.raises(InvalidError) as caught:
            certificate_text(certificate(**changes))
        assert text not in caught.value.message
    plain = certificate_text(certificate(conditions=("PLACE",)))
    told = canonical_bytes(json.loads(plain.replace(b"PLACE", json.dumps(text)[1:-1].encode())))
    signed = SignedCertificate(told, Signature(public_key=signer.public_key, value=signer.sign(told)))
    assert verify(signed, content_root=ROOT, trusted=(), revoked=frozenset(), at=NOW).reason == "altered"


def test_text_of_any_script_may_be_signed(signer: Signer) -> None:
    said = (
        "Zoë Müller, 42 % – §\u00a0164.514",
        "می\u200cخواهم",
        "क्\u200dष",
        "日本語 עברית",
        "two\nlines\tand a tab",
        "🙂",
    )
    assert judge(signed_file(signer, conditions=said), signer).valid
