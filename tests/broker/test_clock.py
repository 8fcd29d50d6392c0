"""A clock that is set back opens nothing, ends what is open, and is in the ledger."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from clocks import ShiftedClock

from enclave.core.clock import format_time
from enclave.core.errors import DeniedError

Stand = Any  # tests/broker/conftest.py: BrokerStand


@pytest.fixture
def shifted(make_broker: Callable[..., Stand]) -> Stand:
    """A broker whose clock the test sets."""
    broker = make_broker()
    broker.stop()
    broker.clock = ShiftedClock()
    broker.start()
    broker.seal()
    return broker


@pytest.mark.row("S10.4")
def test_a_clock_set_back_ends_the_lease_and_refuses_a_new_one(shifted: Stand) -> None:
    kernel = shifted.kernel()
    kernel.open()
    shifted.clock.shift_s = -60.0
    shifted.wait_for(lambda: shifted.launcher.ended == [(kernel.id, "clock_step")])
    (event,) = shifted.wait_for(lambda: shifted.events(kind="lease.end"))
    assert event["reason"] == "clock_step"
    later = shifted.kernel()
    error = later.refused(later.open)
    assert isinstance(error, DeniedError)
    assert error.code == "clock_step"
    refusals = shifted.events(kind="dataset.open", outcome="refused", kernel=later.id)
    assert [e["reason"] for e in refusals] == ["clock_step"]
    shifted.clock.shift_s = 0.0
    shifted.kernel().open()


def test_what_expired_stays_expired_when_the_clock_is_set_back_a_little(shifted: Stand) -> None:
    shifted.registry.change(expires=format_time(datetime.now(UTC) + timedelta(seconds=100)))
    shifted.kernel().open()
    shifted.clock.shift_s = 102.0
    early = shifted.kernel()
    assert early.refused(early.open).code == "certificate_expired"
    shifted.clock.shift_s = 99.0
    again = shifted.kernel()
    assert again.refused(again.open).code == "certificate_expired"


def test_a_broker_that_starts_after_the_step_hears_the_time_from_the_ledger(shifted: Stand) -> None:
    shifted.kernel().open()
    shifted.stop()
    shifted.clock.shift_s = -60.0
    shifted.start()
    kernel = shifted.kernel()
    assert kernel.refused(kernel.open).code == "clock_step"
