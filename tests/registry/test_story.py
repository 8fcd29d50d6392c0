"""From nothing to a released version, and what the ledger says about it."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from enclave.broker.facts import may_open as decide_lease
from enclave.core.errors import ConflictError, DeniedError, IntegrityError, InvalidError, UnavailableError
from enclave.policy.model import Actor
from enclave.wire.client import WireClient
from enclave.wire.messages import facts as fm
from enclave.wire.messages import grants as gm
from enclave.wire.messages import projects as pm
from enclave.wire.messages import registry as m

ROSA = Actor("rosa", frozenset({"researcher"}))


def may_open(stand: Any, *, actor: Actor = ROSA, project: str = "demo", version: int | None = None) -> str:
    reply = stand.facts(person=actor.name, project=project, version=version)
    (role,) = actor.roles
    return decide_lease(reply, person=actor.name, role=role, project=project, at=stand.clock.now()).reason


@pytest.mark.row("S13.1")
def test_a_member_may_open_what_was_signed_and_released(stand: Any) -> None:
    stand.release()
    assert may_open(stand) == "ok"
    assert [v.version for v in stand.ask(fm.AskProjectDatasets(person="rosa", project="demo")).versions] == [1]
    (grant,) = stand.ask(gm.ListGrants(token="t-ada", project="demo")).grants
    assert (grant.person, grant.state, grant.opens) == ("rosa", "active", "ok")
    assert (grant.requested_by, grant.decided_by) == ("stella", "hana")


def test_every_step_has_its_intent_before_its_outcome(stand: Any) -> None:
    stand.release()
    seen = [(e["kind"], e["outcome"]) for e in stand.auditd.events() if not e["kind"].startswith("audit.")]
    steps = ["project.create", "project.member_add", "version.register", "determination.draft"]
    steps += ["determination.sign", "release.request", "release.decide"]
    for step in steps:
        assert [outcome for kind, outcome in seen if kind == step] == ["intent", "ok"], step


@pytest.mark.row("S13.7")
def test_nobody_may_open_before_the_release(stand: Any) -> None:
    stand.make_project()
    stand.make_candidate()
    assert may_open(stand) == "not_released"
    stand.determine()
    assert may_open(stand) == "not_released"
    assert may_open(stand, version=1) == "not_released"
    release = stand.request()
    assert may_open(stand) == "not_released"
    stand.decide(release)
    assert may_open(stand) == "ok"
    assert may_open(stand, version=2) == "not_released"
    assert may_open(stand, project="other") == "project_not_open"


def test_a_lease_has_no_ground_after_expiry_and_none_again_when_the_clock_is_set_back(stand: Any) -> None:
    stand.release(days=10)
    stand.clock.pass_(days=9.9)
    assert may_open(stand) == "ok"
    stand.clock.pass_(days=0.1)
    assert may_open(stand) == "certificate_expired"
    stand.clock.pass_(days=-5)
    assert may_open(stand) == "certificate_expired"


def test_a_lease_has_no_ground_after_revocation_or_close(stand: Any) -> None:
    signed = stand.release(days=10)
    stand.clock.pass_(days=5)
    assert may_open(stand) == "ok"
    stand.ask(m.RevokeDetermination(token="t-hana", id=signed.id, reason="A new register was published."))
    assert may_open(stand) == "certificate_revoked"
    stand.ask(pm.CloseProject(token="t-stella", name="demo"))
    assert may_open(stand) == "project_not_open"


def test_expiry_is_marked_once_and_is_final(stand: Any) -> None:
    signed = stand.release(days=10)
    stand.clock.pass_(days=11)
    assert stand.ask(m.ShowDetermination(token="t-ada", id=signed.id)).state == "expired"
    stand.clock.pass_(days=-11)
    assert stand.ask(m.ShowDetermination(token="t-ada", id=signed.id)).state == "expired"
    assert may_open(stand) == "certificate_expired"
    assert len(stand.auditd.events(kind="determination.expire")) == 1


def test_a_removed_member_has_no_ground(stand: Any) -> None:
    stand.release()
    stand.ask(pm.RemoveMember(token="t-stella", name="demo", person="rosa"))
    assert may_open(stand) == "not_a_member"
    assert stand.ask(fm.ProjectsOf(person="rosa")).projects == ()


def test_a_certificate_for_other_recipients_releases_nothing(stand: Any) -> None:
    stand.make_project()
    stand.make_candidate()
    stand.determine(recipients=("elsewhere",))
    with pytest.raises(DeniedError) as caught:
        stand.request()
    assert caught.value.code == "certificate_not_covering"


def test_a_certificate_of_the_future_releases_nothing_yet(stand: Any) -> None:
    stand.make_project()
    stand.make_candidate()
    stand.determine(not_before="2026-12-01T00:00:00Z")
    with pytest.raises(DeniedError) as caught:
        stand.request()
    assert caught.value.code == "certificate_not_yet_valid"
    stand.clock.pass_(days=10)
    assert stand.request().state == "requested"


def test_a_newer_determination_replaces_the_one_it_names(stand: Any) -> None:
    old = stand.release()
    stand.clock.pass_(days=30)
    new = stand.determine(supersedes=old.id)
    assert new.state == "signed"
    assert stand.ask(m.ShowDetermination(token="t-ada", id=old.id)).state == "superseded"
    assert may_open(stand) == "ok"
    assert len(stand.auditd.events(kind="determination.supersede")) == 1


def test_a_determination_replaces_another_only_when_both_have_signed_it(stand: Any) -> None:
    old = stand.release()
    stand.clock.pass_(days=30)
    new = stand.sign(stand.draft(supersedes=old.id))
    assert stand.ask(m.ShowDetermination(token="t-ada", id=old.id)).state == "signed"
    assert may_open(stand) == "ok"
    assert stand.auditd.events(kind="determination.supersede") == []
    stand.countersign(new)
    assert stand.ask(m.ShowDetermination(token="t-ada", id=old.id)).state == "superseded"


def test_a_second_determination_that_only_its_expert_signed_does_not_count(stand: Any) -> None:
    stand.release()
    stand.clock.pass_(days=30)
    stand.sign(stand.draft())
    assert may_open(stand) == "ok"


def test_a_root_or_steward_that_is_not_the_versions_is_no_draft(stand: Any) -> None:
    stand.make_candidate()
    with pytest.raises(InvalidError):
        stand.draft(root="cd" * 32)
    with pytest.raises(InvalidError):
        stand.draft(steward="stefan")


def test_the_same_candidate_twice_is_one_and_another_content_is_a_conflict(stand: Any) -> None:
    assert stand.make_candidate() == stand.make_candidate()
    with pytest.raises(ConflictError):
        stand.ask(
            m.RegisterCandidate(
                dataset="demo-ct", version=1, content_root="cd" * 32, summary={}, steward="stella", review="optional"
            )
        )


def test_a_signature_by_another_key_is_refused_and_in_the_ledger(stand: Any) -> None:
    stand.make_candidate()
    draft = stand.draft()
    stand.signer = _Other()
    with pytest.raises(IntegrityError):
        stand.sign(draft)
    (event,) = stand.auditd.events(kind="determination.sign", outcome="refused")
    assert event["reason"] == "altered"


def test_demo_keys_count_only_where_settings_say_so(bare: Any) -> None:
    bare.start(allow_demo_keys=False)
    bare.make_candidate()
    with pytest.raises(IntegrityError):
        bare.sign(bare.draft())


def test_an_altered_trust_list_stops_the_registry(bare: Any) -> None:
    path = bare.auditd.home.state("registry") / "trusted_experts.json"
    path.write_bytes(path.read_bytes().replace(b"Edgar", b"Edgat"))
    with pytest.raises(IntegrityError):
        bare.start()


def test_without_a_ledger_nothing_changes(stand: Any) -> None:
    stand.make_project()
    stand.auditd.stop()
    with pytest.raises(UnavailableError):
        stand.ask(pm.CloseProject(token="t-stella", name="demo"))
    assert [p.state for p in stand.ask(fm.ProjectsOf(person="rosa")).projects] == ["open"]
    stand.auditd.start()
    assert stand.ask(pm.CloseProject(token="t-stella", name="demo")).state == "closed"


def test_an_act_that_waits_for_the_ledger_keeps_no_daemon_waiting(stand: Any) -> None:
    stand.release()
    stand.auditd.stop()
    other = WireClient(stand.auditd.home.socket("registryd"))
    waiting = threading.Thread(target=lambda: _refused(other, pm.CloseProject(token="t-stella", name="demo")))
    waiting.start()
    time.sleep(0.2)
    assert may_open(stand) == "ok"
    assert waiting.is_alive()
    waiting.join()
    other.close()


def _refused(client: WireClient, message: Any) -> None:
    with pytest.raises(UnavailableError):
        client.call(message)


def test_state_survives_a_restart(stand: Any) -> None:
    signed = stand.release()
    stand.stop()
    stand.start()
    assert may_open(stand) == "ok"
    assert stand.ask(m.ShowDetermination(token="t-ada", id=signed.id)).signature


def test_state_that_is_no_database_or_of_a_newer_release_stops_the_registry(bare: Any) -> None:
    folder = bare.auditd.home.state("registry")
    (folder / "state.db").write_bytes(b"no database" * 1000)
    with pytest.raises(IntegrityError):
        bare.start()
    (folder / "state.db").unlink()
    bare.start()
    bare.daemon._store.change("pragma user_version = 99")
    bare.stop()
    with pytest.raises(ConflictError):
        bare.start()


def test_an_engaged_expert_may_look_at_the_candidate_but_nobody_else(stand: Any) -> None:
    edgar = Actor("edgar", frozenset({"expert"}))
    stand.make_candidate()
    draft = stand.draft()
    assert may_open(stand, actor=edgar, project="") == "no_engagement"
    stand.ask(m.BeginAssessment(token="t-edgar", id=draft.id))
    assert [e.version for e in stand.ask(fm.AskEngagements(person="edgar")).engagements] == [1]
    assert may_open(stand, actor=edgar, project="", version=1) == "ok"
    assert may_open(stand, actor=Actor("eva", frozenset({"expert"})), project="", version=1) == "no_engagement"
    assert may_open(stand, version=1, project="") == "project_not_open"
    stand.clock.pass_(days=31)
    assert may_open(stand, actor=edgar, project="", version=1) == "engagement_over"


def test_a_declined_determination_ends_there(stand: Any) -> None:
    stand.make_project()
    stand.make_candidate()
    draft = stand.draft()
    done = stand.ask(m.DeclineDetermination(token="t-edgar", id=draft.id, reason="k is too small."))
    assert (done.state, done.reason) == ("declined", "k is too small.")
    with pytest.raises(ConflictError):
        stand.sign(draft)
    with pytest.raises(DeniedError):
        stand.request()


class _Other:
    public_key = b""

    def sign(self, message: bytes) -> bytes:
        return bytes(64)
