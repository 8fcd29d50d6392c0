"""Break-glass over the wire: two others approve, the requester sees, for hours, a few times; all in the ledger."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from enclave.core.clock import format_time
from enclave.core.errors import (
    ConflictError,
    DeniedError,
    EnclaveError,
    IntegrityError,
    InvalidError,
    NotFoundError,
    UnavailableError,
)
from enclave.reidentification.settings import MAX_SUBJECTS, VaultSettings
from enclave.reidentification.states import Request, approved, state_of
from enclave.wire.client import WireClient
from enclave.wire.messages import vault as m

pytestmark = [pytest.mark.row("S13.5"), pytest.mark.row("S8.4")]

ORIGINAL = "Zanaryquist"
SUBJECTS = tuple(f"P-{number:015d}" for number in range(60))
ROLE_OF = {
    "rosa": "researcher",
    "edgar": "expert",
    "hana": "honest_broker",
    "olga": "output_checker",
    "stefan": "data_steward",
    "ada": "auditor",
    "otto": "operator",
}


def code_of(act: Callable[[], Any]) -> str:
    """The code of the error that ``act`` raises, ``ok`` without one."""
    try:
        act()
    except EnclaveError as error:
        return error.code
    return "ok"


def alarms(stand: Any) -> list[tuple[str, str]]:
    return [(event["detail"]["stage"], event["reason"]) for event in stand.auditd.events(kind="reidentify.alarm")]


def test_two_others_approve_and_the_requester_sees_who_it_is(stand: Any) -> None:
    made = stand.request()
    assert (made.state, made.approvers, made.until) == ("requested", (), "")
    half = stand.approve(made, by="hana")
    assert (half.state, half.approvers) == ("requested", ("hana",))
    opened = stand.approve(made, by="otto")
    assert (opened.state, opened.shows_left, opened.until) == ("open", 3, "2026-11-22T16:00:00.000000Z")
    found = stand.show(made)
    assert [(one.pseudonym, one.original_ids, one.offset_days) for one in found.subjects] == [
        (SUBJECTS[0], (f"{ORIGINAL}-0",), 0),
        (SUBJECTS[1], (f"{ORIGINAL}-1",), -1),
    ]
    assert (found.shows_left, found.until) == (2, opened.until)


def test_each_step_is_an_event_before_and_after_and_each_of_weight_an_alarm(stand: Any) -> None:
    made = stand.opened()
    stand.show(made)
    told = [e for e in stand.auditd.events() if e["kind"].startswith("reidentify.")]
    steps = [(e["kind"].removeprefix("reidentify."), e["outcome"], e["actor"], e.get("role")) for e in told]
    assert steps == [
        ("request", "intent", "stella", "data_steward"),
        ("alarm", "ok", "stella", None),
        ("request", "ok", "stella", "data_steward"),
        ("approve", "intent", "hana", "honest_broker"),
        ("approve", "ok", "hana", "honest_broker"),
        ("approve", "intent", "stefan", "data_steward"),
        ("alarm", "ok", "stefan", None),
        ("approve", "ok", "stefan", "data_steward"),
        ("show", "intent", "stella", "data_steward"),
        ("alarm", "ok", "stella", None),
        ("show", "ok", "stella", "data_steward"),
    ]
    assert alarms(stand) == [
        ("requested", "break_glass_requested"),
        ("opened", "break_glass_opened"),
        ("shown", "break_glass_shown"),
    ]
    assert all((e["ticket"], e["dataset"], e["detail"]["subjects"]) == ("IRB-17", "demo-ct", 2) for e in told)
    assert told[-1]["objects"] == list(SUBJECTS[:2])
    assert told[-1]["detail"]["shows_left"] == 2


def test_neither_originals_nor_reasons_stand_in_any_file_or_event(stand: Any, capfd: Any) -> None:
    made = stand.opened()
    stand.show(made)
    code_of(lambda: stand.show(made, by="hana"))
    for path in stand.auditd.home.root.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert ORIGINAL.encode() not in data, path
            assert b"incidental" not in data, path
    told = str(stand.auditd.events())
    assert ORIGINAL not in told
    assert "incidental" not in told
    assert ORIGINAL not in str(stand.all())
    captured = capfd.readouterr()
    assert ORIGINAL not in captured.out + captured.err


# ── who ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ROLE_OF)
def test_what_each_role_may_do_when_nothing_else_speaks_against_it(stand: Any, name: str) -> None:
    role = ROLE_OF[name]
    stand.registry.members["demo"] = set()
    made = stand.request()
    approving = code_of(lambda: stand.approve(made, by=name))
    assert approving == ("ok" if role in ("honest_broker", "data_steward", "operator") else "role")
    asking = code_of(lambda: stand.request(by=name))
    assert asking == ("ok" if role in ("honest_broker", "data_steward") else "role")
    listing = code_of(lambda: stand.all(by=name))
    assert listing == ("ok" if role in ("honest_broker", "data_steward", "operator", "auditor") else "role")
    opened = stand.opened(by="hana" if name == "stella" else "stella")
    assert code_of(lambda: stand.show(opened, by=name)) in ("role", "not_the_requester")
    stand.clock.pass_(hours=5)
    assert code_of(lambda: stand.review(opened, by=name)) == ("ok" if role == "auditor" else "role")


def test_the_requester_never_approves_nobody_approves_twice_and_an_approver_never_sees(stand: Any) -> None:
    made = stand.request(by="hana")
    assert code_of(lambda: stand.approve(made, by="hana")) == "requester_decides"
    stand.approve(made, by="stella")
    assert code_of(lambda: stand.approve(made, by="stella")) == "approved_already"
    assert stand.all()[0].approvers == ("stella",)
    stand.approve(made, by="otto")
    for name in ("stella", "otto", "stefan", "holger"):
        with pytest.raises(DeniedError):
            stand.show(made, by=name)
    assert stand.show(made, by="hana").shows_left == 2


@pytest.mark.parametrize("project", ["demo", "second"])
def test_who_is_on_any_project_of_the_dataset_neither_asks_nor_approves_nor_sees(stand: Any, project: str) -> None:
    made = stand.request()
    stand.registry.members[project].add("hana")
    assert code_of(lambda: stand.approve(made, by="hana")) == "own_project"
    assert code_of(lambda: stand.request(by="hana")) == "own_project"
    stand.approve(made, by="otto")
    stand.approve(made, by="stefan")
    stand.registry.members[project].add("stella")
    assert code_of(lambda: stand.show(made)) == "own_project"


def test_what_the_registry_does_not_know_is_refused_and_its_silence_is_no_permission(stand: Any) -> None:
    made = stand.opened()
    stand.registry.projects.clear()
    assert code_of(lambda: stand.show(made)) == "missing_fact"
    stand.registry.stop()
    with pytest.raises(UnavailableError):
        stand.show(made)
    assert stand.all()[0].shown == 0


def test_an_unknown_token_is_nobody(stand: Any) -> None:
    made = stand.opened()
    for message in (
        m.RequestBreakGlass(token="x", dataset="demo-ct", subjects=SUBJECTS[:1], reason="r" * 20, ticket="T-1"),
        m.ApproveBreakGlass(token="x", id=made.id),
        m.ShowBreakGlass(token="x", id=made.id),
        m.ReviewBreakGlass(token="x", id=made.id, finding="f" * 20),
        m.ListBreakGlass(token="x"),
    ):
        assert code_of(lambda q=message: stand.ask(q)) == "token_invalid"
    refused = [e for e in stand.auditd.events(outcome="refused") if e["actor"] == "unknown"]
    assert len(refused) == 5


# ── when ────────────────────────────────────────────────────────────────────


def bring(stand: Any, state: str) -> m.BreakGlass:
    """A request in ``state``."""
    if state == "requested":
        return stand.request()
    if state == "lapsed":
        made = stand.request()
        stand.clock.pass_(days=7)
        return made
    made = stand.opened()
    if state == "spent":
        for _ in range(3):
            stand.show(made)
    elif state in ("over", "reviewed"):
        stand.clock.pass_(hours=4)
    if state == "reviewed":
        stand.review(made)
    return made


LEGAL = {("requested", "approve"), ("open", "show"), ("spent", "review"), ("over", "review")}
STATES = ("requested", "lapsed", "open", "spent", "over", "reviewed")


@pytest.mark.parametrize(("state", "act"), list(itertools.product(STATES, ("approve", "show", "review"))))
def test_every_act_in_every_state(stand: Any, state: str, act: str) -> None:
    made = bring(stand, state)
    before = next(one for one in stand.all() if one.id == made.id)
    assert before.state == state
    act_of = {
        "approve": lambda: stand.approve(made, by="holger"),
        "show": lambda: stand.show(made),
        "review": lambda: stand.review(made),
    }
    if (state, act) in LEGAL:
        act_of[act]()
        return
    with pytest.raises(ConflictError) as caught:
        act_of[act]()
    assert caught.value.code in ("break_glass_state", "break_glass_over")
    assert next(one for one in stand.all() if one.id == made.id) == before
    refused = stand.auditd.events(kind=f"reidentify.{act}", outcome="refused")
    assert [event["reason"] for event in refused] == [caught.value.code]
    assert alarms(stand)[-1] == ("refused", caught.value.code)


def test_it_closes_to_the_microsecond_and_a_clock_that_goes_back_opens_nothing(stand: Any) -> None:
    made = stand.opened()
    stand.clock.pass_(hours=4, microseconds=-1)
    stand.show(made)
    stand.clock.pass_(microseconds=1)
    assert code_of(lambda: stand.show(made)) == "break_glass_over"
    stand.clock.pass_(hours=-5)
    assert code_of(lambda: stand.show(made)) == "break_glass_over"


def test_a_restart_forgets_neither_approvals_nor_shows_nor_the_end(stand: Any) -> None:
    made = stand.request()
    stand.approve(made, by="hana")
    stand.stop()
    stand.start()
    assert code_of(lambda: stand.approve(made, by="hana")) == "approved_already"
    stand.approve(made, by="otto")
    stand.show(made)
    stand.show(made)
    stand.stop()
    stand.start()
    assert stand.show(made).shows_left == 0
    assert code_of(lambda: stand.show(made)) == "break_glass_over"


def test_after_it_was_opened_its_requester_gets_no_other_before_an_auditor_has_looked(stand: Any) -> None:
    waiting = stand.request(subjects=SUBJECTS[3:5])
    made = stand.opened()
    assert code_of(stand.request) == "break_glass_review"
    assert code_of(lambda: stand.approve(waiting, by="hana")) == "break_glass_review"
    stand.request(by="hana")
    stand.clock.pass_(hours=4)
    done = stand.review(made)
    assert (done.state, done.reviewed_by, done.finding) == ("reviewed", "ada", "Used as was asked.")
    stand.approve(waiting, by="hana")
    assert stand.request().state == "requested"


# ── what ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "family", "code"),
    [
        ({"subjects": ()}, InvalidError, "subjects_count"),
        ({"subjects": SUBJECTS[: MAX_SUBJECTS + 1]}, InvalidError, "subjects_count"),
        ({"subjects": ("Doe^Jane",)}, InvalidError, "subjects"),
        ({"subjects": ("P-999999999999999",)}, NotFoundError, "unknown_subject"),
        ({"reason": "because"}, InvalidError, "words"),
        ({"reason": "x" * 2001}, InvalidError, "words"),
        ({"ticket": ""}, InvalidError, "ticket"),
        ({"ticket": "a b"}, InvalidError, "ticket"),
        ({"dataset": "../x"}, InvalidError, "invalid"),
        ({"dataset": "other"}, DeniedError, "missing_fact"),
    ],
)
def test_a_request_that_is_not_what_was_asked_for_is_refused_and_repeats_nothing(
    stand: Any, changes: dict[str, Any], family: type[EnclaveError], code: str
) -> None:
    with pytest.raises(family) as caught:
        stand.request(**changes)
    assert caught.value.code == code
    assert "Jane" not in caught.value.message
    assert stand.all() == ()
    refused = stand.auditd.events(kind="reidentify.request", outcome="refused")
    assert [event["reason"] for event in refused] == [code]
    assert "Jane" not in str(refused)
    assert alarms(stand) == [("refused", code)]


def test_fifty_subjects_may_be_asked_for_and_repeating_one_counts_once(stand: Any) -> None:
    made = stand.opened(subjects=(*SUBJECTS[:MAX_SUBJECTS], SUBJECTS[0]))
    assert len(stand.show(made).subjects) == MAX_SUBJECTS


def test_an_unknown_or_malformed_id_is_refused(stand: Any) -> None:
    for wrong, family in (("0" * 32, NotFoundError), ("../demo-ct", InvalidError)):
        for message in (m.ApproveBreakGlass(token="t-hana", id=wrong), m.ShowBreakGlass(token="t-stella", id=wrong)):
            with pytest.raises(family):
                stand.ask(message)
    assert len(stand.auditd.events(outcome="refused")) == 4


# ── faults ──────────────────────────────────────────────────────────────────


def test_without_a_receipt_nothing_happens_and_nothing_is_shown(stand: Any) -> None:
    half = stand.request(subjects=SUBJECTS[4:6])
    stand.approve(half, by="hana")
    made = stand.opened()
    before = stand.all()
    stand.auditd.stop()
    for act in (
        lambda: stand.request(by="holger"),
        lambda: stand.approve(half, by="otto"),
        lambda: stand.show(made),
        lambda: stand.show(made, by="otto"),
    ):
        with pytest.raises(UnavailableError):
            act()
    stand.auditd.start()
    assert stand.all() == before


def test_originals_stay_inside_when_the_last_receipt_is_missing(stand: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = stand.opened()
    desk = stand.daemon.desk
    record = desk._audit.record

    def fail_last(kind: str, **fields: Any) -> Any:
        if kind == "reidentify.show" and fields["outcome"] == "ok":
            raise UnavailableError("ledger: gone", code="ledger_unavailable")
        return record(kind, **fields)

    monkeypatch.setattr(desk._audit, "record", fail_last)
    with pytest.raises(UnavailableError):
        stand.show(made)
    monkeypatch.undo()
    assert stand.all()[0].shows_left == 2


def test_of_many_shows_at_once_exactly_the_allowed_number_succeeds(stand: Any) -> None:
    made = stand.opened()

    def one(_: int) -> str:
        client = WireClient(stand.auditd.home.socket("vaultd"), timeout_s=30)
        try:
            return code_of(lambda: client.call(m.ShowBreakGlass(token="t-stella", id=made.id)))
        finally:
            client.close()

    with ThreadPoolExecutor(8) as pool:
        found = sorted(pool.map(one, range(12)))
    assert found == ["break_glass_over"] * 9 + ["ok"] * 3


def test_of_many_approvals_at_once_by_one_person_one_counts(stand: Any) -> None:
    made = stand.request()

    def one(_: int) -> str:
        client = WireClient(stand.auditd.home.socket("vaultd"), timeout_s=30)
        try:
            return code_of(lambda: client.call(m.ApproveBreakGlass(token="t-hana", id=made.id)))
        finally:
            client.close()

    with ThreadPoolExecutor(8) as pool:
        found = sorted(pool.map(one, range(8)))
    assert found == ["approved_already"] * 7 + ["ok"]
    assert stand.all()[0].state == "requested"


def test_a_request_file_that_was_changed_or_put_under_another_id_is_not_believed(stand: Any) -> None:
    opened, waiting = stand.opened(), stand.request(by="hana", subjects=SUBJECTS[7:8])
    folder = stand.auditd.home.state("vault") / "requests"
    kept = (folder / f"{waiting.id}.request").read_bytes()
    shutil.copyfile(folder / f"{opened.id}.request", folder / f"{waiting.id}.request")
    with pytest.raises(IntegrityError):
        stand.show(waiting, by="hana")
    (folder / f"{waiting.id}.request").write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    with pytest.raises(IntegrityError):
        stand.approve(waiting, by="otto")


def test_settings_can_make_it_stricter_but_not_endless() -> None:
    VaultSettings(open_hours=0.5, shows=1, wait_days=1)
    for wrong in ({"open_hours": 0.0}, {"open_hours": 25.0}, {"shows": 0}, {"shows": 11}, {"wait_days": 0.0}):
        with pytest.raises(InvalidError):
            VaultSettings(**wrong)


def test_later_settings_do_not_prolong_what_is_open() -> None:
    at = datetime(2026, 11, 22, 12, tzinfo=UTC)
    made = Request(
        id="0" * 32,
        dataset="demo-ct",
        subjects=SUBJECTS[:1],
        reason="r" * 20,
        ticket="T-1",
        requested_by="stella",
        requested="2026-11-22T12:00:00.000000Z",
        waits_until="2026-11-29T12:00:00.000000Z",
    )
    for name in ("hana", "otto"):
        made = approved(made, by=name, at=at, open_for=timedelta(hours=1), shows=1)
    assert state_of(made, at=at) == "open"
    assert state_of(made, at=at + timedelta(hours=1)) == "over"
    assert state_of(replace(made, shown=1), at=at) == "spent"


@pytest.mark.row("S10.4")
@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
def test_what_was_over_is_not_open_again_when_the_clock_is_set_back(stand: Any, restarted: bool) -> None:
    made = stand.opened()
    stand.clock.pass_(hours=3)
    stand.show(made)
    other = stand.opened(by="hana", subjects=SUBJECTS[2:4])
    waiting = stand.request(by="stefan", subjects=SUBJECTS[4:5])
    stand.clock.pass_(hours=2)
    stand.auditd.client.record("audit.rebuild", actor="service:test")  # the vault itself has seen nothing of it
    stand.clock.pass_(hours=-1.5)
    if restarted:
        stand.stop()
        stand.start()
    assert code_of(lambda: stand.show(made)) == "break_glass_over"
    assert alarms(stand)[-1] == ("refused", "break_glass_over")
    assert {one.id: one.state for one in stand.all()}[made.id] == "over"
    acts = {
        "show": lambda: stand.show(other, by="hana"),
        "approve": lambda: stand.approve(waiting, by="hana"),
        "request": lambda: stand.request(by="stefan", subjects=SUBJECTS[5:6]),
        "review": lambda: stand.review(made),
    }
    for name, act in acts.items():
        assert code_of(act) == "clock_step", name
        (event,) = stand.auditd.events(kind=f"reidentify.{name}", reason="clock_step")
        assert (event["outcome"], event["time"]) == ("refused", format_time(stand.clock.now()))
        assert alarms(stand)[-1] == ("refused", "clock_step")
    refusal = m.RefuseBreakGlass(token="t-hana", id=waiting.id, reason="Not while the clock is wrong.")
    assert stand.ask(refusal).state == "refused"
    stand.clock.pass_(hours=1.5)
    assert code_of(lambda: stand.show(made)) == "break_glass_over"
    stand.show(other, by="hana")
