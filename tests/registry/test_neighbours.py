"""Who may ask what over the socket: each act works for one and is refused, on record, for everybody else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from enclave.core.errors import ConflictError, DeniedError, EnclaveError, InvalidError, NotFoundError
from enclave.wire.client import WireClient
from enclave.wire.messages import facts as fm
from enclave.wire.messages import grants as gm
from enclave.wire.messages import projects as pm
from enclave.wire.messages import registry as m
from enclave.wire.messages.determination import SubmitCountersignature

PEOPLE = ("rosa", "edgar", "hana", "olga", "stella", "ada", "otto")
Act = tuple[str, Callable[[Any], Callable[[str], Any]], set[str]]


def _create(_: Any) -> Callable[[str], Any]:
    return lambda token: pm.CreateProject(token=token, name="new", title="New", purpose="Why.")


def _close(stand: Any) -> Callable[[str], Any]:
    stand.make_project()
    return lambda token: pm.CloseProject(token=token, name="demo")


def _add(stand: Any) -> Callable[[str], Any]:
    stand.make_project()
    return lambda token: pm.AddMember(token=token, name="demo", person="ruth")


def _remove(stand: Any) -> Callable[[str], Any]:
    stand.make_project()
    return lambda token: pm.RemoveMember(token=token, name="demo", person="rosa")


def _draft(stand: Any) -> Callable[[str], Any]:
    stand.make_candidate()
    return lambda token: m.DraftDetermination(token=token, text=stand.text())


def _begin(stand: Any) -> Callable[[str], Any]:
    stand.make_candidate()
    draft = stand.draft()
    return lambda token: m.BeginAssessment(token=token, id=draft.id)


def _decline(stand: Any) -> Callable[[str], Any]:
    stand.make_candidate()
    draft = stand.draft()
    return lambda token: m.DeclineDetermination(token=token, id=draft.id, reason="No.")


def _sign(stand: Any) -> Callable[[str], Any]:
    from enclave.determination.certificate import encode

    stand.make_candidate()
    draft = stand.draft()
    signature = encode(stand.signer.sign(draft.text.encode()))
    return lambda token: m.SubmitSignature(token=token, id=draft.id, signature=signature)


def _countersign(stand: Any) -> Callable[[str], Any]:
    from enclave.determination.certificate import countersigned_bytes, encode, signature_from_text

    stand.make_candidate()
    signed = stand.sign(stand.draft())
    message = countersigned_bytes(signed.text.encode(), signature_from_text(signed.signature))
    value = encode(stand.steward.sign(message))
    return lambda token: SubmitCountersignature(token=token, id=signed.id, signature=value)


def _revoke(stand: Any) -> Callable[[str], Any]:
    stand.make_candidate()
    signed = stand.sign(stand.draft())
    return lambda token: m.RevokeDetermination(token=token, id=signed.id, reason="No.")


def _request(stand: Any) -> Callable[[str], Any]:
    stand.make_project()
    stand.make_candidate()
    stand.determine()
    return lambda token: m.RequestRelease(token=token, dataset="demo-ct", version=1, project="demo")


def _decide(stand: Any) -> Callable[[str], Any]:
    _request(stand)
    message = stand.decision(stand.request())
    return lambda token: replace(message, token=token)


def _ask_grant(stand: Any) -> Callable[[str], Any]:
    stand.release()
    stand.ask(pm.AddMember(token="t-stella", name="demo", person="ruth"))
    return lambda token: gm.RequestGrant(token=token, dataset="demo-ct", version=1, project="demo", person="ruth")


def _decide_grant(stand: Any) -> Callable[[str], Any]:
    grant = stand.ask(_ask_grant(stand)("t-stella"))
    return lambda token: gm.DecideGrant(token=token, id=grant.id, approve=True, reason="Yes.")


def _revoke_grant(stand: Any) -> Callable[[str], Any]:
    stand.release()
    (grant,) = stand.ask(gm.ListGrants(token="t-ada")).grants
    return lambda token: gm.RevokeGrant(token=token, id=grant.id, reason="No.")


ACTS: list[Act] = [
    ("project.create", _create, {"stella"}),
    ("project.close", _close, {"stella"}),
    ("project.member_add", _add, {"stella"}),
    ("project.member_remove", _remove, {"stella"}),
    ("determination.draft", _draft, {"stella", "edgar"}),
    ("determination.begin", _begin, {"edgar"}),
    ("determination.decline", _decline, {"edgar"}),
    ("determination.sign", _sign, {"edgar"}),
    ("determination.countersign", _countersign, {"stella"}),
    ("determination.revoke", _revoke, {"edgar", "hana"}),
    ("release.request", _request, {"stella"}),
    ("release.decide", _decide, {"hana"}),
    ("grant.request", _ask_grant, {"stella"}),
    ("grant.decide", _decide_grant, {"hana"}),
    ("grant.revoke", _revoke_grant, {"stella", "hana"}),
]


@pytest.mark.row("S7.1")
@pytest.mark.parametrize(("kind", "make", "may"), ACTS, ids=[act[0] for act in ACTS])
def test_each_act_is_refused_for_every_other_role_with_an_event(
    stand: Any, kind: str, make: Any, may: set[str]
) -> None:
    message = make(stand)
    others = [name for name in PEOPLE if name not in may]
    for name in others:
        with pytest.raises(DeniedError):
            stand.ask(message(f"t-{name}"))
    with pytest.raises(DeniedError):
        stand.ask(message("nonsense"))
    refused = stand.auditd.events(kind=kind, outcome="refused")
    assert [event["actor"] for event in refused] == [*others, "unknown"]
    assert {event["reason"] for event in refused} <= {"role", "token_invalid"}
    assert stand.ask(message(f"t-{min(may)}"))


@pytest.mark.row("S10.2")
def test_neither_tokens_nor_reasons_nor_titles_stand_in_the_ledger(stand: Any) -> None:
    signed = stand.release()
    stand.ask(m.RevokeDetermination(token="t-hana", id=signed.id, reason="CANARY-REASON"))
    with pytest.raises(DeniedError):
        stand.ask(pm.CloseProject(token="t-CANARY", name="demo"))
    text = repr(stand.auditd.events())
    for secret in ("CANARY", "t-stella", "t-hana", "To show.", "statistician"):
        assert secret not in text


def test_of_two_approvals_at_once_one_is_a_conflict(stand: Any) -> None:
    stand.make_project()
    stand.make_candidate()
    stand.determine()
    release = stand.request()
    messages = {name: stand.decision(release, person=name) for name in ("hana", "holger")}
    barrier, outcomes = threading.Barrier(2), []

    def approve(name: str) -> None:
        client = WireClient(stand.auditd.home.socket("registryd"))
        barrier.wait()
        try:
            outcomes.append(client.call(messages[name]).state)
        except EnclaveError as error:
            outcomes.append(f"{error.family}:{error.code}")
        finally:
            client.close()

    threads = [threading.Thread(target=approve, args=(name,)) for name in ("hana", "holger")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["approved", "conflict:release_state"]
    assert len(stand.auditd.events(kind="release.decide", outcome="ok")) == 1
    (refused,) = stand.auditd.events(kind="release.decide", outcome="refused")
    assert refused["reason"] == "release_state"


def test_a_second_request_for_the_same_release_is_a_conflict_until_the_first_is_refused(stand: Any) -> None:
    stand.make_project()
    stand.make_candidate()
    stand.determine()
    first = stand.request()
    with pytest.raises(ConflictError):
        stand.request()
    assert stand.decide(first, approve=False).state == "refused"
    with pytest.raises(ConflictError):
        stand.decide(first)
    assert stand.decide(stand.request()).state == "approved"
    with pytest.raises(ConflictError):
        stand.request()


def test_a_refusal_of_a_release_needs_no_valid_certificate_but_an_approval_does(stand: Any) -> None:
    stand.make_project()
    stand.make_candidate()
    signed = stand.determine()
    release = stand.request()
    stand.ask(m.RevokeDetermination(token="t-edgar", id=signed.id, reason="No."))
    with pytest.raises(DeniedError) as caught:
        stand.decide(release)
    assert caught.value.code == "certificate_revoked"
    assert stand.decide(release, approve=False).state == "refused"


def test_the_requester_and_the_steward_of_the_version_do_not_approve(stand: Any, monkeypatch: Any) -> None:
    from enclave.policy.model import Actor

    stand.make_project()
    stand.make_candidate()
    stand.determine()
    release = stand.request(token="t-stefan")
    both = frozenset({"data_steward", "honest_broker", "expert"})
    monkeypatch.setattr(stand.daemon, "_resolve", lambda token: Actor(token.removeprefix("t-"), both))
    for name, reason in (
        ("stefan", "requester_decides"),
        ("stella", "steward_is_broker"),
        ("edgar", "expert_is_broker"),
    ):
        with pytest.raises(DeniedError) as caught:
            stand.decide(release, token=f"t-{name}")
        assert caught.value.code == reason


@pytest.mark.parametrize("state", ["signed", "declined", "revoked"])
def test_a_determination_that_is_decided_takes_no_other_decision(stand: Any, state: str) -> None:
    stand.make_candidate()
    draft = stand.draft()
    if state == "declined":
        stand.ask(m.DeclineDetermination(token="t-edgar", id=draft.id, reason="No."))
    else:
        stand.sign(draft)
    if state == "revoked":
        stand.ask(m.RevokeDetermination(token="t-edgar", id=draft.id, reason="No."))
    for act in (
        lambda: stand.sign(draft),
        lambda: stand.ask(m.BeginAssessment(token="t-edgar", id=draft.id)),
        lambda: stand.ask(m.DeclineDetermination(token="t-edgar", id=draft.id, reason="No.")),
    ):
        with pytest.raises(ConflictError) as caught:
            act()
        assert caught.value.code == "determination_state"
    if state != "signed":
        with pytest.raises(ConflictError):
            stand.ask(m.RevokeDetermination(token="t-edgar", id=draft.id, reason="No."))


def test_the_list_of_revocations_is_written_for_tools_that_stand_alone(stand: Any) -> None:
    from enclave.determination.trust import parse_revoked

    signed = stand.release()
    stand.ask(m.RevokeDetermination(token="t-edgar", id=signed.id, reason="No."))
    data = (stand.auditd.home.state("registry") / "revoked.json").read_bytes()
    assert parse_revoked(data) == {signed.id}


def test_a_changed_list_of_trusted_keys_is_on_record_once(stand: Any) -> None:
    stand.release()
    (event,) = stand.auditd.events(kind="determination.trust")
    assert (event["detail"]["experts"], event["detail"]["demo"]) == (2, 2)


@pytest.mark.row("S10.7")
def test_an_administrative_act_carries_its_ticket_and_another_form_of_it_is_invalid(stand: Any) -> None:
    stand.ask(pm.CreateProject(token="t-stella", name="demo", title="T", purpose="To show.", ticket="OPS-7"))
    stand.ask(pm.AddMember(token="t-stella", name="demo", person="rosa", ticket="OPS-8"))
    stand.ask(pm.RemoveMember(token="t-stella", name="demo", person="rosa"))
    assert [e["ticket"] for e in stand.auditd.events(kind="project.create")] == ["OPS-7", "OPS-7"]
    assert [e["ticket"] for e in stand.auditd.events(kind="project.member_add")] == ["OPS-8", "OPS-8"]
    assert all("ticket" not in e for e in stand.auditd.events(kind="project.member_remove"))
    with pytest.raises(InvalidError):
        stand.ask(pm.CloseProject(token="t-stella", name="demo", ticket="what he said"))


@pytest.mark.parametrize("name", ["", "A", "a/b", "../x", "a" * 64, "ä"])
def test_names_of_another_form_are_invalid(stand: Any, name: str) -> None:
    with pytest.raises(InvalidError):
        stand.ask(pm.CreateProject(token="t-stella", name=name, title="T", purpose="P"))


def test_what_does_not_exist_is_not_found(stand: Any) -> None:
    for message in (
        pm.ShowProject(token="t-ada", name="nowhere"),
        pm.CloseProject(token="t-stella", name="nowhere"),
        m.ShowDetermination(token="t-ada", id="0" * 32),
        m.DecideRelease(token="t-hana", id="0" * 32, approve=True, reason="x"),
        gm.DecideGrant(token="t-hana", id="0" * 32, approve=True, reason="x"),
        gm.RevokeGrant(token="t-hana", id="0" * 32, reason="x"),
        gm.RequestGrant(token="t-stella", dataset="demo-ct", version=9, project="nowhere", person="rosa"),
        m.RequestRelease(token="t-stella", dataset="demo-ct", version=9, project="nowhere"),
    ):
        with pytest.raises(NotFoundError):
            stand.ask(message)


def test_facts_about_nothing_say_missing_and_a_stranger_sees_no_datasets(stand: Any) -> None:
    found = stand.facts(project="nowhere")
    assert (found.project_state, found.version_state, found.certificate_reason) == ("missing",) * 3
    stand.release()
    assert stand.ask(fm.AskProjectDatasets(person="rosa", project="demo")).versions
    assert stand.ask(fm.AskProjectDatasets(person="service:reports", project="demo")).versions
    assert not stand.ask(fm.AskProjectDatasets(person="ruth", project="demo")).versions
    assert [one.name for one in stand.ask(fm.ProjectsOf(person="service:reports")).projects] == ["demo"]
    assert stand.ask(fm.ProjectsOf(person="service:intake")).projects == ()
    standing = stand.ask(fm.AskProjectStanding(person="rosa", project="demo"))
    assert (standing.state, standing.member_role) == ("open", "researcher")


@pytest.mark.parametrize("person", ["service:reports", "a/b", ""])
def test_only_people_become_members(stand: Any, person: str) -> None:
    stand.make_project()
    with pytest.raises(InvalidError):
        stand.ask(pm.AddMember(token="t-stella", name="demo", person=person))


def test_a_full_disk_changes_nothing(stand: Any) -> None:
    from enclave.core.errors import UnavailableError

    stand.make_project()
    store = stand.daemon._store
    pages = store.row("pragma page_count")[0]
    store._db.execute(f"pragma max_page_count = {pages}")
    with pytest.raises((UnavailableError, ConflictError)):
        for number in range(200):
            stand.ask(pm.CreateProject(token="t-stella", name=f"p{number}", title="T", purpose="P" * 2000))
    store._db.execute("pragma max_page_count = 1000000")
    failed = stand.auditd.events(kind="project.create", outcome="failed")
    assert len(failed) == 1
    assert stand.ask(pm.ShowProject(token="t-stella", name="demo")).state == "open"
