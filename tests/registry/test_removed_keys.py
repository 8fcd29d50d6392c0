"""A key that was taken off the list signs nothing any more, and what it signed holds no longer."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from enclave.broker.facts import may_open
from enclave.cli.determination_trust import distrust_key, trust_key
from enclave.core.clock import format_time
from enclave.core.errors import ConflictError, IntegrityError, InvalidError, NotFoundError, UnavailableError
from enclave.keys.files import new_ed25519
from enclave.keys.sign import Signer, open_signer
from enclave.registry.trust import read_trust, trust_expert, trust_file
from enclave.wire.messages import registry as m

pytestmark = pytest.mark.row("S13.7")


def hash_of(signer: Signer) -> str:
    return hashlib.sha256(signer.public_key).hexdigest()


def opens(stand: Any) -> str:
    return may_open(stand.facts(), person="rosa", role="researcher", project="demo", at=stand.clock.now()).reason


def distrust(stand: Any, signer: Signer, *, reason: str = "CANARY-STOLEN", ticket: str = "CHG-9") -> str:
    return distrust_key(stand.auditd.home, key_hash=hash_of(signer), reason=reason, ticket=ticket)


def test_what_an_experts_removed_key_signed_holds_no_longer_and_opens_nothing(stand: Any) -> None:
    signed = stand.release()
    assert opens(stand) == "ok"
    assert distrust(stand, stand.signer) == "edgar"
    assert opens(stand) == "certificate_untrusted_expert"
    found = stand.ask(m.ShowDetermination(token="t-ada", id=signed.id))
    assert found.text == signed.text  # it stays to be read
    stand.make_candidate(version=2)
    with pytest.raises(IntegrityError) as refused:
        stand.determine(version=2)
    assert refused.value.code == "altered"
    assert stand.auditd.events(kind="determination.sign", outcome="refused")
    told = stand.auditd.events(kind="admin.distrust_expert")
    assert [(e["outcome"], e["ticket"]) for e in told] == [("intent", "CHG-9"), ("ok", "CHG-9")]
    detail = {"expert": "edgar", "signs_as": "expert", "demo": True, "key_hash": hash_of(stand.signer)}
    assert told[0]["detail"] == detail
    assert stand.auditd.events(kind="determination.trust")[-1]["detail"]["removed"] == 1
    assert "CANARY-STOLEN" not in repr(stand.auditd.events())


def test_what_a_stewards_removed_key_countersigned_holds_no_longer(stand: Any) -> None:
    stand.release()
    assert distrust(stand, stand.steward) == "stella"
    assert opens(stand) == "certificate_not_countersigned"


def test_the_others_keys_go_on_and_a_removed_one_does_not_come_back(stand: Any) -> None:
    stand.release()
    path = stand.auditd.home.root / "keys" / "new.key"
    told: dict[str, Any] = {"principal": "edgar", "name": "Edgar Example", "demo": True}
    trust_key(stand.auditd.home, public_key=new_ed25519(path), **told)
    distrust(stand, open_signer(f"file:{path}"))
    assert opens(stand) == "ok"  # it had signed nothing
    with pytest.raises(ConflictError):
        trust_key(stand.auditd.home, public_key=open_signer(f"file:{path}").public_key, **told)
    assert stand.auditd.events(kind="admin.trust_expert")[-1]["outcome"] == "refused"


def test_a_key_is_removed_once_and_only_when_it_is_there_and_with_a_reason(stand: Any, tmp_path: Path) -> None:
    new_ed25519(tmp_path / "other.key")
    with pytest.raises(NotFoundError):
        distrust(stand, open_signer(f"file:{tmp_path / 'other.key'}"))
    with pytest.raises(InvalidError):
        distrust(stand, stand.signer, reason=" ")
    distrust(stand, stand.signer)
    with pytest.raises(ConflictError):
        distrust(stand, stand.signer)
    told = [(e["outcome"], e.get("reason")) for e in stand.auditd.events(kind="admin.distrust_expert")]
    assert told == [
        *(("intent", None), ("refused", "not_found")),
        *(("intent", None), ("ok", None)),
        *(("intent", None), ("refused", "conflict")),
    ]


def test_without_a_ledger_no_key_is_removed(stand: Any) -> None:
    before = trust_file(stand.auditd.home).read_bytes()
    stand.auditd.stop()
    with pytest.raises(UnavailableError):
        distrust(stand, stand.signer)
    assert trust_file(stand.auditd.home).read_bytes() == before
    stand.auditd.start()


def test_the_list_says_when_a_key_was_removed_and_ends_it_for_verifiers_of_before(stand: Any) -> None:
    distrust(stand, stand.signer)
    (removed,) = [one for one in read_trust(stand.auditd.home).experts if one.removed]
    assert removed.public_key == stand.signer.public_key
    assert removed.not_after == removed.removed == read_trust(stand.auditd.home).issued


def test_an_older_list_put_back_brings_no_removed_key_back_and_is_told_once(stand: Any) -> None:
    stand.release()
    path = trust_file(stand.auditd.home)
    older = path.read_bytes()
    distrust(stand, stand.signer)
    assert opens(stand) == "certificate_untrusted_expert"
    newest = path.read_bytes()
    for put in (lambda: path.write_bytes(older), path.unlink):
        put()
        for _ in range(2):
            with pytest.raises(IntegrityError):
                stand.facts()
    refused = stand.auditd.events(kind="determination.trust", outcome="refused")
    assert [event["reason"] for event in refused] == ["older_list"] * 2
    path.write_bytes(newest)
    assert opens(stand) == "certificate_untrusted_expert"


def test_a_key_whose_time_is_over_signs_nothing_more(stand: Any) -> None:
    path = stand.auditd.home.root / "keys" / "short.key"
    until = format_time(stand.clock.now() + timedelta(days=1))
    key: dict[str, Any] = {"principal": "stella", "role": "data_steward", "demo": True, "not_after": until}
    trust_expert(stand.auditd.home, public_key=new_ed25519(path), at=stand.clock.now(), **key)
    stand.make_candidate()
    signed = stand.sign(stand.draft())
    stand.steward = open_signer(f"file:{path}")
    stand.clock.pass_(days=2)
    with pytest.raises(IntegrityError):
        stand.countersign(signed)
