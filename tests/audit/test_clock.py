"""The ledger's time goes on whatever is done to the machine's clock, and a step back is told."""

from __future__ import annotations

import time

import pytest
from clocks import ShiftedClock
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave.audit.client import AuditClient
from enclave.audit.ledger_clock import STEP_S, LedgerClock
from enclave.cli.doctor_checks import ledger_clock
from enclave.core.clock import format_time, parse_time
from enclave.core.errors import UnavailableError
from enclave.wire.client import WireClient
from enclave.wire.messages.audit import AskTime, State


@pytest.fixture
def shifted(auditd):
    """A ledger whose clock the test sets."""
    auditd.stop()
    auditd.clock = ShiftedClock()
    auditd.start()
    auditd.client.record("audit.rebuild", actor="service:test")
    return auditd


def wait_for(condition, within_s=30.0):
    end = time.monotonic() + within_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


@pytest.mark.row("S10.4")
def test_a_clock_set_back_is_told_once_and_so_is_its_end(shifted):
    shifted.clock.shift_s = -60.0
    (told,) = wait_for(lambda: shifted.events(kind="audit.clock_step"))
    assert (told["outcome"], told["reason"]) == ("failed", "clock_back")
    assert 55 <= told["detail"]["behind_s"] <= 60
    for _ in range(3):
        shifted.client.record("audit.rebuild", actor="service:test")
        time.sleep(0.3)
    shifted.clock.shift_s = 1.0
    assert wait_for(lambda: len(shifted.events(kind="audit.clock_step")) == 2)
    assert [e["outcome"] for e in shifted.events(kind="audit.clock_step")] == ["failed", "ok"]


def test_a_small_step_is_not_told_and_time_still_does_not_go_back(shifted):
    before = shifted.client.record("audit.rebuild", actor="service:test").time
    shifted.clock.shift_s = -(STEP_S - 2.5)
    after = shifted.client.record("audit.rebuild", actor="service:test").time
    assert after >= before
    time.sleep(1.3)
    assert shifted.events(kind="audit.clock_step") == []


def test_records_stand_in_the_order_of_their_time_over_steps_and_restarts(shifted):
    for shift in (0.0, 30.0, -300.0, 10.0, -5_000.0):
        shifted.clock.shift_s = shift
        shifted.client.record("audit.rebuild", actor="service:test")
        shifted.stop()
        shifted.start()
    received = [r["received"] for r in shifted.records()]
    assert received == sorted(received)


def test_the_ledgers_time_is_known_after_a_restart_before_anything_is_written(shifted):
    last = shifted.client.record("audit.rebuild", actor="service:test").time
    shifted.stop()
    shifted.clock.shift_s = -3_600.0
    shifted.start()
    client = WireClient(shifted.home.socket("auditd"))
    assert client.call(AskTime()).time >= last
    assert client.call(State()).behind_s > 3_000
    client.close()


def test_doctor_says_that_the_clock_is_behind(shifted):
    assert ledger_clock(shifted.home).ok
    shifted.clock.shift_s = -600.0
    found = ledger_clock(shifted.home)
    assert not found.ok
    assert "behind the ledger" in found.found
    shifted.stop()
    assert ledger_clock(shifted.home).ok


def test_without_a_ledger_that_was_ever_heard_there_is_no_time(auditd):
    auditd.stop()
    clock = LedgerClock(ShiftedClock(), AuditClient(auditd.home.socket("auditd"), deadline_s=0.2))
    with pytest.raises(UnavailableError) as caught:
        clock.now()
    assert caught.value.code == "ledger_unavailable"


class Told:
    """What a client has heard."""

    ledger_time = parse_time("2026-11-22T12:00:00Z")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(-1000, 1000), st.floats(0, 2000)), min_size=1, max_size=30))
def test_no_sequence_of_steps_makes_time_go_back_or_leaves_a_step_unseen(steps):
    machine, heard = ShiftedClock(), Told()
    clock = LedgerClock(machine, heard)
    base = clock.now()
    for shift, ahead in steps:
        machine.shift_s = shift
        heard.ledger_time = max(heard.ledger_time, base.fromtimestamp(base.timestamp() + ahead, base.tzinfo))
        now = clock.now()
        assert now >= base
        assert now >= heard.ledger_time
        behind = (now - machine.now()).total_seconds()
        if abs(behind - STEP_S) > 0.5:
            assert clock.stepped_back() == (behind > STEP_S)
        base = now
    assert format_time(clock.latest()) >= format_time(base)
