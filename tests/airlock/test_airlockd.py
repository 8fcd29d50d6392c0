"""The airlock with real sockets: who may do what, once, and what the ledger holds of it."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from enclave.airlock.daemon import EVENT_OF, READS
from enclave.airlock.package import SIGNED_CONTEXT
from enclave.core.errors import (
    ConflictError,
    DeniedError,
    EnclaveError,
    InvalidError,
    NotFoundError,
    UnavailableError,
)
from enclave.keys.verify import read_public, verify_ed25519
from enclave.wire.messages import airlock as m
from enclave.wire.messages.schema import request_type


@pytest.mark.row("S11.3")
def test_two_checkers_approve_and_the_author_downloads_once(
    airlock: Any, make_picture: Any, unzip: Any, b64: Any
) -> None:
    status = airlock.submit()
    assert (status.state, status.verdict) == ("awaiting_review", "pass")
    assert airlock.vote("olga", status.id).state == "awaiting_review"
    assert airlock.vote("omar", status.id).state == "released"
    reply, package = airlock.deliver("rosa", status.id)
    assert hashlib.sha256(package).hexdigest() == reply.sha256
    held = unzip(package)
    assert held["files/figure.png"] == make_picture()
    manifest = json.loads(held["manifest.json"])
    assert manifest["files"][0]["sha256"] == hashlib.sha256(make_picture()).hexdigest()
    public = read_public(airlock.home.key_file("airlock-sign").with_suffix(".pub"))
    assert verify_ed25519(public, SIGNED_CONTEXT + held["manifest.json"], b64(held["manifest.sig"]))
    with pytest.raises(DeniedError) as refused:
        airlock.deliver("rosa", status.id)
    assert refused.value.code == "delivered_already"
    outcomes = [(e["outcome"], e.get("reason")) for e in airlock.auditd.events(kind="egress.deliver")]
    assert outcomes == [("intent", None), ("ok", None), ("refused", "delivered_already")]
    assert [e["outcome"] for e in airlock.auditd.events(kind="egress.check")] == ["intent", "ok"]


@pytest.mark.row("S16.2")
@pytest.mark.parametrize(
    ("person", "reason"),
    [
        ("rosa", "role"),
        ("oona", "own_project"),
        ("hana", "not_found"),
        ("ada", "role"),
        ("otto", "not_found"),
        ("rico", "not_found"),
    ],
)
def test_a_vote_is_refused_for_each_neighbour_and_the_refusal_is_in_the_ledger(
    airlock: Any, person: str, reason: str
) -> None:
    request = airlock.submit().id
    with pytest.raises((DeniedError, NotFoundError)) as refused:
        airlock.vote(person, request)
    assert refused.value.code == reason
    event = airlock.auditd.events(kind="egress.vote", outcome="refused")[-1]
    assert (event["actor"], event["reason"], event["detail"]["request"]) == (person, reason, request)
    assert airlock.show("ada", request).state == "awaiting_review"


def test_an_author_who_is_a_checker_too_cannot_vote(airlock: Any) -> None:
    request = airlock.submit(person="oona").id
    with pytest.raises(DeniedError) as refused:
        airlock.vote("oona", request)
    assert refused.value.code == "author_votes"


def test_the_same_checker_counts_once(airlock: Any) -> None:
    request = airlock.submit().id
    airlock.vote("olga", request)
    with pytest.raises(DeniedError) as refused:
        airlock.vote("olga", request)
    assert refused.value.code == "voted_already"
    assert airlock.show("ada", request).state == "awaiting_review"


def test_a_checker_sees_the_other_vote_only_after_the_own_and_the_author_never_a_name(airlock: Any) -> None:
    request = airlock.submit().id
    airlock.vote("olga", request, reason="clear chart")
    assert airlock.show("omar", request).votes == ()
    assert airlock.show("rosa", request).votes == ()
    assert [v["checker"] for v in airlock.show("olga", request).votes] == ["olga"]
    assert "olga" not in json.dumps([dict(h) for h in airlock.show("omar", request).history])
    airlock.vote("omar", request, reason="agreed")
    assert {v["checker"] for v in airlock.show("omar", request).votes} == {"olga", "omar"}
    mine = airlock.show("rosa", request).votes
    assert {v["checker"] for v in mine} == {""}
    assert {v["reason"] for v in mine} == {"clear chart", "agreed"}


def test_one_rejection_ends_it(airlock: Any) -> None:
    request = airlock.submit().id
    airlock.vote("olga", request)
    assert airlock.vote("omar", request, "reject", "shows a patient").state == "rejected"
    with pytest.raises(DeniedError):
        airlock.deliver("rosa", request)


def test_a_returned_request_is_handed_in_again_and_its_votes_are_reset(airlock: Any, make_picture: Any) -> None:
    request = airlock.submit().id
    airlock.vote("olga", request)
    assert airlock.vote("omar", request, "return", "label the axes").state == "returned"
    again = airlock.submit({"figure.png": make_picture("green")}, replaces=request)
    assert (again.id, again.state) == (request, "awaiting_review")
    assert airlock.vote("olga", request).state == "awaiting_review"
    assert airlock.vote("omar", request).state == "released"


def test_nobody_replaces_another_persons_request(airlock: Any) -> None:
    request = airlock.submit().id
    airlock.vote("olga", request, "return", "why")
    with pytest.raises(NotFoundError):
        airlock.submit(person="oona", replaces=request)


def test_a_blocked_file_never_reaches_the_checkers(airlock: Any) -> None:
    status = airlock.submit({"cohort.csv": b"patient_id,age\n" + b"".join(b"p%d,4%d\n" % (i, i) for i in range(9))})
    assert (status.state, status.verdict) == ("blocked", "block")
    assert "row_level_data" in {f["rule"] for f in status.findings}
    assert all(f["where"] for f in status.findings)
    with pytest.raises(DeniedError) as refused:
        airlock.vote("olga", status.id)
    assert refused.value.code == "not_open_for_votes"


@pytest.mark.parametrize("how", ["crash", "lie", "gone"])
def test_a_check_that_crashes_lies_or_is_away_blocks(airlock: Any, how: str) -> None:
    if how == "gone":
        airlock.neighbours.stop("launcherd")
    else:
        airlock.neighbours.broken_check = how
    status = airlock.submit()
    assert (status.state, [f["rule"] for f in status.findings]) == ("blocked", ["check_failed"])


@pytest.mark.parametrize("person", ["olga", "ada", "oona", "rico", "hana"])
def test_only_the_author_is_delivered_to(airlock: Any, person: str) -> None:
    request = airlock.released()
    with pytest.raises((DeniedError, NotFoundError)):
        airlock.deliver(person, request)
    assert airlock.auditd.events(kind="egress.deliver", outcome="refused")[-1]["actor"] == person
    airlock.deliver("rosa", request)


def test_nothing_is_delivered_before_its_release(airlock: Any) -> None:
    request = airlock.submit().id
    with pytest.raises(DeniedError) as refused:
        airlock.deliver("rosa", request)
    assert refused.value.code == "not_released_yet"


def test_an_author_withdraws_and_nobody_else(airlock: Any) -> None:
    request = airlock.submit().id
    with pytest.raises(DeniedError):
        airlock.ask(m.Withdraw(token="token-olga", id=request))
    assert airlock.ask(m.Withdraw(token="token-rosa", id=request)).state == "withdrawn"
    with pytest.raises(DeniedError):
        airlock.vote("olga", request)


def test_somebody_who_left_the_project_hands_in_nothing(airlock: Any) -> None:
    airlock.kernel()
    airlock.neighbours.members["demo"].pop("rosa")
    with pytest.raises(DeniedError) as refused:
        airlock.submit()
    assert refused.value.code == "not_a_member"
    assert airlock.auditd.events(kind="egress.submit", outcome="refused")[-1]["reason"] == "not_a_member"


def test_nothing_is_handed_in_from_a_closed_project_and_its_members_still_cannot_vote(airlock: Any) -> None:
    request = airlock.submit().id
    airlock.neighbours.states["demo"] = "closed"
    with pytest.raises(DeniedError) as refused:
        airlock.submit()
    assert refused.value.code == "project_not_open"
    with pytest.raises(DeniedError) as refused:
        airlock.vote("oona", request)
    assert refused.value.code == "own_project"


def left(airlock: Any) -> None:
    airlock.neighbours.members["demo"].pop("rosa", None)


def closed(airlock: Any) -> None:
    airlock.neighbours.states["demo"] = "closed"


def frozen(airlock: Any) -> None:
    airlock.neighbours.states["demo"] = "frozen"


def agreement_over(airlock: Any) -> None:
    airlock.neighbours.agreements["demo"] = "over"


def works_again(airlock: Any) -> None:
    airlock.neighbours.members["demo"]["rosa"] = "researcher"
    airlock.neighbours.states.clear()
    airlock.neighbours.agreements.clear()
    airlock.neighbours.before_release = None
    airlock.disabled.clear()


STOPPED = [(closed, "project_not_open"), (frozen, "project_not_open"), (agreement_over, "agreement_over")]


@pytest.mark.row("S12.1")
@pytest.mark.row("S11.4")
@pytest.mark.parametrize(("stop", "reason"), [(left, "not_a_member"), *STOPPED])
def test_who_may_not_work_in_the_project_any_more_is_delivered_nothing_and_loses_nothing(
    airlock: Any, stop: Any, reason: str
) -> None:
    request = airlock.released(files={"CANARY4711.txt": b"mean 4.5\n"})
    stop(airlock)
    with pytest.raises(DeniedError) as refused:
        airlock.deliver("rosa", request)
    assert refused.value.code == reason
    assert "CANARY" not in refused.value.message
    (event,) = airlock.auditd.events(kind="egress.deliver")
    assert (event["outcome"], event["actor"], event["reason"]) == ("refused", "rosa", reason)
    assert (event["project"], event["detail"]) == ("demo", {"request": request})
    shown = airlock.show("rosa", request)
    assert (shown.state, shown.held) == ("released", refused.value.message)
    assert "deliver" not in shown.may
    assert "withdraw" in shown.may
    assert airlock.show("olga", request).held == ""  # what keeps the author from it is the author's to know
    works_again(airlock)
    assert (airlock.show("rosa", request).held, "deliver" in airlock.show("rosa", request).may) == ("", True)
    airlock.deliver("rosa", request)


@pytest.mark.row("S8.3")
def test_an_account_that_the_hub_disabled_a_moment_ago_is_delivered_nothing(airlock: Any) -> None:
    request = airlock.released()
    airlock.disabled.add("rosa")
    assert airlock.show("rosa", request).state == "released"  # remembered for half a minute, but not for this:
    with pytest.raises(DeniedError) as refused:
        airlock.deliver("rosa", request)
    assert refused.value.code == "token_invalid"
    (event,) = airlock.auditd.events(kind="egress.deliver")
    assert (event["outcome"], event["actor"], event["reason"]) == ("refused", "anonymous", "token_invalid")
    works_again(airlock)
    airlock.deliver("rosa", request)


def test_without_the_registrys_word_nothing_is_delivered_and_nothing_is_lost(airlock: Any) -> None:
    request = airlock.released()
    airlock.neighbours.stop("registryd")
    with pytest.raises(UnavailableError):
        airlock.deliver("rosa", request)
    airlock.neighbours.start("registryd")
    assert airlock.show("rosa", request).state == "released"
    airlock.deliver("rosa", request)


@pytest.mark.row("S12.1")
@pytest.mark.parametrize(("stop", "reason"), [(left, "author_left"), *STOPPED])
def test_checkers_approve_nothing_for_whom_the_project_does_not_work_any_more_and_may_return_it(
    airlock: Any, stop: Any, reason: str
) -> None:
    request = airlock.submit().id
    stop(airlock)
    with pytest.raises(DeniedError) as refused:
        airlock.vote("olga", request)
    assert refused.value.code == reason
    event = airlock.auditd.events(kind="egress.vote")[-1]
    assert (event["outcome"], event["actor"], event["reason"]) == ("refused", "olga", reason)
    shown = airlock.show("olga", request)
    assert (shown.state, shown.held, "vote" in shown.may) == ("awaiting_review", refused.value.message, True)
    assert airlock.vote("olga", request, "return", "once the project works again").state == "returned"


@pytest.mark.row("S12.1")
@pytest.mark.parametrize(("stop", "reason"), [(left, "author_left"), *STOPPED])
def test_what_was_approved_is_packed_only_while_the_project_works_and_then_by_itself(
    airlock: Any, stop: Any, reason: str
) -> None:
    request = airlock.submit().id
    airlock.vote("olga", request)
    airlock.neighbours.before_release = lambda: stop(airlock)
    assert airlock.vote("omar", request).state == "approved"
    assert airlock.wait_for(lambda: airlock.auditd.events(kind="egress.release", outcome="refused"))
    time.sleep(5 * airlock.settings.retry_s)
    (event,) = airlock.auditd.events(kind="egress.release")  # told once, however often it is found again
    assert (event["outcome"], event["actor"], event["reason"]) == ("refused", "service:airlock", reason)
    shown = airlock.show("rosa", request)
    assert (shown.state, bool(shown.held)) == ("approved", True)
    works_again(airlock)
    assert airlock.wait_for(lambda: airlock.show("rosa", request).state == "released")
    assert [e["outcome"] for e in airlock.auditd.events(kind="egress.release")] == ["refused", "ok"]
    airlock.deliver("rosa", request)


def test_from_a_project_whose_agreement_is_over_nothing_is_handed_in(airlock: Any) -> None:
    airlock.kernel()
    agreement_over(airlock)
    with pytest.raises(DeniedError) as refused:
        airlock.submit()
    assert refused.value.code == "agreement_over"
    assert airlock.auditd.events(kind="egress.submit", outcome="refused")[-1]["reason"] == "agreement_over"


@pytest.mark.parametrize("name", ["../x.png", "/etc/x.png", "a/b.png", "", ".hidden", "a..b.png", "ü.png"])
def test_a_name_that_is_no_plain_base_name_is_refused(airlock: Any, name: str) -> None:
    with pytest.raises(InvalidError) as refused:
        airlock.submit({name: b"x"})
    assert refused.value.code == "egress_file_name"
    assert airlock.auditd.events(kind="egress.submit", outcome="refused")[-1]["reason"] == "egress_file_name"


@pytest.mark.parametrize("name", ["x\n.png", "x\0.png", "\x1b[2Jx.png", "x.png\x7f"])
def test_a_name_with_a_control_character_reaches_no_handler_and_is_on_record(airlock: Any, name: str) -> None:
    with pytest.raises(InvalidError, match="control characters"):
        airlock.submit({name: b"x"})
    (event,) = airlock.auditd.events(kind="socket.misuse", outcome="refused", actor="rosa")
    assert event["reason"] == "not_a_message"


def test_too_many_or_no_files_are_refused(airlock: Any) -> None:
    for count in (0, 21):
        with pytest.raises(InvalidError) as refused:
            airlock.submit({f"{i}.txt": b"x" for i in range(count)})
        assert refused.value.code == "egress_file_count"


def test_nobody_floods_the_desk(airlock: Any) -> None:
    airlock.stop()
    airlock.settings = replace(airlock.settings, max_open_requests=2)
    airlock.start()
    first = airlock.submit().id
    airlock.submit()
    with pytest.raises(ConflictError) as refused:
        airlock.submit()
    assert refused.value.code == "egress_too_many_open"
    airlock.ask(m.Withdraw(token="token-rosa", id=first))
    assert airlock.submit().state == "awaiting_review"


def test_descriptors_that_nobody_asked_for_are_not_kept(airlock: Any, make_memory: Any) -> None:
    client = airlock.client(airlock.socket(airlock.kernel()))
    client.call(m.AskStatus())
    before = len(list(Path("/proc/self/fd").iterdir()))
    fds = [make_memory(b"x") for _ in range(20)]
    for _ in range(5):
        with pytest.raises(InvalidError, match="without descriptors"):
            client.call_with_descriptors(m.AskStatus(), descriptors=fds)
        with pytest.raises(InvalidError):
            client.call_with_descriptors(
                m.Submit(title="a", purpose="b", description="", names=("a.txt",)), descriptors=fds
            )
    for fd in fds:
        os.close(fd)
    assert len(list(Path("/proc/self/fd").iterdir())) < before + 20  # a connection of its own may have opened


def test_a_full_disk_is_said_in_words_and_leaves_no_half_request(airlock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    airlock.kernel()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(UnavailableError) as refused:
            airlock.submit()
    assert refused.value.code in ("airlock_storage", "ledger_unavailable")
    assert airlock.ask(m.ListRequests(token="token-rosa")).requests == ()
    assert list((airlock.home.state("airlock") / "frozen").iterdir()) == []


def test_a_kernel_without_a_project_gets_its_socket_and_hands_in_nothing(airlock: Any) -> None:
    folder = airlock.home.run_dir / "kernels" / "expert"
    folder.mkdir(parents=True)
    airlock.ask(
        m.OpenSubmitListener(
            kernel="ef" * 16, person="rosa", role="researcher", project="", directory=str(folder), uid=os.getuid()
        )
    )
    assert airlock.client(folder / "submit.sock").call(m.AskStatus()).requests == ()


def test_a_descriptor_that_is_no_bounded_memory_is_refused(airlock: Any, tmp_path: Any) -> None:
    pipe, other = os.pipe()
    ordinary = os.open(tmp_path / "on-disk", os.O_RDWR | os.O_CREAT)
    one, two = socket.socketpair()
    for fd in (pipe, ordinary, one.detach()):
        with pytest.raises(InvalidError) as refused:
            airlock.submit({"a.png": b""}, descriptors=[fd])
        assert refused.value.code == "egress_file_kind"
    os.close(other)
    two.close()


def test_a_file_over_the_limit_is_refused(airlock: Any) -> None:
    fd = os.memfd_create("big", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, airlock.settings.max_file_bytes + 1)
    with pytest.raises(InvalidError) as refused:
        airlock.submit({"a.png": b""}, descriptors=[fd])
    assert refused.value.code == "egress_too_large"


def test_bytes_changed_after_submission_change_nothing(airlock: Any, make_memory: Any, unzip: Any) -> None:
    fd = make_memory(b"one\ntwo\n", seal=False)
    keep = os.dup(fd)
    request = airlock.submit({"a.txt": b""}, descriptors=[fd]).id
    os.pwrite(keep, b"XXX", 0)
    os.close(keep)
    airlock.vote("olga", request)
    airlock.vote("omar", request)
    assert unzip(airlock.deliver("rosa", request)[1])["files/a.txt"] == b"one\ntwo\n"


def test_the_cell_comes_from_the_tap_not_from_the_kernel(airlock: Any) -> None:
    kernel = airlock.kernel()
    airlock.pages[kernel].show("ab" * 16)
    request = airlock.submit().id
    airlock.pages[kernel].show(None)
    assert airlock.show("ada", request).cell == "ab" * 16
    assert airlock.auditd.events(kind="egress.submit", outcome="ok")[-1]["cell"] == "ab" * 16


def test_nothing_is_done_without_a_receipt(airlock: Any) -> None:
    request = airlock.submit().id
    airlock.vote("olga", request)
    airlock.auditd.stop()
    with pytest.raises(UnavailableError):
        airlock.vote("omar", request)
    with pytest.raises(UnavailableError):
        airlock.submit()
    airlock.auditd.start()
    assert airlock.show("ada", request).state == "awaiting_review"
    assert airlock.vote("omar", request).state == "released"


def test_a_delivery_without_a_receipt_does_not_use_it_up(airlock: Any) -> None:
    request = airlock.released()
    airlock.auditd.stop()
    with pytest.raises(UnavailableError):
        airlock.deliver("rosa", request)
    airlock.auditd.start()
    airlock.deliver("rosa", request)


def test_everything_is_there_after_a_restart(airlock: Any) -> None:
    kernel = airlock.kernel()
    first, second = airlock.submit().id, airlock.released()
    airlock.deliver("rosa", second)
    airlock.stop()
    airlock.start()
    assert airlock.vote("olga", first).state == "awaiting_review"
    with pytest.raises(DeniedError):
        airlock.deliver("rosa", second)
    assert airlock.client(airlock.socket(kernel)).call(m.AskStatus()).requests[0].id in (first, second)
    assert airlock.submit().state == "awaiting_review"


def test_a_check_that_a_restart_cut_off_runs_again(airlock: Any) -> None:
    airlock.stop()
    airlock.settings = type(airlock.settings)(retry_s=0.1, submit_wait_s=0)
    airlock.start()
    request = airlock.submit().id
    airlock.stop()
    airlock.settings = type(airlock.settings)(retry_s=0.1, submit_wait_s=20)
    airlock.start()
    airlock.submit()
    assert airlock.show("ada", request).state == "awaiting_review"


def test_a_preview_is_marked_and_is_never_the_source(airlock: Any, make_picture: Any, b64: Any) -> None:
    request = airlock.submit({"figure.png": make_picture(), "note.txt": b"mean 4.5\n"}).id
    shown = airlock.ask(m.Preview(token="token-olga", id=request, name="figure.png"))
    assert shown.mime == "image/png"
    assert b64(shown.data) != make_picture()
    text = b64(airlock.ask(m.Preview(token="token-olga", id=request, name="note.txt")).data).decode()
    assert "olga" in text
    assert "mean 4.5" in text
    with pytest.raises(DeniedError):
        airlock.ask(m.Preview(token="token-rosa", id=request, name="figure.png"))
    seen = [(e["actor"], e["outcome"]) for e in airlock.auditd.events(kind="egress.view")]
    assert seen[-1] == ("rosa", "refused")
    assert "ok" in dict(map(reversed, seen))


@pytest.mark.row("S16.4")
def test_no_name_text_or_byte_of_a_request_stands_in_the_ledger_or_in_clear_on_disk(airlock: Any) -> None:
    canary = b"CANARY4711"
    request = airlock.submit({"CANARY4711.txt": canary}).id
    airlock.vote("olga", request, reason="CANARY4711 reason")
    places = [p for p in airlock.home.root.rglob("*") if p.is_file()]
    assert any("frozen" in p.parts for p in places)
    assert [p for p in places if canary in p.read_bytes() or "CANARY4711" in p.name] == []


@pytest.mark.row("S10.1")
def test_every_request_that_does_something_leaves_an_event_even_when_refused(airlock: Any) -> None:
    request = airlock.submit().id
    table = {*airlock.daemon.handlers(), m.Submit, m.AskStatus}
    assert table == set(EVENT_OF) | READS, "a new handler needs its event in EVENT_OF"
    by_token = [kind for kind in EVENT_OF if "token" in kind.__dataclass_fields__]
    extra = {"vote": "approve", "reason": "x", "name": "figure.png"}
    for kind in by_token:
        for token, wanted in (("nobody", "token_invalid"), ("token-hana", None)):
            before = len(airlock.auditd.events(kind=EVENT_OF[kind], outcome="refused"))
            names = kind.__dataclass_fields__
            message = kind(**{"token": token, "id": request, **{k: v for k, v in extra.items() if k in names}})
            with pytest.raises(EnclaveError):
                airlock.ask(message)
            found = airlock.auditd.events(kind=EVENT_OF[kind], outcome="refused")
            assert len(found) == before + 1, request_type(kind).name
            assert wanted in (None, found[-1]["reason"])


def test_a_second_socket_for_a_kernel_and_a_folder_elsewhere_are_refused(airlock: Any, tmp_path: Any) -> None:
    kernel = airlock.kernel()
    wanted = {"person": "rosa", "role": "researcher", "project": "demo", "uid": os.getuid()}
    with pytest.raises(ConflictError):
        airlock.ask(m.OpenSubmitListener(kernel=kernel, directory=str(airlock.socket(kernel).parent), **wanted))
    with pytest.raises(InvalidError):
        airlock.ask(m.OpenSubmitListener(kernel="ab" * 16, directory=str(tmp_path), **wanted))


def test_a_closed_socket_takes_nothing(airlock: Any) -> None:
    kernel = airlock.kernel()
    airlock.ask(m.CloseSubmitListener(kernel=kernel))
    airlock.ask(m.CloseSubmitListener(kernel=kernel))
    assert len(airlock.auditd.events(kind="airlock.listener", kernel=kernel)) == 2  # opened, closed once
    assert not airlock.socket(kernel).exists()
    with pytest.raises(UnavailableError):
        airlock.client(airlock.socket(kernel)).call(m.AskStatus())


def test_another_uid_is_not_served_on_a_kernels_socket(airlock: Any, tmp_path: Any) -> None:
    folder = airlock.home.run_dir / "kernels" / "foreign"
    folder.mkdir(parents=True)
    airlock.ask(
        m.OpenSubmitListener(
            kernel="cd" * 16, person="rosa", role="researcher", project="demo", directory=str(folder), uid=54321
        )
    )
    with pytest.raises(DeniedError):
        airlock.client(folder / "submit.sock").call(m.AskStatus())
