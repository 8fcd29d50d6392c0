"""Weeks are signed off over a checkpoint, by somebody who does not review their own acts alone."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave.audit.alerts.model import Signature
from enclave.audit.alerts.review import Week, parse_week, unsigned, week_of, weeks_over
from enclave.core.errors import ConflictError, DeniedError, InvalidError, NotFoundError, UnavailableError
from enclave.runtime.clock import SystemClock
from enclave.wire.messages import watch as m

TIMES = st.datetimes(datetime(2000, 1, 3), datetime(2080, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive, as hypothesis wants them


@dataclass
class LaterClock:
    """The time a week from now: the week of the test's events is over, the next one is not."""

    days: float = 7.0

    def now(self) -> datetime:
        return SystemClock().now() + timedelta(days=self.days)


@pytest.fixture
def later(watchd):
    """A watch for which this week is over."""
    watchd.stop()
    watchd.clock = LaterClock()
    watchd.start()
    return watchd


def this_week() -> str:
    return week_of(SystemClock().now()).name


def signature(person: str, *, acted: bool) -> Signature:
    return Signature("2026-W40", person, "2026-10-06T00:00:00Z", 1, "00", acted)


@given(TIMES, st.integers(0, 400))
def test_weeks_follow_each_other_without_gap_and_hold_the_first_event(first: datetime, days: int) -> None:
    at = first + timedelta(days=days)
    weeks = weeks_over(first=first, at=at, signatures=())
    assert len(weeks) in (days // 7, days // 7 + 1)
    for newer, older in itertools.pairwise(weeks):
        assert older.until == newer.since
    if weeks:
        assert weeks[-1].since <= first < weeks[-1].until
        assert weeks[0].until <= at
    assert unsigned(weeks) == tuple(reversed(weeks))
    assert parse_week(week_of(at).name).since <= at < parse_week(week_of(at).name).until


@pytest.mark.parametrize("name", ["", "2026-W00", "2026-W60", "2026-47", "w", "2026-W471"])
def test_what_is_no_week_is_refused(name: str) -> None:
    with pytest.raises(InvalidError):
        parse_week(name)


def test_one_who_acted_needs_a_second_name_and_one_who_did_not_suffices() -> None:
    week = parse_week("2026-W40")

    def complete(*signatures: Signature) -> bool:
        return Week(name=week.name, since=week.since, until=week.until, signatures=signatures).complete

    assert not complete()
    assert complete(signature("ada", acted=False))
    assert not complete(signature("ada", acted=True))
    assert complete(signature("ada", acted=True), signature("anton", acted=True))


@pytest.mark.row("S10.5")
def test_an_auditor_signs_a_week_over_a_checkpoint_and_it_is_no_longer_reported(auditd, later):
    auditd.client.record("login.ok", actor="rosa", source="10.0.0.5")
    assert later.ask(m.AskWatchState()).unsigned_weeks == 1
    listed = later.ask(m.ListReviews(token="ada-token", period=this_week()))
    assert [(week.period, week.complete, week.may_sign) for week in listed.weeks] == [(this_week(), False, True)]
    assert listed.summary["login.ok ok"] == 1
    assert listed.summary["sign-ins from new networks"] == 1
    signed = later.ask(m.SignReview(token="ada-token", period=this_week(), note="Looked at all of it."))
    assert signed.complete
    event = auditd.events(kind="review.sign", outcome="ok")[0]
    assert event["detail"]["root"] == signed.signatures[0].root
    assert event["detail"]["size"] == signed.signatures[0].size
    assert later.ask(m.AskWatchState()).unsigned_weeks == 0


def test_no_week_is_signed_over_an_older_checkpoint_while_the_ledgers_key_is_silent(auditd, later, monkeypatch):
    auditd.client.record("login.ok", actor="rosa", source="10.0.0.5")
    mine = m.SignReview(token="ada-token", period=this_week(), note="Looked at all of it.")
    with monkeypatch.context() as silent:
        silent.setattr(auditd.daemon.ledger, "_sign", silent_key)
        with pytest.raises(UnavailableError) as caught:
            later.ask(mine)
        assert caught.value.code == "checkpoint_old"
    assert [event["reason"] for event in auditd.events(kind="review.sign")] == ["not_signed"]
    assert later.ask(mine).complete


def silent_key(_message: bytes) -> bytes:
    raise DeniedError("token: wanted its PIN, got another one", code="token_pin")


def test_who_acted_in_the_week_needs_another_auditor(auditd, later):
    auditd.client.record("watch.canary", actor="ada", dataset="demo-ct", version=1)
    first = later.ask(m.SignReview(token="ada-token", period=this_week(), note="Mine too."))
    assert (first.complete, first.signatures[0].acted) == (False, True)
    with pytest.raises(ConflictError) as caught:
        later.ask(m.SignReview(token="ada-token", period=this_week(), note="Again."))
    assert caught.value.code == "signed_already"
    assert later.ask(m.SignReview(token="anton-token", period=this_week(), note="Seen.")).complete
    assert len(auditd.events(kind="review.sign", outcome="refused", reason="signed_already")) == 1


def test_a_week_that_runs_or_that_the_ledger_does_not_know_cannot_be_signed(auditd, watchd):
    with pytest.raises(ConflictError) as caught:
        watchd.ask(m.SignReview(token="ada-token", period=this_week(), note="Too early."))
    assert caught.value.code == "week_not_over"
    with pytest.raises(NotFoundError):
        watchd.ask(m.SignReview(token="ada-token", period="2020-W10", note="Too old."))
    reasons = [e["reason"] for e in auditd.events(kind="review.sign", outcome="refused")]
    assert reasons == ["week_not_over", "period_unknown"]


def test_a_week_with_an_alert_that_nobody_took_up_cannot_be_signed(auditd, watchd):
    auditd.client.record("project.member_add", actor="stella", role="data_steward", project="demo")
    alert = watchd.alert("admin_without_ticket")
    watchd.stop()
    watchd.clock = LaterClock()
    watchd.start()
    with pytest.raises(ConflictError) as caught:
        watchd.ask(m.SignReview(token="ada-token", period=this_week(), note="All fine."))
    assert caught.value.code == "alerts_untouched"
    watchd.ask(m.AcknowledgeAlert(token="anton-token", id=alert.id))
    assert watchd.ask(m.SignReview(token="ada-token", period=this_week(), note="All fine.")).complete
