"""The watch over a real ledger: alerts open, are taken up and closed by the right people, and each step is an event."""

from __future__ import annotations

import json

import pytest
from clocks import ShiftedClock

from enclave.audit.alerts.metrics import fetch
from enclave.audit.alerts.rules import known_rules, rules_digest
from enclave.core.errors import ConflictError, DeniedError, EnclaveError, InvalidError, NotFoundError
from enclave.wire.client import WireClient
from enclave.wire.messages import watch as m
from enclave.wire.messages.audit import AskWatched

AT = "2026-11-22T12:00:00Z"
OTHERS = ("otto-token", "rosa-token", "stella-token", "made-up")


def touch_without_ticket(auditd, actor="stella"):
    auditd.client.record("project.member_add", actor=actor, role="data_steward", project="demo")


@pytest.mark.row("S10.7")
def test_an_administrative_act_without_a_ticket_is_an_alert_within_seconds_and_one_with_a_ticket_is_none(
    auditd, watchd
):
    auditd.client.record("project.create", actor="stella", project="demo", ticket="OPS-1")
    touch_without_ticket(auditd)
    alert = watchd.alert("admin_without_ticket")
    assert (alert.subject, alert.severity, alert.state, alert.events) == ("stella", "low", "open", 1)
    assert alert.may == ("acknowledge", "resolve")
    told = auditd.events(kind="alert.open")
    assert [event["detail"]["rule"] for event in told] == ["admin_without_ticket"]
    assert told[0]["detail"]["alert"] == alert.id


def test_the_same_thing_is_told_once(auditd, watchd):
    touch_without_ticket(auditd)
    watchd.alert("admin_without_ticket")
    touch_without_ticket(auditd)
    touch_without_ticket(auditd, actor="stefan")
    watchd.wait_for(lambda: len(watchd.alerts(rule="admin_without_ticket")) == 2)
    assert len(auditd.events(kind="alert.open")) == 2


def test_the_watch_says_in_the_ledger_with_which_rules_it_began(auditd, watchd):
    began = auditd.events(kind="watch.started")
    assert [event["detail"] for event in began] == [{"rules": len(known_rules()), "rules_digest": rules_digest()}]


@pytest.mark.row("S10.5")
def test_an_alert_is_taken_up_and_closed_and_each_step_is_an_event(auditd, watchd):
    touch_without_ticket(auditd)
    alert = watchd.alert("admin_without_ticket")
    taken = watchd.ask(m.AcknowledgeAlert(token="ada-token", id=alert.id))
    assert (taken.state, taken.acknowledged_by, taken.may) == ("acknowledged", "ada", ("resolve",))
    closed = watchd.ask(m.ResolveAlert(token="anton-token", id=alert.id, verdict="expected", reason="Ticket OPS-9"))
    assert (closed.state, closed.resolved_by, closed.verdict, closed.may) == ("resolved", "anton", "expected", ())
    assert [e["actor"] for e in auditd.events(kind="alert.acknowledge", outcome="ok")] == ["ada"]
    assert [e["detail"]["verdict"] for e in auditd.events(kind="alert.resolve", outcome="ok")] == ["expected"]
    with pytest.raises(ConflictError):
        watchd.ask(m.AcknowledgeAlert(token="ada-token", id=alert.id))
    assert len(auditd.events(kind="alert.acknowledge", outcome="refused", reason="alert_state")) == 1


def test_the_words_of_a_resolution_stand_nowhere_in_clear(auditd, watchd, tmp_path):
    touch_without_ticket(auditd)
    alert = watchd.alert("admin_without_ticket")
    watchd.ask(m.ResolveAlert(token="ada-token", id=alert.id, verdict="expected", reason="CANARY_WORDS"))
    watchd.wait_for(lambda: not watchd.ask(m.AskWatchState()).waiting["file"])
    watchd.stop()
    for path in auditd.home.root.rglob("*"):
        if path.is_file():
            assert b"CANARY_WORDS" not in path.read_bytes(), path


@pytest.mark.parametrize("token", OTHERS)
def test_who_is_no_auditor_sees_and_changes_nothing_and_the_refusal_is_in_the_ledger(auditd, watchd, token):
    touch_without_ticket(auditd)
    alert = watchd.alert("admin_without_ticket")
    acts = {
        "alert.list": m.ListAlerts(token=token),
        "alert.acknowledge": m.AcknowledgeAlert(token=token, id=alert.id),
        "alert.resolve": m.ResolveAlert(token=token, id=alert.id, verdict="expected", reason="x"),
        "watch.canary": m.DeclareCanary(token=token, dataset="demo-ct", version=1),
        "review.list": m.ListReviews(token=token),
        "review.sign": m.SignReview(token=token, period="2026-W40", note="x"),
    }
    for kind, message in acts.items():
        with pytest.raises(DeniedError):
            watchd.ask(message)
        refused = auditd.events(kind=kind, outcome="refused")
        assert len(refused) == 1, kind
        assert refused[0]["actor"] == ("unknown" if token == "made-up" else token.removesuffix("-token"))
    assert watchd.alerts(rule="admin_without_ticket")[0].state == "open"


def test_nobody_closes_an_alert_about_themselves(auditd, watchd):
    touch_without_ticket(auditd, actor="ada")
    alert = watchd.alert("admin_without_ticket")
    assert alert.may == ()
    for message in (
        m.AcknowledgeAlert(token="ada-token", id=alert.id),
        m.ResolveAlert(token="ada-token", id=alert.id, verdict="false_alert", reason="it was nothing"),
    ):
        with pytest.raises(DeniedError) as caught:
            watchd.ask(message)
        assert caught.value.code == "own_alert"
    assert watchd.ask(m.AcknowledgeAlert(token="anton-token", id=alert.id)).state == "acknowledged"


def test_an_unknown_alert_a_bad_verdict_and_empty_words_are_refused(auditd, watchd):
    with pytest.raises(NotFoundError):
        watchd.ask(m.AcknowledgeAlert(token="ada-token", id="0" * 32))
    with pytest.raises(DeniedError):
        watchd.ask(m.AcknowledgeAlert(token="rosa-token", id="0" * 32))
    touch_without_ticket(auditd)
    alert = watchd.alert("admin_without_ticket")
    for verdict, reason in (("perhaps", "x"), ("expected", " "), ("expected", "x" * 2001)):
        with pytest.raises(InvalidError):
            watchd.ask(m.ResolveAlert(token="ada-token", id=alert.id, verdict=verdict, reason=reason))


def test_alerts_and_the_place_in_the_ledger_outlive_a_restart(auditd, watchd):
    touch_without_ticket(auditd)
    alert = watchd.alert("admin_without_ticket")
    watchd.ask(m.AcknowledgeAlert(token="ada-token", id=alert.id))
    watchd.stop()
    touch_without_ticket(auditd, actor="stefan")
    watchd.start()
    watchd.wait_for(lambda: len(watchd.alerts(rule="admin_without_ticket")) == 2)
    states = {one.subject: one.state for one in watchd.alerts(rule="admin_without_ticket")}
    assert states == {"stella": "acknowledged", "stefan": "open"}


def test_without_the_ledger_nothing_changes_and_it_goes_on_when_it_is_back(auditd, watchd):
    touch_without_ticket(auditd)
    alert = watchd.alert("admin_without_ticket")
    auditd.stop()
    with pytest.raises(EnclaveError):
        watchd.ask(m.AcknowledgeAlert(token="ada-token", id=alert.id))
    assert watchd.daemon._store.find(alert.id).state == "open"
    auditd.start()
    touch_without_ticket(auditd, actor="stefan")
    watchd.wait_for(lambda: len(watchd.alerts(rule="admin_without_ticket")) == 2)


@pytest.mark.row("S8.4")
def test_break_glass_a_canary_and_an_account_without_groups_are_told(auditd, watchd):
    detail = {"subjects": 2, "stage": "requested", "act": "reidentify.request"}
    auditd.client.record("reidentify.alarm", actor="stella", reason="break_glass_requested", detail=detail)
    watchd.ask(m.DeclareCanary(token="ada-token", dataset="demo-canary", version=1))
    auditd.client.record(
        "dataset.open", actor="rosa", outcome="refused", reason="not_released", dataset="demo-canary", version=1
    )
    assert watchd.alert("break_glass").subject == "stella"
    assert watchd.alert("canary_touched").subject == "rosa"
    assert watchd.alert("canary_touched").severity == "critical"


def test_a_rule_that_cannot_be_evaluated_stops_no_other_and_is_told(auditd, watchd):
    watch = watchd.daemon.watch
    ask = watch.ledger.ask

    class Broken:
        def ask(self, message):
            if message.question == "admin_without_ticket":
                raise InvalidError("audit query: wanted SQL, got nonsense")
            return ask(message)

    watch.ledger = Broken()
    touch_without_ticket(auditd)
    detail = {"subjects": 2, "stage": "requested", "act": "reidentify.request"}
    auditd.client.record("reidentify.alarm", actor="stella", reason="break_glass_requested", detail=detail)
    assert watchd.alert("break_glass").subject == "stella"
    watchd.wait_for(lambda: watchd.ask(m.AskWatchState()).failing_rules == ("admin_without_ticket",))
    assert "enclave_rules_failing 1.0" in fetch(auditd.home.socket("metrics"))


def test_a_ledger_that_became_shorter_is_damage(auditd, watchd):
    auditd.client.record("audit.rebuild", actor="service:test")
    store = watchd.daemon._store
    watchd.wait_for(lambda: store.mark("last_seq") > 0)
    watchd.daemon.watch._size_checked = float("-inf")
    store.set_mark("last_seq", 10_000)
    assert watchd.alert("ledger_damage").severity == "critical"
    assert auditd.events(kind="watch.gap")[0]["detail"]["known_size"] == 10_001


def test_the_ledger_answers_the_watch_questions_of_its_own_user_only(auditd):
    client = WireClient(auditd.home.socket("auditd"))
    rows = client.call(AskWatched(question="bulk_read", since=AT, at=AT))
    assert rows.columns[0] == "subject"
    with pytest.raises(InvalidError):
        client.call(AskWatched(question="SELECT text FROM bodies", since=AT, at=AT))
    client.close()


@pytest.mark.row("S10.6")
def test_metrics_count_by_rule_and_hold_no_names(auditd, watchd):
    touch_without_ticket(auditd)
    watchd.alert("admin_without_ticket")
    text = fetch(auditd.home.socket("metrics"))
    assert 'enclave_alerts{rule="admin_without_ticket",severity="low",state="open"} 1.0' in text
    assert 'enclave_alerts_waiting{channel="file"}' in text
    assert "enclave_reviews_unsigned" in text
    assert "stella" not in text


def test_each_change_is_a_line_in_the_file_of_alerts(auditd, watchd):
    touch_without_ticket(auditd)
    alert = watchd.alert("admin_without_ticket")
    watchd.ask(m.ResolveAlert(token="ada-token", id=alert.id, verdict="expected", reason="x"))
    path = auditd.home.state("watch") / "alerts.jsonl"
    lines = watchd.wait_for(lambda: path.exists() and len(path.read_text().splitlines()) == 2 and path.read_text())
    found = [json.loads(line) for line in lines.splitlines()]
    assert [one["activity_name"] for one in found] == ["Create", "Close"]
    assert {one["finding_info"]["uid"] for one in found} == {alert.id}


@pytest.mark.row("S10.7")
def test_a_clock_set_back_for_an_hour_is_an_alert_and_blinds_no_rule(auditd, watchd):
    watchd.stop()
    auditd.stop()
    auditd.clock = watchd.clock = ShiftedClock()
    auditd.start()
    watchd.start()
    auditd.client.record("audit.rebuild", actor="service:test")
    auditd.clock.shift_s = -3_600.0
    assert watchd.alert("clock_skew").severity == "medium"
    touch_without_ticket(auditd)
    assert watchd.alert("admin_without_ticket").subject == "stella"
