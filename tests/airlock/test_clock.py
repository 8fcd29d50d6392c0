"""A clock that is set back lets nothing out of the airlock, brings no delivery back, and is on record."""

from __future__ import annotations

import time
from typing import Any

import pytest
from clocks import ShiftedClock

from enclave.core.errors import DeniedError, UnavailableError
from enclave.wire.messages import airlock as m

pytestmark = pytest.mark.row("S10.4")
DAYS_S = 86_400.0


@pytest.fixture
def machine_clock() -> ShiftedClock:
    """Airlock and ledger run by one clock, as on one machine."""
    return ShiftedClock()


def refused(airlock: Any, act: Any, kind: str) -> str:
    """The code of the refusal, which is the newest event of its kind."""
    with pytest.raises(DeniedError) as caught:
        act()
    event = airlock.auditd.events(kind=kind)[-1]
    assert (event["outcome"], event["reason"]) == ("refused", caught.value.code)
    return caught.value.code


def test_under_a_clock_set_back_nothing_is_handed_in_approved_or_delivered_and_nothing_is_lost(
    airlock: Any, machine_clock: ShiftedClock
) -> None:
    waiting, released = airlock.submit().id, airlock.released()
    machine_clock.shift_s = -60.0
    assert refused(airlock, lambda: airlock.deliver("rosa", released), "egress.deliver") == "clock_step"
    assert refused(airlock, lambda: airlock.vote("olga", waiting), "egress.vote") == "clock_step"
    assert refused(airlock, airlock.submit, "egress.submit") == "clock_step"
    assert "clock" in airlock.show("rosa", released).held
    assert airlock.show("olga", waiting).state == "awaiting_review"
    assert airlock.ask(m.ListRequests(token="token-rosa")).requests
    assert airlock.vote("olga", waiting, "return", "label the axes").state == "returned"
    assert airlock.ask(m.Withdraw(token="token-rosa", id=waiting)).state == "withdrawn"
    machine_clock.shift_s = 0.0
    airlock.deliver("rosa", released)


def test_under_a_clock_set_back_nothing_is_packed_and_afterwards_it_is_by_itself(
    airlock: Any, machine_clock: ShiftedClock
) -> None:
    def step_back() -> None:
        machine_clock.shift_s = -60.0

    request = airlock.submit().id
    airlock.vote("olga", request)
    airlock.neighbours.before_release = step_back
    assert airlock.vote("omar", request).state == "approved"
    time.sleep(3 * airlock.settings.retry_s)
    (event,) = airlock.auditd.events(kind="egress.release")
    assert (event["outcome"], event["reason"]) == ("refused", "clock_step")
    airlock.neighbours.before_release = None
    machine_clock.shift_s = 0.0
    assert airlock.wait_for(lambda: airlock.show("rosa", request).state == "released")


@pytest.mark.row("S11.3")
def test_a_package_waits_for_its_author_for_a_time_and_no_clock_set_back_brings_that_again(
    airlock: Any, machine_clock: ShiftedClock
) -> None:
    request = airlock.released()
    over = airlock.settings.delivery_days * DAYS_S
    machine_clock.shift_s = over - 60.0
    shown = airlock.show("rosa", request)
    assert "deliver" in shown.may
    assert shown.until > shown.history[-1]["at"]
    for shift in (over + 2.0, over - 1.0, 0.0):  # its end, a small step back, a large one
        machine_clock.shift_s = shift
        assert refused(airlock, lambda: airlock.deliver("rosa", request), "egress.deliver") == "delivery_over"
    airlock.stop()
    airlock.start()  # it hears the time from the ledger
    assert refused(airlock, lambda: airlock.deliver("rosa", request), "egress.deliver") == "delivery_over"
    shown = airlock.show("rosa", request)
    assert (shown.state, "deliver" in shown.may, "withdraw" in shown.may) == ("released", False, True)
    assert "within its time" in shown.held
    assert airlock.ask(m.Withdraw(token="token-rosa", id=request)).state == "withdrawn"


def test_without_a_ledger_that_tells_the_time_nothing_is_delivered(airlock: Any) -> None:
    request = airlock.released()
    airlock.stop()
    airlock.auditd.stop()
    airlock.start()
    with pytest.raises(UnavailableError):
        airlock.deliver("rosa", request)
    airlock.auditd.start()
    airlock.deliver("rosa", request)
