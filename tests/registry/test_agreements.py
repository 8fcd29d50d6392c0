"""Agreements: a steward records, a broker confirms, either ends; a project whose agreement is over opens nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from people import ROLES
from registry_layouts import back_to
from typer.testing import CliRunner

from enclave.broker.facts import may_open
from enclave.cli import agreement as command
from enclave.core.clock import format_time
from enclave.core.errors import ConflictError, DeniedError, EnclaveError, InvalidError, NotFoundError
from enclave.registry.store import RegistryStore
from enclave.wire.messages import agreements as ag
from enclave.wire.messages import facts as fm
from enclave.wire.messages import grants as gm
from enclave.wire.messages import projects as pm
from enclave.wire.messages import registry as m

pytestmark = pytest.mark.row("S12.1")

DOCUMENT = "ab" * 32


def terms(stand: Any, *, project: str = "demo", begins: int = -1, ends: int = 30) -> dict[str, Any]:
    day = lambda days: f"{stand.clock.now() + timedelta(days=days):%Y-%m-%d}"  # noqa: E731 - one word for one thing
    return {
        "kind": "baa",
        "title": "Agreement CANARY-TITLE",
        "project": project,
        "provider": "Example Hospital",
        "recipient": "Example University",
        "permitted_uses": ["Research"],
        "safeguards": ["S4.1"],
        "breach_notice_days": 10,
        "signed": day(begins),
        "begins": day(begins),
        "ends": day(ends),
        "at_end": "return",
        "at_end_days": 0,
    }


def record(stand: Any, *, by: str = "stella", **changes: Any) -> ag.Agreement:
    message = ag.RecordAgreement(token=f"t-{by}", terms=terms(stand, **changes), document=DOCUMENT, ticket="CHG-7")
    found: ag.Agreement = stand.ask(message)
    return found


def decide(stand: Any, agreement: str, *, approve: bool = True, by: str = "hana") -> ag.Agreement:
    message = ag.DecideAgreement(token=f"t-{by}", id=agreement, approve=approve, reason="As signed.")
    found: ag.Agreement = stand.ask(message)
    return found


def end(stand: Any, agreement: str, *, by: str = "hana") -> ag.Agreement:
    found: ag.Agreement = stand.ask(ag.EndAgreement(token=f"t-{by}", id=agreement, reason="Terminated."))
    return found


def opens(stand: Any) -> str:
    found = stand.facts()
    return may_open(found, person="rosa", role="researcher", project="demo", at=stand.clock.now()).reason


def told_to_the_airlock(stand: Any) -> tuple[str, str, str]:
    found = stand.ask(fm.AskProjectStanding(person="rosa", project="demo"))
    return found.state, found.agreement, found.member_role


def test_it_counts_once_a_broker_has_confirmed_what_a_steward_recorded(stand: Any) -> None:
    stand.make_project()
    found = record(stand)
    assert (found.state, found.standing, found.recorded_by) == ("recorded", "waits", "stella")
    found = decide(stand, found.id)
    assert (found.state, found.standing, found.days_left, found.decided_by) == ("in_force", "live", 29, "hana")
    listed = stand.ask(ag.ListAgreements(token="t-ada", project="demo")).agreements
    assert [one.id for one in listed] == [found.id]
    assert stand.ask(ag.ListAgreements(token="t-ada", project="other")).agreements == ()
    for kind in ("agreement.record", "agreement.decide"):
        events = stand.auditd.events(kind=kind)
        assert [event["outcome"] for event in events] == ["intent", "ok"]
        assert {event["detail"]["agreement"] for event in events} == {found.id}
    assert stand.auditd.events(kind="agreement.record")[0]["ticket"] == "CHG-7"
    assert "CANARY-TITLE" not in json.dumps(stand.auditd.records())


def test_a_project_whose_agreement_is_over_gets_nothing_new_and_opens_nothing(stand: Any) -> None:
    stand.release()
    assert opens(stand) == "ok"  # under no agreement
    first = record(stand)
    assert opens(stand) == "ok"  # nobody has confirmed it
    assert told_to_the_airlock(stand) == ("open", "none", "researcher")
    decide(stand, first.id)
    assert opens(stand) == "ok"
    assert told_to_the_airlock(stand) == ("open", "live", "researcher")
    end(stand, first.id)
    assert opens(stand) == "agreement_over"
    assert told_to_the_airlock(stand) == ("open", "over", "researcher")
    with pytest.raises(DeniedError) as caught:
        stand.request()
    assert caught.value.code == "agreement_over"
    stand.ask(pm.AddMember(token="t-stella", name="demo", person="ruth"))
    grant = gm.RequestGrant(token="t-stella", dataset="demo-ct", version=1, project="demo", person="ruth", until="")
    with pytest.raises(DeniedError) as caught:
        stand.ask(grant)
    assert caught.value.code == "agreement_over"
    assert stand.auditd.events(kind="release.request", outcome="refused", reason="agreement_over")
    second = decide(stand, record(stand).id)
    assert opens(stand) == "ok"
    asked = stand.ask(grant)
    stand.make_candidate(version=2)
    stand.determine(version=2)
    release = stand.request(version=2)
    stand.clock.at += timedelta(days=31)
    assert opens(stand) == "agreement_over"
    assert stand.ask(ag.ListAgreements(token="t-hana")).agreements[0].standing == "expired"
    assert second.days_left == 29
    with pytest.raises(DeniedError) as caught:
        stand.decide(release)
    assert caught.value.code == "agreement_over"
    with pytest.raises(DeniedError):
        stand.ask(gm.DecideGrant(token="t-hana", id=asked.id, approve=True, reason="It fits."))
    assert stand.ask(gm.DecideGrant(token="t-hana", id=asked.id, approve=False, reason="Over.")).state == "refused"
    assert stand.decide(release, approve=False).state == "refused"


def test_an_agreement_that_has_not_begun_covers_nothing_yet(stand: Any) -> None:
    stand.release()
    found = decide(stand, record(stand, begins=5).id)
    assert (found.standing, opens(stand)) == ("not_begun", "agreement_over")
    stand.clock.at += timedelta(days=6)
    assert opens(stand) == "ok"


@pytest.mark.parametrize("person", [name for name, role in ROLES.items() if role != "data_steward"])
def test_nobody_but_a_data_steward_records(stand: Any, person: str) -> None:
    stand.make_project()
    with pytest.raises(DeniedError) as caught:
        record(stand, by=person)
    assert caught.value.code == "role"
    assert stand.auditd.events(kind="agreement.record", outcome="refused", actor=person)


@pytest.mark.parametrize("person", ROLES)
def test_nobody_but_a_broker_decides_and_nobody_but_steward_and_broker_end(stand: Any, person: str) -> None:
    stand.make_project()
    found = record(stand)
    roles = {ROLES[person]}
    if "honest_broker" not in roles:
        with pytest.raises(DeniedError):
            decide(stand, found.id, by=person)
        assert stand.auditd.events(kind="agreement.decide", outcome="refused", actor=person)
    if not roles & {"honest_broker", "data_steward"}:
        with pytest.raises(DeniedError):
            end(stand, found.id, by=person)
        assert stand.auditd.events(kind="agreement.end", outcome="refused", actor=person)
    if not roles & {"data_steward", "honest_broker", "expert", "auditor", "operator"}:
        with pytest.raises(DeniedError):
            stand.ask(ag.ListAgreements(token=f"t-{person}"))
        assert stand.auditd.events(kind="agreement.list", outcome="refused", actor=person)


def test_each_state_allows_only_its_own_steps(stand: Any) -> None:
    stand.make_project()
    refused = decide(stand, record(stand).id, approve=False)
    assert refused.standing == "refused"
    ended = end(stand, decide(stand, record(stand).id).id)
    assert (ended.standing, ended.ended_by) == ("ended", "hana")
    for agreement in (refused.id, ended.id):
        for step in (decide, end):
            with pytest.raises(ConflictError) as caught:
                step(stand, agreement)
            assert caught.value.code == "agreement_state"
    with pytest.raises(NotFoundError):
        decide(stand, "0" * 32)


def test_one_person_does_not_close_a_project_by_an_agreement_that_nobody_confirmed(stand: Any) -> None:
    stand.release()
    recorded = record(stand)
    for person in ("stella", "hana"):
        with pytest.raises(ConflictError) as caught:
            end(stand, recorded.id, by=person)
        assert caught.value.code == "agreement_state"
    assert opens(stand) == "ok"


def test_bad_terms_and_documents_change_nothing_and_are_in_the_ledger(stand: Any) -> None:
    stand.make_project()
    good = terms(stand)
    for message in (
        ag.RecordAgreement(token="t-stella", terms={**good, "kind": "nda"}, document=DOCUMENT),
        ag.RecordAgreement(token="t-stella", terms=good, document="AB" * 32),
        ag.RecordAgreement(token="t-stella", terms={**good, "project": "nowhere"}, document=DOCUMENT),
    ):
        with pytest.raises((InvalidError, NotFoundError)):
            stand.ask(message)
    assert len(stand.auditd.events(kind="agreement.record", outcome="refused")) == 3
    assert stand.ask(ag.ListAgreements(token="t-stella")).agreements == ()


def test_a_registry_from_before_agreements_keeps_its_projects(stand: Any) -> None:
    stand.release()
    path = stand.auditd.home.state("registry") / "state.db"
    stand.stop()
    back_to(path, 7).close()
    RegistryStore(path).close()
    stand.start()
    assert opens(stand) == "ok"
    assert decide(stand, record(stand).id).standing == "live"


def test_the_command_records_compares_and_ends(stand: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand.make_project()
    as_person = {"name": "stella"}
    monkeypatch.setattr(command, "read_token", lambda _: f"t-{as_person['name']}")
    monkeypatch.setenv("ENCLAVE_HOME", str(stand.auditd.home.root))
    run = lambda *words: CliRunner().invoke(command.app, [str(word) for word in words])  # noqa: E731 - a short name
    lines = (f"{key} = {json.dumps(value)}" for key, value in terms(stand).items())
    (tmp_path / "dua.toml").write_text("[agreement]\n" + "\n".join(lines) + "\n")
    (tmp_path / "signed.pdf").write_bytes(b"%PDF signed")
    (tmp_path / "other.pdf").write_bytes(b"%PDF another")
    out = tmp_path / "out.json"
    done = run("record", tmp_path / "dua.toml", "--document", tmp_path / "signed.pdf", "--json", out)
    assert done.exit_code == 0, done.output
    agreement = json.loads(out.read_text())["id"]
    as_person["name"] = "hana"
    with_reason = ("--reason", "As signed.")
    wrong = run("confirm", agreement, "--document", tmp_path / "other.pdf", *with_reason)
    assert isinstance(wrong.exception, ConflictError)
    done = run("confirm", agreement, "--document", tmp_path / "signed.pdf", *with_reason)
    assert done.exit_code == 0, done.output
    assert "live, 29 days left" in " ".join(run("list").output.split())
    assert "ended" in run("end", agreement, *with_reason).output
    for words in (
        ("record", tmp_path / "none.toml", "--document", tmp_path / "signed.pdf"),
        ("end", "x", *with_reason),
    ):
        assert isinstance(run(*words).exception, EnclaveError)


RUTH = pm.AddMember(token="t-stella", name="demo", person="ruth")


def refused(stand: Any, message: Any, *, kind: str) -> str:
    with pytest.raises(DeniedError) as caught:
        stand.ask(message)
    (*_, event) = stand.auditd.events(kind=kind, outcome="refused")
    assert event["reason"] == caught.value.code
    return caught.value.code


@pytest.mark.row("S10.4")
@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
def test_an_agreement_that_is_over_stays_over_when_the_clock_is_set_back(stand: Any, restarted: bool) -> None:
    stand.make_project()
    decide(stand, record(stand).id)
    stand.make_candidate()
    stand.determine()
    if restarted:
        stand.stop()
    stand.clock.pass_(days=31)
    stand.auditd.client.record("audit.rebuild", actor="service:test")  # the registry itself has seen nothing of it
    stand.clock.pass_(days=-10)
    if restarted:
        stand.start()
    request = m.RequestRelease(token="t-stella", dataset="demo-ct", version=1, project="demo")
    assert refused(stand, request, kind="release.request") == "agreement_over"
    assert refused(stand, RUTH, kind="project.member_add") == "clock_step"
    (event,) = stand.auditd.events(kind="project.member_add", reason="clock_step")
    assert event["time"] == format_time(stand.clock.now())


@pytest.mark.row("S10.4")
def test_under_a_clock_that_was_set_back_acts_are_refused_and_what_takes_away_is_done(stand: Any) -> None:
    signed = stand.release()
    agreement = decide(stand, record(stand).id)
    stand.ask(RUTH)
    stand.clock.pass_(days=-1)
    stand.auditd.client.record("audit.rebuild", actor="service:test")
    again = pm.AddMember(token="t-stella", name="demo", person="rolf")
    assert refused(stand, again, kind="project.member_add") == "clock_step"
    assert refused(stand, replace(again, token="t-rosa"), kind="project.member_add") == "role"
    stand.ask(pm.RemoveMember(token="t-stella", name="demo", person="ruth"))
    assert end(stand, agreement.id).state == "ended"
    revoke = m.RevokeDetermination(token="t-hana", id=signed.id, reason="A new register was published.")
    assert stand.ask(revoke).state == "revoked"
    stand.clock.pass_(days=1)
    assert "rolf" in stand.ask(again).members
