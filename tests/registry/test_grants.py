"""Grants: steward and broker together give them, either takes them away, and membership alone opens nothing."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from people import ROLES
from registry_layouts import back_to
from typer.testing import CliRunner

from enclave.broker.facts import may_open
from enclave.cli import grant as command
from enclave.core.errors import ConflictError, DeniedError, EnclaveError, InvalidError
from enclave.policy.model import Actor
from enclave.registry.store import RegistryStore
from enclave.wire.client import call_once
from enclave.wire.messages import facts as fm
from enclave.wire.messages import grants as gm
from enclave.wire.messages import projects as pm
from enclave.wire.messages import registry as m
from enclave.wire.messages.determination import ReaffirmDetermination

pytestmark = pytest.mark.row("S7.1")


def opens(stand: Any, person: str, *, version: int | None = None) -> str:
    found = stand.facts(person=person, version=version)
    return may_open(found, person=person, role="researcher", project="demo", at=stand.clock.now()).reason


def join(stand: Any, person: str = "ruth") -> None:
    stand.ask(pm.AddMember(token="t-stella", name="demo", person=person))


def asked(stand: Any, *, person: str = "ruth", until: str = "", by: str = "stella", version: int = 1) -> gm.Grant:
    message = gm.RequestGrant(
        token=f"t-{by}", dataset="demo-ct", version=version, project="demo", person=person, until=until
    )
    found: gm.Grant = stand.ask(message)
    return found


def decided(stand: Any, grant: gm.Grant, *, approve: bool = True, by: str = "hana") -> gm.Grant:
    found: gm.Grant = stand.ask(gm.DecideGrant(token=f"t-{by}", id=grant.id, approve=approve, reason="It fits."))
    return found


def revoked(stand: Any, grant: gm.Grant, *, by: str = "hana") -> gm.Grant:
    found: gm.Grant = stand.ask(gm.RevokeGrant(token=f"t-{by}", id=grant.id, reason="No longer needed."))
    return found


def test_who_joins_after_the_release_opens_nothing_before_steward_and_broker_agree(stand: Any) -> None:
    stand.release()
    join(stand)
    assert opens(stand, "ruth") == "not_granted"
    grant = asked(stand)
    assert (grant.state, grant.opens, opens(stand, "ruth")) == ("requested", "not_granted", "not_granted")
    grant = decided(stand, grant)
    assert (grant.state, grant.opens, opens(stand, "ruth")) == ("active", "ok", "ok")
    for kind in ("grant.request", "grant.decide"):
        events = [e for e in stand.auditd.events(kind=kind) if e["detail"]["person"] == "ruth"]
        assert [event["outcome"] for event in events] == ["intent", "ok"]
        assert {event["detail"]["grant"] for event in events} == {grant.id}


def test_a_refused_grant_opens_nothing_and_may_be_asked_for_again(stand: Any) -> None:
    stand.release()
    join(stand)
    first = decided(stand, asked(stand), approve=False)
    assert (first.state, opens(stand, "ruth")) == ("refused", "not_granted")
    with pytest.raises(ConflictError):
        decided(stand, first)
    decided(stand, asked(stand, by="stefan"))
    assert opens(stand, "ruth") == "ok"


@pytest.mark.parametrize("by", ["stella", "hana", "holger"])
def test_one_steward_or_broker_takes_a_grant_of_a_release_away(stand: Any, by: str) -> None:
    stand.release()
    (grant,) = stand.ask(gm.ListGrants(token="t-ada")).grants
    assert revoked(stand, grant, by=by).state == "revoked"
    assert opens(stand, "rosa") == "grant_revoked"
    assert [e["outcome"] for e in stand.auditd.events(kind="grant.revoke", actor=by)] == ["intent", "ok"]
    with pytest.raises(ConflictError) as caught:
        revoked(stand, grant)
    assert caught.value.code == "grant_state"
    decided(stand, asked(stand, person="rosa"))
    assert opens(stand, "rosa") == "ok"


def test_a_grant_ends_at_its_own_time(stand: Any) -> None:
    stand.release()
    join(stand)
    with pytest.raises(InvalidError):
        asked(stand, until="2026-11-22T11:59:59Z")
    with pytest.raises(InvalidError):
        asked(stand, until="next week")
    decided(stand, asked(stand, until="2026-11-23T12:00:00Z"))
    stand.clock.pass_(hours=23.9)
    assert opens(stand, "ruth") == "ok"
    stand.clock.pass_(hours=0.1)
    assert opens(stand, "ruth") == "grant_over"
    decided(stand, asked(stand))
    assert opens(stand, "ruth") == "ok"
    assert sorted(one.state for one in stand.ask(gm.ListGrants(token="t-ada")).grants) == ["active", "active", "over"]


def test_there_is_one_open_grant_per_person_and_version(stand: Any) -> None:
    stand.release()
    join(stand)
    with pytest.raises(ConflictError):
        asked(stand, person="rosa")
    asked(stand)
    with pytest.raises(ConflictError):
        asked(stand)


def test_of_two_decisions_at_once_one_is_a_conflict(stand: Any) -> None:
    stand.release()
    join(stand)
    grant = asked(stand)
    barrier, outcomes = threading.Barrier(2), []

    def decide(name: str) -> None:
        barrier.wait()
        message = gm.DecideGrant(token=f"t-{name}", id=grant.id, approve=True, reason="Yes.")
        try:
            outcomes.append(call_once(stand.auditd.home.socket("registryd"), message).state)
        except EnclaveError as error:
            outcomes.append(f"{error.family}:{error.code}")

    threads = [threading.Thread(target=decide, args=(name,)) for name in ("hana", "holger")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["active", "conflict:grant_state"]


def test_a_grant_is_for_a_member_and_a_version_that_is_released_to_the_project(stand: Any) -> None:
    stand.release()
    with pytest.raises(DeniedError) as caught:
        asked(stand)
    assert caught.value.code == "grantee_not_member"
    stand.make_candidate(version=2)
    with pytest.raises(DeniedError) as caught:
        asked(stand, person="rosa", version=2)
    assert caught.value.code == "not_released"
    assert {e["reason"] for e in stand.auditd.events(kind="grant.request", outcome="refused")} == {
        "grantee_not_member",
        "not_released",
    }


def test_nobody_grants_to_themselves_decides_their_own_request_or_works_on_their_own_project(
    stand: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand.release()
    join(stand, "stefan")
    join(stand, "holger")
    join(stand)
    grants = {person: asked(stand, person=person) for person in ("holger", "ruth")}
    roles = frozenset({"data_steward", "honest_broker", "expert"})
    monkeypatch.setattr(stand.daemon, "_resolve", lambda token: Actor(token.removeprefix("t-"), roles))
    with pytest.raises(DeniedError) as caught:
        asked(stand, person="stefan", by="stefan")
    assert caught.value.code == "self_grant"
    for by, person, reason in (
        ("stella", "ruth", "requester_decides"),
        ("holger", "holger", "self_grant"),
        ("holger", "ruth", "own_project"),
        ("edgar", "ruth", "expert_is_broker"),
    ):
        with pytest.raises(DeniedError) as caught:
            decided(stand, grants[person], by=by)
        assert caught.value.code == reason
    assert opens(stand, "ruth") == "not_granted"


def test_a_member_who_was_removed_comes_back_without_the_grants_of_before(stand: Any) -> None:
    stand.release()
    stand.ask(pm.RemoveMember(token="t-stella", name="demo", person="rosa"))
    join(stand, "rosa")
    assert opens(stand, "rosa") == "grant_revoked"
    decided(stand, asked(stand, person="rosa"))
    assert opens(stand, "rosa") == "ok"


def test_the_newest_version_is_the_newest_that_is_granted(stand: Any) -> None:
    first = stand.release()
    stand.make_candidate(version=2)
    stand.determine(version=2)
    stand.decide(stand.request(version=2))
    stand.ask(ReaffirmDetermination(token="t-edgar", id=first.id, reason="The later version changes nothing."))
    join(stand)
    decided(stand, asked(stand, version=1))
    assert (stand.facts(person="rosa").version, stand.facts(person="ruth").version) == (2, 1)
    assert opens(stand, "ruth", version=2) == "not_granted"
    shown = stand.ask(fm.AskProjectDatasets(person="ruth", project="demo")).versions
    assert [one.version for one in shown] == [1]


def test_reports_need_the_release_and_no_grant_of_their_own(stand: Any) -> None:
    stand.release()
    found = stand.facts(person="service:reports")
    assert found.grant_id == ""
    at = stand.clock.now()
    assert may_open(found, person="service:reports", role="service", project="demo", at=at).allowed


def test_who_could_open_before_there_were_grants_still_can(stand: Any) -> None:
    signed = stand.release()
    join(stand)
    path = stand.auditd.home.state("registry") / "state.db"
    stand.stop()
    back_to(path, 1).close()
    store = RegistryStore(path)
    rows = store.rows("select person, state, requested_by, decided_by from grants order by person")
    store.close()
    assert [tuple(row) for row in rows] == [
        ("rosa", "active", "stella", "hana"),
        ("ruth", "active", "stella", "hana"),
    ]
    stand.start()
    assert opens(stand, "ruth") == "certificate_not_countersigned"
    stand.countersign(stand.ask(m.ShowDetermination(token="t-stella", id=signed.id)))
    assert opens(stand, "ruth") == "ok"


def test_neither_reason_nor_token_of_a_grant_stands_in_the_ledger(stand: Any) -> None:
    stand.release()
    (grant,) = stand.ask(gm.ListGrants(token="t-ada")).grants
    stand.ask(gm.RevokeGrant(token="t-hana", id=grant.id, reason="CANARY"))
    assert "CANARY" not in repr(stand.auditd.events())


def test_the_commands_walk_the_whole_way(stand: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    stand.release()
    join(stand)
    assert {"stella", "hana"} <= set(ROLES)
    home = ["--home", str(stand.auditd.home.root)]
    person = "stella"
    monkeypatch.setattr(command, "read_token", lambda _home: f"t-{person}")

    def run(*words: str) -> Any:
        found = CliRunner().invoke(command.app, [*words, *home, "--json", "-"])
        assert found.exit_code == 0, found.output
        return json.loads(found.stdout)

    made = run("add", "ruth", "demo-ct@1", "--project", "demo", "--until", "2026-12-24")
    assert (made["state"], made["until"]) == ("requested", "2026-12-24T00:00:00.000000Z")
    person = "hana"
    assert run("approve", made["id"], "--reason", "It fits.")["opens"] == "ok"
    assert {one["person"] for one in run("list", "--project", "demo")["grants"]} == {"rosa", "ruth"}
    assert run("list", "--project", "other")["grants"] == []
    assert run("revoke", made["id"], "--reason", "Left.")["opens"] == "grant_revoked"
    person = "stella"
    second = run("add", "ruth", "demo-ct@1", "--project", "demo")
    person = "hana"
    assert run("refuse", second["id"], "--reason", "Left.")["state"] == "refused"
    shown = CliRunner().invoke(command.app, ["list", *home])
    assert "ruth: demo-ct@1 in demo, refused; does not open: not granted" in shown.output


@pytest.mark.row("S10.4")
def test_a_grant_that_is_over_stays_over_when_the_clock_is_set_back(stand: Any) -> None:
    stand.release()
    join(stand)
    grant = decided(stand, asked(stand, until="2026-11-23T12:00:00Z"))
    stand.clock.pass_(hours=25)
    shown = lambda: {one.id: one.opens for one in stand.ask(gm.ListGrants(token="t-ada")).grants}[grant.id]  # noqa: E731
    assert shown() == "grant_over"
    stand.clock.pass_(hours=-2)
    assert shown() == "grant_over"
